"""Repetition of texts, as runs of n tokens: words or ids, whatever can be compared. Pure; knows no language."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def grams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """Every run of n tokens."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def repeated_share(tokens: Sequence[Hashable], n: int = 4) -> float:
    """Share of n-token runs that stood in the text before: 0 for a text that never repeats itself."""
    runs = grams(tokens, n)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct_share(texts: Sequence[Sequence[Hashable]], n: int = 2) -> float:
    """distinct-n of several texts together (Li et al. 2016): different n-token runs of all runs. Falls when answers
    come to resemble each other. It also falls with the number of texts: compare equal numbers. 1 where there is no run.
    """
    runs = [run for text in texts for run in grams(text, n)]
    return len(set(runs)) / len(runs) if runs else 1.0
