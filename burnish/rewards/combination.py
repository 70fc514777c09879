"""Several rewards as one: a weighted sum that keeps its parts, and how much of it is sure. Knows no kind of reward, but
what an ensemble calls its parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from burnish.types import Completion, Prompt, Rated, Reward

HELD_OUT = "held_out"
"""The part that a model says which watches and never pays."""
SURE = "sure"
"""The part that says of how much of what ensembles pay they are sure."""
SPREAD = "/spread"
"""Ends the part of an ensemble's standard deviation. Its members' own scores are parts too: `NAME/1` and so on."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """The sum of weight times score. What has the weight 0 is not paid for and shows as a part."""

    terms: tuple[tuple[float, Reward], ...]
    """(weight, reward) each; no two of them name the same part. None: nothing pays."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        found = [(weight, reward.score(prompts, completions)) for weight, reward in self.terms]
        scores = [
            math.fsum(weight * rated.scores[place] for weight, rated in found) for place in range(len(completions))
        ]
        return Rated(scores=scores, parts=_parts([rated for _, rated in found]))


@dataclass(frozen=True, slots=True)
class Sure:
    """A reward, and beside its parts what its ensembles are sure of, however each combines its members: the members'
    mean less their spread, which falls where they come to answers of which they know little. One model alone is as sure
    of everything; where there is no ensemble, the part is missing."""

    reward: Reward
    weights: tuple[tuple[str, float], ...]
    """Names of parts, and what each is multiplied by before all are added."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        rated = self.reward.score(prompts, completions)
        parts = cast("Mapping[str, Sequence[float]]", rated.parts)  # a model has a score for every answer
        found = [(weight, _lower(parts, name)) for name, weight in self.weights if name + SPREAD in parts]
        if not found:
            return rated
        sure = [math.fsum(weight * each[place] for weight, each in found) for place in range(len(completions))]
        return Rated(scores=rated.scores, parts={**rated.parts, SURE: sure})


def _lower(parts: Mapping[str, Sequence[float]], name: str) -> list[float]:
    spreads = parts[name + SPREAD]
    members = [parts[each] for each in parts if each.startswith(f"{name}/") and each != name + SPREAD]
    return [fmean(said) - spread for *said, spread in zip(*members, spreads, strict=True)]


def _parts(found: Sequence[Rated]) -> dict[str, Sequence[float | None]]:
    return {name: values for rated in found for name, values in rated.parts.items()}
