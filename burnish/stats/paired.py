"""Two models on the same prompts: win rates, exact tests, many tests at once. Knows outcomes, not texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scipy import stats

from burnish.stats.intervals import rate_mde, wilson
from burnish.types import Estimate


def win_rate(outcomes: Sequence[float]) -> Estimate:
    """How often a beats b, ties ½. One outcome a prompt: +1, 0, -1, or the mean over both orders.

    Wilson's interval over prompts; `mde` is the distance from one half that this many prompts would show.
    """
    rate = wilson(sum((outcome + 1) / 2 for outcome in outcomes), len(outcomes))
    return replace(rate, mde=rate_mde(0.5, rate.n))


def sign_test(positive: int, negative: int) -> float:
    """Two-sided exact p that a fair coin splits so unevenly. Ties are left out before; 1 where none is left."""
    n = positive + negative
    return min(1.0, 2 * float(stats.binom.cdf(min(positive, negative), n, 0.5))) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that keep the chance of any false finding at the level (Holm 1979), in the given order."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted
