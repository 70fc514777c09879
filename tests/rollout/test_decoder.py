"""Flat prompts and slots, as index arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from burnish.models.attention import Rule
from burnish.rollout.cache import HIDDEN, POSITIONS, Shelf, SlotCache, StepAttention, joined, partial, room
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
    cache = SlotCache(3, 5)
    k = torch.arange(4.0).view(1, 1, 4, 1)
    cache.fill(0, 1, torch.tensor([[0, 1], [2, 3]]), k, -k)
    cache.reserve(4, 8)
    cache.reserve(2, 6)
    keys, values = cache.layer(0, k, -k)
    assert keys.shape == (4, 1, 8, 1)
    assert keys[1:3, 0, :2, 0].tolist() == [[0, 1], [2, 3]]
    assert values[1:3, 0, :2, 0].tolist() == [[0, -1], [-2, -3]]
    cache.move([2], [0])
    assert keys[0, 0, :2, 0].tolist() == [2, 3]


def test_long_sequences_leave_room_for_fewer() -> None:
    prompts = [(number,) * 36 for number in range(200)]
    assert room(prompts, 96, 64) == 96
    assert room(prompts[:20], 96, 64) == 20
    assert room(prompts, 96, POSITIONS // 3 - 36) == 3
    assert room(prompts, 96, POSITIONS * 2) == 1
    assert room([], 96, 64) == 1


def test_answers_share_the_room_of_their_prompt() -> None:
    prompts = [(number,) * 800 for number in range(4) for _ in range(100)]
    assert room(prompts, 999, 64) == 400
    assert room(prompts, 999, POSITIONS // 200 - 8) == 200  # with 2 prompts of 800


def dense(q: Tensor, k: Tensor, v: Tensor, scores_added: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) + scores_added).softmax(-1) @ v


def test_parts_are_joined_to_the_attention_over_all_keys() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 9, 8), torch.randn(2, 3, 9, 4)
    mask = torch.zeros(2, 1, 1, 9)
    mask[0, ..., 2:4] = HIDDEN
    mask[1, ..., :6] = HIDDEN  # nothing to see in the first part
    rule = Rule(scale=1.0)
    one = partial(q, k[:, :, :6], v[:, :, :6], rule, mask[..., :6])
    other = partial(q, k[:, :, 6:], v[:, :, 6:], rule, mask[..., 6:])
    out, weight = joined(one, other)
    torch.testing.assert_close(out, dense(q, k, v, mask), rtol=0, atol=1e-6)
    wanted = (q @ k.transpose(-1, -2) + mask).logsumexp(-1, keepdim=True)
    torch.testing.assert_close(weight, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("sinks", [None, torch.tensor([0.3, -0.2, 2.0, 0.0])])
def test_a_step_over_shared_prompts_is_each_answer_alone(window: int | None, sinks: Tensor | None) -> None:
    torch.manual_seed(1)
    said = [0, 2, 3, 1, 0, 5, 1, 4]
    prompts = {4: Shelf(SlotCache(3, 4), [2, 4, 1]), 8: Shelf(SlotCache(2, 8), [5, 7])}
    prompt_of = [(8, 0), (4, 1), (8, 0), (4, 0), (8, 1), (4, 2), (4, 1), (8, 0)]
    rule = Rule(scale=0.5, window=window, sinks_H=sinks)
    answers = SlotCache(len(said), 8)
    like = torch.zeros(1, 2, 1, 8)
    for cache in (prompts[4].cache, prompts[8].cache, answers):
        for kept in cache.layer(0, like, like):
            kept.copy_(torch.randn(kept.shape))
    q, k, v = torch.randn(1, 4, 8, 8), torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8)
    attend = StepAttention(prompts, answers, prompt_of=prompt_of, said=said, device="cpu")
    out = attend(0, q, k, v, rule)
    answer_k, answer_v = answers.layer(0, k, v)
    for row, ((size, prompt), count) in enumerate(zip(prompt_of, said, strict=True)):
        prompt_k, prompt_v = prompts[size].cache.layer(0, k, v)
        tokens = prompts[size].sizes[prompt]
        keys, values = (
            torch.cat([first[prompt, :, :tokens], own[row, :, :count], new[0, :, row, None]], dim=1).repeat_interleave(
                2, dim=0
            )
            for first, own, new in ((prompt_k, answer_k, k), (prompt_v, answer_v, v))
        )
        scores_H1L = q[0, :, row, None] @ keys.transpose(-1, -2) * 0.5
        if window is not None:
            scores_H1L[..., :-window] = float("-inf")
        if sinks is not None:
            scores_H1L = torch.cat([scores_H1L, sinks[:, None, None]], dim=-1)
            values = torch.nn.functional.pad(values, (0, 0, 0, 1))
        wanted_H1E = scores_H1L.softmax(-1) @ values
        torch.testing.assert_close(out[0, row], wanted_H1E[:, 0], rtol=0, atol=1e-5)
