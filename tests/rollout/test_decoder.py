"""Flat prompts and slots, as index arithmetic."""

from __future__ import annotations

import torch

from burnish.rollout.cache import POSITIONS, STEP, SlotCache, fitting
from burnish.rollout.decoder import remaining
from burnish.rollout.prefill import WAVE, common, lay, wave_size


def test_the_last_that_remain_fill_the_holes() -> None:
    assert remaining([False, True, False, True, False]) == [0, 4, 2]
    assert remaining([True, False, True, False]) == [3, 1]
    assert remaining([True, True]) == []
    assert remaining([False, False]) == [0, 1]


def test_common_beginnings() -> None:
    assert common((), (1,)) == 0
    assert common((1, 2, 3), (1, 2)) == 2
    assert common((1, 2, 3), (1, 4, 3)) == 1


def test_a_flat_wave_holds_each_distinct_prefix_once() -> None:
    wave = lay([(1, 2), (1, 2), (1, 2, 3), (1, 4), (5,)])
    assert wave.ids == [1, 2, 3, 4, 5]
    assert wave.positions == [0, 1, 2, 1, 0]
    assert [list(span.path) for span in wave.spans] == [[0, 1], [0, 1], [0, 1, 2], [0, 3], [4]]
    assert [span.shared for span in wave.spans] == [0, 2, 2, 1, 0]
    assert wave.last == [1, 1, 2, 3, 4]


def test_a_wave_counts_distinct_tokens_and_takes_at_least_one_prompt() -> None:
    half = (1,) * (WAVE // 2)
    assert wave_size([(*half, *half, 2)]) == 1
    assert wave_size([(*half, *half, 2), (3,)]) == 1
    assert wave_size([half] * 9) == 9
    assert wave_size([half, (*half, 2), (3,) * (WAVE // 2 - 1), (4,)]) == 3


def test_growing_keeps_what_is_there() -> None:
    cache = SlotCache(3)
    cache.reserve(2)
    k = torch.arange(4.0).view(1, 1, 4, 1)
    cache.fill(0, 1, torch.tensor([[0, 1], [2, 3]]), k, -k)
    cache.reserve(STEP + 1)
    keys, values = cache.layer(0, k, -k)
    assert keys.shape == (3, 1, 2 * STEP, 1)
    assert keys[1:, 0, :2, 0].tolist() == [[0, 1], [2, 3]]
    assert values[1:, 0, :2, 0].tolist() == [[0, -1], [-2, -3]]
    cache.move([2], [0])
    assert keys[0, 0, :2, 0].tolist() == [2, 3]


def test_long_sequences_leave_room_for_fewer() -> None:
    assert fitting(96, 100) == 96
    assert fitting(96, POSITIONS // 3) == 3
    assert fitting(96, POSITIONS * 2) == 1
