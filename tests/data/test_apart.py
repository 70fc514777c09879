"""What is set apart to evaluate on, and what a bootstrap sample is: whole prompts, drawn by themselves."""

from __future__ import annotations

from collections import Counter

import pytest

from burnish.data.order import resampled, set_apart
from burnish.errors import DataError

KEYS = [f"prompt {n % 40}" for n in range(100)]


def test_a_share_of_the_prompts_and_none_is_cut() -> None:
    held = set_apart(KEYS, 0.1, seed=3)
    chosen = {key for key, there in zip(KEYS, held, strict=True) if there}
    assert len(chosen) == 4
    assert held == [key in chosen for key in KEYS]


def test_it_is_a_function_of_prompts_and_seed_not_of_their_order() -> None:
    held = dict(zip(KEYS, set_apart(KEYS, 0.1, seed=3), strict=True))
    again = dict(zip(KEYS[::-1], set_apart(KEYS[::-1], 0.1, seed=3), strict=True))
    assert held == again
    assert held != dict(zip(KEYS, set_apart(KEYS, 0.1, seed=4), strict=True))


def test_two_at_least_on_either_side() -> None:
    assert sum(set_apart(list("abcd"), 0.01, seed=0)) == 2
    with pytest.raises(DataError, match="2 of 3 different prompts would be held out"):
        set_apart(list("abc"), 0.01, seed=0)


def test_a_bootstrap_sample_has_as_many_prompts_each_whole_and_leaves_a_third_out() -> None:
    keys = [f"prompt {n % 400}" for n in range(1000)]
    rows = resampled(keys, seed=1)
    drawn = Counter(rows)
    for key in set(keys):
        times = {drawn[row] for row, each in enumerate(keys) if each == key}
        assert len(times) == 1, "a prompt is drawn with all of its rows or not at all"
    assert sum(drawn[row] for row in range(400)) == 400  # the first row of each prompt
    left_out = sum(not drawn[row] for row in range(400)) / 400
    assert left_out == pytest.approx(1 / 2.718, abs=0.06)
    assert rows == resampled(keys, seed=1) != resampled(keys, seed=2)
