"""What length alone predicts: the rule that a reward model must beat. Pure; a length is any number (words, tokens)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Pair = tuple[float, float, bool]
"""(length of a, length of b, whether a was preferred). Tied pairs are left out beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthRule:
    """Prefer the longer answer (or the shorter) up to a difference, and the opposite beyond it."""

    longer: bool
    up_to: float
    """Largest difference at which the preference holds; infinite for a rule without a turn."""
    accuracy: float
    """On the pairs it was fitted to."""

    def __str__(self) -> str:
        word, other = ("longer", "shorter") if self.longer else ("shorter", "longer")
        return (
            f"{word} wins"
            if np.isinf(self.up_to)
            else f"{word} wins up to a difference of {self.up_to:g}, then {other}"
        )

    def hits(self, pairs: Sequence[Pair]) -> list[float]:
        """1 where the rule is right, 0 where wrong, ½ where both are as long."""
        return [self._hit(*pair) for pair in pairs]

    def _hit(self, a: float, b: float, a_preferred: bool) -> float:
        if a == b:
            return 0.5
        wants_longer = self.longer == (abs(a - b) <= self.up_to)
        return float(a_preferred == ((a > b) == wants_longer))


def fit_length_rule(pairs: Sequence[Pair], turn: bool = True) -> LengthRule:
    """The most accurate rule on these pairs: "longer" or "shorter", and where `turn`, the best difference to turn at.

    On equal accuracy the rule without a turn is taken, and "longer" before "shorter".
    """
    assert pairs, "no pairs to fit"
    gaps = np.array([abs(a - b) for a, b, _ in pairs])
    longer_won = np.array([0.5 if a == b else float(won == (a > b)) for a, b, won in pairs])
    order = np.argsort(gaps, kind="stable")
    gaps, longer_won, n = gaps[order], longer_won[order], len(pairs)
    below = np.concatenate([[0.0], np.cumsum(longer_won)])
    right = below + (n - np.arange(n + 1)) - (below[-1] - below)
    # right[c]: hits of "longer" for the c smallest gaps and "shorter" for the rest; equal lengths are ½ either way.
    turns = [c for c in range(1, n) if gaps[c] != gaps[c - 1]] if turn else []
    rules = [(longer, count) for count in (n, *turns) for longer in (True, False)]
    hits = [float(right[count] if longer else n - right[count]) for longer, count in rules]
    best = int(np.argmax(hits))
    longer, count = rules[best]
    up_to = float("inf") if count == n else float(gaps[count - 1])
    return LengthRule(longer=longer, up_to=up_to, accuracy=hits[best] / n)
