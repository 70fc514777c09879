"""Best of n: what the answer is worth that a score prefers among n, for every n up to the number that was sampled, and
how far choosing moves the distribution of answers. Pure; knows numbers only.

N answers to a prompt are sampled once. All subsets of n of them are equally good samples of size n, so the mean over
subsets is unbiased for every n ≤ N, and has less variance than any one split of the N into n's (Nakano et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import comb, log

import numpy as np

from burnish.stats.intervals import ratio
from burnish.types import Estimate

Answers = tuple[Sequence[float], Sequence[float]]
"""Of the answers to one prompt: the scores that choose, and what each answer is worth (the same numbers, or others)."""


def best_of(scores: Sequence[float], values: Sequence[float]) -> list[float]:
    """Expected value of the answer with the best score among n drawn without replacement, for n = 1 to N.

    With answers in ascending order of score, the i-th wins C(i-1, n-1) of the C(N, n) subsets: it and n-1 of those
    below it. Equal scores share what they win: who draws one of several best answers has any of them.
    """
    assert len(scores) == len(values) > 0, "a score and a value for every answer"
    count = len(scores)
    ranked = _ascending(scores, values)
    return [
        sum(value * (comb(place, n - 1) / comb(count, n)) for place, value in enumerate(ranked))
        for n in range(1, count + 1)
    ]


def best_of_each(prompts: Sequence[Answers], sizes: Sequence[int], *, seed: int = 0) -> list[Estimate]:
    """Mean over prompts of `best_of` at each of `sizes`, with a bootstrap interval over prompts.

    Every prompt has at least max(sizes) answers; they need not all have the same number.
    """
    assert prompts, "best of nothing"
    assert min(len(scores) for scores, _ in prompts) >= max(sizes), "fewer answers than the largest n"
    curves = np.array([[curve[n - 1] for n in sizes] for curve in (best_of(*each) for each in prompts)])
    return [ratio(column, np.ones(len(prompts)), seed=seed) for column in curves.T]


def kl_of_best(n: int) -> float:
    """KL from the sampled distribution to that of the best of n, in nats an answer: log n - (n-1)/n.

    Exact where no two answers are the same and no scores tie (a continuum of answers); an upper bound otherwise
    (Beirami et al. 2024). 4: 0.636; 16: 1.835; 64: 3.174.
    """
    assert n >= 1, "the best of none"
    return log(n) - (n - 1) / n


def _ascending(scores: Sequence[float], values: Sequence[float]) -> list[float]:
    """The values in ascending order of score; where scores are equal, their mean."""
    found: list[float] = []
    pairs = sorted(zip(scores, values, strict=True), key=lambda pair: pair[0])
    for _, tied in groupby(pairs, key=lambda pair: pair[0]):
        worth = [value for _, value in tied]
        found += [sum(worth) / len(worth)] * len(worth)
    return found
