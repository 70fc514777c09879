"""Repetition counted by hand."""

from __future__ import annotations

from burnish.stats.repetition import distinct_share, repeated_share


def test_runs_that_stood_before_are_counted() -> None:
    """a b a b a has the pairs ab ba ab ba: two of four are repeats; no run of four words is."""
    assert repeated_share(list("ababa"), 2) == 0.5
    assert repeated_share(list("abab"), 4) == 0.0
    assert repeated_share([7] * 8, 4) == 0.8
    assert repeated_share([1, 2], 4) == 0.0


def test_distinct_runs_are_counted_over_all_texts_and_none_spans_two() -> None:
    assert distinct_share([list("abc"), list("abc")], 2) == 0.5
    assert distinct_share([list("ab"), list("cd")], 2) == 1.0
    assert distinct_share([["a"]], 2) == 1.0
