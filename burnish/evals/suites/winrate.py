"""Quality: which of two models answers better, prompt by prompt, and how much of that is length.

The comparison is by any score that sees one answer at a time (the gold rule's total, a reward). Such a score gives the
same outcome in both orders, so that one comparison stands for the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from burnish.evals.task import About
from burnish.judge.pairwise import compare_totals
from burnish.stats.intervals import REACH, Z
from burnish.stats.paired import win_rate
from burnish.types import Estimate

ABOUT = About(
    name="winrate",
    title="Win rate",
    says="How often the first model's answer is better than the second's, both orders, ties half; bias pairs left out.",
)
MATCHED = "answers whose lengths differ by at most 10% or 3 words"


def outcomes(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """+1, 0 or -1 for each prompt."""
    return [compare_totals(x, y).outcome for x, y in zip(a, b, strict=True)]


def matched(results: Sequence[float], words_a: Sequence[int], words_b: Sequence[int]) -> Estimate | None:
    """The win rate among answers of like length; None where there are none."""
    kept = [
        result for result, x, y in zip(results, words_a, words_b, strict=True) if abs(x - y) <= max(3, 0.1 * max(x, y))
    ]
    return win_rate(kept) if kept else None


def controlled(results: Sequence[float], words_a: Sequence[int], words_b: Sequence[int]) -> Estimate | None:
    """The win rate to expect at equal lengths: the intercept of a straight line through score against words more.

    Score is 1, ½ or 0. Ordinary least squares with its usual standard error; the line is a summary, not a law. None for
    fewer than 10 prompts.
    """
    n = len(results)
    if n < 10:
        return None
    scores = (np.asarray(results, dtype=np.float64) + 1) / 2
    more = np.asarray(words_a, dtype=np.float64) - np.asarray(words_b, dtype=np.float64)
    centred = more - more.mean()
    spread = float(centred @ centred)
    slope = float(centred @ scores) / spread if spread else 0.0
    value = float(scores.mean() - slope * more.mean())
    residuals = scores - value - slope * more
    error = math.sqrt(
        float(residuals @ residuals) / (n - 2) * (1 / n + (float(more.mean()) ** 2 / spread if spread else 0))
    )
    low, high = max(0.0, value - Z * error), min(1.0, value + Z * error)
    if error == 0:
        flat = win_rate(results)
        low, high, error = flat.low, flat.high, flat.mde / REACH
    return Estimate(value=min(1.0, max(0.0, value)), low=low, high=high, n=n, mde=REACH * error)
