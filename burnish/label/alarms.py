"""Signs that somebody's answers need a look: from how people worked to figures and words. Knows no page.

A sign is no proof. Each is a sentence with its number; what is done about it, a person decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from burnish.errors import Said
from burnish.stats.intervals import exact, wilson
from burnish.store.conduct import Conduct
from burnish.store.views import Annotator
from burnish.types import Estimate

ENOUGH = 20
"""Answers before anything is said of somebody's time."""
HASTE = 3
"""So many times faster than the campaign's median is too fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """One person's figures; None where there is nothing to count."""

    person: Annotator
    answers: int
    seconds: float
    """Median time of an answer."""
    first: Estimate | None
    """Share of answers that placed what was shown first above what was shown last, ties left out; exact interval."""
    gold: Estimate | None
    """Mean score of gold questions (`store.gold.score`), Wilson's interval. Those of the training are not in it."""
    practice: str
    """How far their training is; empty where there is none."""
    alarms: tuple[str, ...]


def signs(people: Sequence[Conduct], pass_mark: float) -> list[Signs]:
    """Of everybody, those with most alarms first."""
    if not people:
        return []
    usual = median(seconds for each in people for seconds in each.seconds)
    return sorted((_signs(each, usual, pass_mark) for each in people), key=lambda each: -len(each.alarms))


def _signs(found: Conduct, usual: float, pass_mark: float) -> Signs:
    answers, seconds, told = len(found.seconds), median(found.seconds), found.first + found.last
    first = exact(found.first, told) if told else None
    scores = [each.score for each in found.training.judged]
    gold = wilson(sum(scores), len(scores)) if scores else None
    alarms: list[str] = []
    if answers >= ENOUGH and seconds * HASTE < usual:
        words = {"seconds": seconds, "usual": usual}
        alarms.append(Said("fast: %(seconds)s s an answer, where the campaign's median is %(usual)s s", **words))
    if first and not first.low <= 0.5 <= first.high:
        of = 100 * max(first.value, 1 - first.value)
        if first.value > 0.5:
            alarms.append(Said("one place: what is shown first is the better one in %(of)s of 100 answers", of=of))
        else:
            alarms.append(Said("one place: what is shown last is the better one in %(of)s of 100 answers", of=of))
    if gold and gold.high < pass_mark:
        shares = {"right": 100 * gold.value, "asked": 100 * pass_mark}
        alarms.append(Said("gold questions: %(right)s %% right, where %(asked)s %% are asked for", **shares))
    if found.training.failed:
        alarms.append("did not pass the training, and has no gold question left to try")
    return Signs(
        person=found.person,
        answers=answers,
        seconds=seconds,
        first=first,
        gold=gold,
        practice=_practice(found),
        alarms=tuple(alarms),
    )


def _practice(found: Conduct) -> str:
    training = found.training
    if not training.wanted:
        return ""
    if training.passed_after is None:
        return Said("%(done)s of %(wanted)s", done=len(training.answered), wanted=training.wanted)
    return Said("passed after %(questions)s", questions=training.passed_after)
