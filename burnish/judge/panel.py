"""Simulated annotators: the gold rule seen through noise, lapses and each member's leaning. Knows no store and no web.

They stand in for people where a run must not wait. Every draw is a pure function of (seed, member's name, prompt's id),
so that a rerun gives the same judgements, whatever order they are asked in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated

from pydantic import AfterValidator, Field

from burnish.config import Strict
from burnish.judge import language
from burnish.judge.rubric import Rubric
from burnish.types import Prompt

_COURTESY = re.compile(
    r"\b(please|thank|thanks|sorry|glad|happy|gladly|welcome|por favor|gracias|lamento|gusto|encantad[oa]|disculpe"
    r"|bitte|danke|gern|gerne|leid|freuen?)\b",
    re.IGNORECASE,
)


class Member(Strict):
    """One annotator. Utilities are the gold rule's total (0 to 1) plus what follows."""

    name: str = Field(min_length=1)
    noise: float = Field(default=0.14, ge=0)
    """Standard deviation added to each answer's utility."""
    lapse: float = Field(default=0.03, ge=0, le=1)
    """Share of questions answered without looking: a random order."""
    longer: float = 0.0
    """Utility for every 10 words, up to 60."""
    first: float = 0.0
    """Utility for the answer shown first."""
    polite: float = 0.0
    """Utility for a word of courtesy."""
    handover: float = 0.0
    """Utility for handing the customer to a colleague."""


def _names_differ(members: tuple[Member, ...]) -> tuple[Member, ...]:
    names = [member.name for member in members]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two members are called {name}")
    return members


class PanelSettings(Strict):
    """The panel of a recipe."""

    members: Annotated[tuple[Member, ...], Field(min_length=1), AfterValidator(_names_differ)] = (
        Member(name="ana", noise=0.12, longer=0.01),
        Member(name="bert", noise=0.16, first=0.05),
        Member(name="chen", noise=0.14, polite=0.06),
        Member(name="dora", noise=0.18, handover=-0.10, lapse=0.05),
        Member(name="emil", noise=0.14, longer=-0.015),
    )
    tie_within: float = Field(default=0.03, ge=0)
    """Utilities closer than this look the same: a tie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one member said about one question."""

    ranks: tuple[int, ...]
    """In shown order; 1 is best, equal is a tie."""
    seconds: float
    """How long a person might have taken."""


class Panel:
    """Members who judge by one rubric."""

    def __init__(
        self, rubric: Rubric, members: Iterable[Member] | None = None, tie_within: float | None = None
    ) -> None:
        default = PanelSettings()
        self.rubric = rubric
        self.members = default.members if members is None else tuple(members)
        self.tie_within = default.tie_within if tie_within is None else tie_within

    def rank(self, member: Member, prompt: Prompt, answers: Sequence[str], seed: int) -> Opinion:
        """The member's order of the answers, given in the order they were shown."""
        draw = Random(f"{seed}/{member.name}/{prompt.id}")
        seconds = _seconds(answers, draw)
        if draw.random() < member.lapse:
            order = list(range(1, len(answers) + 1))
            draw.shuffle(order)
            return Opinion(ranks=tuple(order), seconds=seconds)
        utilities = [
            self.rubric.grade(prompt, answer).total + self._leaning(member, answer, shown) + draw.gauss(0, member.noise)
            for shown, answer in enumerate(answers)
        ]
        return Opinion(ranks=_ranks(utilities, self.tie_within), seconds=seconds)

    def _leaning(self, member: Member, answer: str, shown: int) -> float:
        return (
            member.longer * min(len(language.words(answer)), 60) / 10
            + member.first * float(shown == 0)
            + member.polite * float(_COURTESY.search(answer) is not None)
            + member.handover * float(self.rubric.shop.phrases.handover.search(answer) is not None)
        )


def _ranks(utilities: Sequence[float], tie_within: float) -> tuple[int, ...]:
    """1 for the best and for all that lie within `tie_within` below it, then 2 for the best of the rest, and so on."""
    ranks = [0] * len(utilities)
    rank, leader = 0, float("inf")
    for index in sorted(range(len(utilities)), key=lambda i: -utilities[i]):
        if rank == 0 or leader - utilities[index] > tie_within:
            rank, leader = rank + 1, utilities[index]
        ranks[index] = rank
    return tuple(ranks)


def _seconds(answers: Sequence[str], draw: Random) -> float:
    """Reading at about four words a second, and a moment to decide."""
    read = sum(len(language.words(answer)) for answer in answers) / 4
    return round(read * draw.uniform(0.7, 1.4) + draw.uniform(1, 5), 1)
