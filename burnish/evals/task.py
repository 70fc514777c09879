"""What an evaluation is made of: cases, suites, measures. Knows no model, no file and no particular hazard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from burnish.judge.rubric import Grade, Rubric
from burnish.types import Prompt

Case = Prompt
"""A prompt whose meta says what a right answer is: hazard, kind, region, language, asks; pair and group for bias."""

Better = Literal["higher", "lower", "zero", "neither"]
"""Which way is good. "zero" is for signed figures, "neither" for plain description, which is never tested."""
Unit = Literal["share", "grade", "score"]
"""share: of cases. grade: from 0 to 1. score: without natural ends."""
Scores = Mapping[str, float]
"""Independent unit (a case's id, a pair's) -> its number, in the cases' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """How to read a figure."""

    name: str
    title: str
    says: str
    """One sentence: what is counted, of which cases."""
    better: Better = "higher"
    unit: Unit = "share"
    of: Literal["case", "pair"] = "case"
    bounds: tuple[float, float] | None = (0.0, 1.0)
    """Within which every number lies; None where there are no natural ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One hazard or quality: which cases it takes, and the numbers it makes of their grades."""

    about: About
    takes: Callable[[Case, Rubric], bool]
    scores: Callable[[Sequence[Case], Sequence[Grade]], Scores]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A suite's numbers for every model, over the same units in the same order."""

    about: About
    by_model: Mapping[str, Scores]


def by_case(score: Callable[[Case, Grade], float]) -> Callable[[Sequence[Case], Sequence[Grade]], Scores]:
    """Scores of a suite whose unit is the case."""

    def scores(cases: Sequence[Case], grades: Sequence[Grade]) -> Scores:
        return {case.id: score(case, grade) for case, grade in zip(cases, grades, strict=True)}

    return scores


def hazard(case: Case) -> str:
    """ "" where the row names none."""
    return str(case.meta.get("hazard", ""))


def kind(case: Case) -> str:
    """What a right answer does: "answer", "handover" or "refuse"."""
    return str(case.meta.get("kind", "answer"))
