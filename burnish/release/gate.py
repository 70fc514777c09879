"""The gate: thresholds against an evaluation's figures, judged by their intervals. Pure; opens no file.

A threshold passes where even the bad end of the 95% interval satisfies it, fails where not even the good end does, and
is inconclusive between. So is one whose figure is missing, rests on too few cases, or is what a reward model says that
may be guessing: a gate never says yes or no to what was not measured. One failure fails the whole; else one doubt
leaves it inconclusive. A reason lets a doubt pass (`burnish.release.bundle.permit`), but no figure that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from burnish.config import Strict
from burnish.errors import nearest
from burnish.types import Verdict


class Threshold(Strict):
    """What one figure must show. Exactly one of `at_least` and `at_most` is given."""

    figure: str = Field(pattern=r"^[a-z_]+\.[A-Za-z0-9_.-]+$")
    """suite.figure: "refusal.ppo", "winrate.ppo_vs_sft", "tone.ppo-sft"."""
    at_least: float | None = None
    """In the figure's own unit: a share of 90% is 0.9."""
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Threshold:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give one of at_least and at_most")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One threshold's verdict, and a sentence with the numbers that it rests on."""

    figure: str
    verdict: Verdict
    reason: str
    missing: bool = False
    """Nothing was measured that has this name."""

    def as_json(self) -> dict[str, Any]:
        missing = {"missing": True} if self.missing else {}
        return {"figure": self.figure, "verdict": self.verdict.value, "reason": self.reason, **missing}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The whole verdict."""

    verdict: Verdict
    judgements: tuple[Judgement, ...]
    """One a threshold, in the recipe's order."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence a threshold: failures first, then doubts, then what passed."""
        order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
        return tuple(each.reason for each in sorted(self.judgements, key=lambda each: order.index(each.verdict)))

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.value,
            "reasons": list(self.reasons),
            "thresholds": [judgement.as_json() for judgement in self.judgements],
        }


def models_of(figure: str) -> tuple[str, ...]:
    """The models that a figure is of: ("ppo",), or of two the later one first (`burnish.evals.report`)."""
    key = re.sub(r"_length_(matched|controlled)$", "", figure.partition(".")[2])
    return tuple(re.split(r"-|_vs_", key))


def decide(evaluation: Mapping[str, Any], thresholds: Sequence[Threshold], doubtful: Collection[str] = ()) -> Decision:
    """Judge evaluation.json's value (burnish.evals.report). No threshold at all is inconclusive: nothing was asked.

    `doubtful`: suites of which nothing is to be concluded (`burnish.release.doubt`).
    """
    judgements = tuple(_judge(evaluation, threshold, doubtful) for threshold in thresholds)
    found = {judgement.verdict for judgement in judgements}
    if Verdict.FAIL in found:
        verdict = Verdict.FAIL
    elif Verdict.INCONCLUSIVE in found or not found:
        verdict = Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.PASS
    return Decision(verdict=verdict, judgements=judgements)


def _judge(evaluation: Mapping[str, Any], threshold: Threshold, doubtful: Collection[str]) -> Judgement:
    figure, absent = _find(evaluation, threshold.figure)
    if figure is None:
        said = f"{threshold.figure}: {absent}"
        return Judgement(figure=threshold.figure, verdict=Verdict.INCONCLUSIVE, reason=said, missing=True)
    guessed = threshold.figure.partition(".")[0] in doubtful
    verdict = _by_interval(figure["low"], figure["high"], threshold)
    verdict = Verdict.INCONCLUSIVE if guessed or figure["too_few"] else verdict
    return Judgement(figure=threshold.figure, verdict=verdict, reason=_reason(figure, threshold, verdict, guessed))


def _find(evaluation: Mapping[str, Any], path: str) -> tuple[Mapping[str, Any] | None, str]:
    """The figure, or why there is none."""
    suites: Mapping[str, Any] = evaluation.get("suites", {})
    name, _, key = path.partition(".")
    if name not in suites:
        mend = nearest(name, list(suites)) if suites else "It has none."
        return None, f"the evaluation has no suite of this name. {mend}"
    figures: Mapping[str, Any] = suites[name]["figures"]
    if key not in figures:
        return None, f'the suite "{name}" has no such figure. {nearest(key, list(figures))}'
    return figures[key], ""


def _by_interval(low: float, high: float, threshold: Threshold) -> Verdict:
    if threshold.at_least is not None:
        bad, good, sign, bound = low, high, 1, threshold.at_least
    else:
        assert threshold.at_most is not None, "a threshold has a bound"
        bad, good, sign, bound = high, low, -1, threshold.at_most
    if sign * bad >= sign * bound:
        return Verdict.PASS
    return Verdict.FAIL if sign * good < sign * bound else Verdict.INCONCLUSIVE


def _reason(figure: Mapping[str, Any], threshold: Threshold, verdict: Verdict, guessed: bool) -> str:
    wanted = f"at least {threshold.at_least:g}" if threshold.at_least is not None else f"at most {threshold.at_most:g}"
    seen = f"{figure['value']:.3f}, 95% interval {figure['low']:.3f} to {figure['high']:.3f}, n = {figure['n']}"
    ending = {
        Verdict.PASS: "the whole interval satisfies it",
        Verdict.FAIL: "no part of the interval satisfies it",
        Verdict.INCONCLUSIVE: f"the interval allows both; effects below {figure['mde']:.3f} go unseen with this n",
    }[verdict]
    ending = "too few cases to decide by" if figure["too_few"] else ending
    ending = "the reward model that measured it may be guessing" if guessed else ending
    return f"{threshold.figure} should be {wanted} and is {seen}: {ending}"
