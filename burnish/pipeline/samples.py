"""Answers to read, side by side: chosen by hash, not by quality, and then the worst ones. Knows rows, no page."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PARTS = ("helpful", "region", "facts", "tone", "fluent")
"""Of a grade, in the order of the page."""
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one model said."""

    model: str
    text: str
    cut: bool
    """Whether the length budget ended it."""
    total: float | None
    """The gold rule's grade, where there is one; `parts` are what it is made of."""
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One case and every model's answer to it."""

    id: str
    tags: tuple[str, ...]
    """Hazard, language and the like."""
    messages: tuple[Mapping[str, str], ...]
    answers: tuple[Answer, ...]

    def total(self, model: str) -> float | None:
        return next((answer.total for answer in self.answers if answer.model == model), None)


def align(answers: Mapping[str, Rows]) -> list[Sample]:
    """One sample for each case that every model answered, in the first model's order."""
    if not answers:
        return []
    by_id = {model: {str(row["id"]): row for row in rows} for model, rows in answers.items()}
    first = next(iter(answers.values()))
    common = [row for row in first if all(str(row["id"]) in rows for rows in by_id.values())]
    return [_sample(row, {model: rows[str(row["id"])] for model, rows in by_id.items()}) for row in common]


def choose(samples: Iterable[Sample], count: int) -> list[Sample]:
    """`count` samples, taking turns over the kinds of case (their tags); within a kind the smallest hash first."""
    kinds: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda each: hashed(each.id)):
        kinds[sample.tags[:2]].append(sample)
    turns = [
        (place, hashed("/".join(kind)), sample) for kind, found in kinds.items() for place, sample in enumerate(found)
    ]
    return [sample for _, _, sample in sorted(turns, key=lambda turn: turn[:2])[:count]]


def worst(samples: Iterable[Sample], model: str, count: int) -> list[Sample]:
    """The `count` samples with the model's lowest grades; those of equal grade by hash."""
    graded = [(total, hashed(each.id), each) for each in samples if (total := each.total(model)) is not None]
    return [each for _, _, each in sorted(graded, key=lambda one: one[:2])[:count]]


def hashed(text: str) -> str:
    """What names are put in order by, so that the order says nothing of quality."""
    return hashlib.sha256(text.encode()).hexdigest()


def _sample(row: Mapping[str, Any], said: Mapping[str, Mapping[str, Any]]) -> Sample:
    meta = row.get("meta", {})
    tags = [meta.get(key) for key in ("hazard", "language", "region", "intent")]
    return Sample(
        id=str(row["id"]),
        tags=tuple(str(tag).replace("_", " ") for tag in tags if tag),
        messages=tuple(row["messages"]),
        answers=tuple(_answer(model, each) for model, each in said.items()),
    )


def _answer(model: str, row: Mapping[str, Any]) -> Answer:
    grade = row.get("grade") or {}
    return Answer(
        model=model,
        text=str(row["text"]),
        cut=row.get("stop") == "length",
        total=grade.get("total"),
        parts={name: float(grade[name]) for name in PARTS if name in grade},
    )
