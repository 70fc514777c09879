"""Several rewards as one: a weighted sum that keeps its parts. Knows no kind of reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from burnish.types import Completion, Prompt, Rated, Reward

HELD_OUT = "held_out"
"""The part that a model says which watches and never pays."""


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


def _parts(found: Sequence[Rated]) -> dict[str, Sequence[float | None]]:
    return {name: values for rated in found for name, values in rated.parts.items()}
