"""Drawing against distributions small enough to write down."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from burnish.rollout.draw import BLOCK, NUCLEUS, best, draw, likely, nucleus, penalised, uniforms
from burnish.types import Sampling

PROBS = (0.5, 0.3, 0.15, 0.05)


def points(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits(rows: int) -> Tensor:
    return torch.tensor([PROBS]).log().repeat(rows, 1)


def test_the_point_falls_where_the_distribution_function_passes_it() -> None:
    ids, logprobs = draw(logits(5), points(0.0, 0.49, 0.51, 0.85, 0.999), Sampling(temperature=1, top_p=1))
    assert ids.tolist() == [0, 0, 1, 2, 3]
    wanted = [math.log(PROBS[i]) for i in (0, 0, 1, 2, 3)]
    assert logprobs.tolist() == pytest.approx(wanted, abs=1e-6)


def test_temperature_divides_the_logits() -> None:
    squares = [p**2 for p in PROBS]  # temperature 1/2 squares probabilities
    ids, logprobs = draw(logits(2), points(0.0, 0.9), Sampling(temperature=0.5, top_p=1))
    assert ids.tolist() == [0, 1]  # 0.25 / 0.365 = 0.685, (0.25 + 0.09) / 0.365 = 0.93
    assert logprobs.tolist() == pytest.approx([math.log(squares[i] / sum(squares)) for i in (0, 1)], abs=1e-6)


def test_temperature_0_takes_the_best_and_says_the_models_logprob() -> None:
    ids, logprobs = draw(logits(1), points(0.99), Sampling(temperature=0, top_p=0.1))
    assert ids.tolist() == [0]
    assert logprobs.tolist() == pytest.approx([math.log(0.5)], abs=1e-6)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.4, 1), (0.51, 2), (0.79, 2), (0.81, 3), (0.96, 4)],
)
def test_nucleus_keeps_the_fewest_that_reach_top_p(top_p: float, kept: int) -> None:
    mixed = torch.tensor([[PROBS[2], PROBS[0], PROBS[3], PROBS[1]]]).log()
    order = [1, 3, 0, 2]
    assert sorted(nucleus(mixed, top_p).isfinite()[0].nonzero().flatten().tolist()) == sorted(order[:kept])


def test_nucleus_beyond_the_first_look_sorts_everything() -> None:
    flat = torch.zeros(3, 2 * NUCLEUS)
    flat[2, 3] = 30.0
    flat[1, 5:] = -torch.arange(2 * NUCLEUS - 5) / 1000
    cut = nucleus(flat, 0.9)
    assert bool(cut[0].isfinite().all())  # equals of the last one kept
    assert cut[2].isfinite().nonzero().tolist() == [[3]]
    kept = int(cut[1].isfinite().sum())
    probs = flat[1].softmax(-1)  # falls from left to right
    assert float(probs[:kept].sum()) >= 0.9 > float(probs[: kept - 1].sum())
    assert kept > NUCLEUS


def test_with_top_p_the_logprob_is_of_what_was_drawn_from() -> None:
    ids, logprobs = draw(logits(2), points(0.1, 0.9999999), Sampling(temperature=1, top_p=0.7))
    assert ids.tolist() == [0, 1]
    assert logprobs.tolist() == pytest.approx([math.log(0.5 / 0.8), math.log(0.3 / 0.8)], abs=1e-6)


def test_top_k_keeps_the_highest_and_equals_of_the_last() -> None:
    assert best(logits(1), 2).isfinite().tolist() == [[True, True, False, False]]
    assert best(torch.tensor([[1.0, 2.0, 1.0, 0.0]]), 2).isfinite().tolist() == [[True, True, True, False]]
    assert best(logits(1), 9).isfinite().all()
    ids, logprobs = draw(logits(2), points(0.6, 0.99), Sampling(top_k=2))
    assert ids.tolist() == [0, 1]  # 0.5 / 0.8 = 0.625
    assert logprobs.tolist() == pytest.approx([math.log(0.5 / 0.8), math.log(0.3 / 0.8)], abs=1e-6)


@pytest.mark.parametrize(("min_p", "kept"), [(0.09, 4), (0.11, 3), (0.29, 3), (0.31, 2), (0.61, 1), (1.0, 1)])
def test_min_p_is_a_share_of_the_most_likely(min_p: float, kept: int) -> None:
    assert int(likely(logits(1), min_p).isfinite().sum()) == kept  # 0.05, 0.15, 0.3 are 0.1, 0.3, 0.6 of 0.5
    ids, logprobs = draw(logits(1), points(0.0), Sampling(min_p=min_p))
    assert ids.tolist() == [0]
    assert logprobs.tolist() == pytest.approx([math.log(0.5 / sum(PROBS[:kept]))], abs=1e-6)


def test_each_filter_sees_what_the_one_before_left() -> None:
    # top_k leaves 0.5, 0.3, 0.15 of 0.95; of that top_p 0.83 needs the first two: 0.842, where of all it needs three.
    _, logprobs = draw(logits(1), points(0.0), Sampling(top_k=3, top_p=0.83))
    assert logprobs.tolist() == pytest.approx([math.log(0.5 / 0.8)], abs=1e-6)
    # Temperature first: at 1/2 the third has 0.09 of the first's probability, and is refused.
    _, logprobs = draw(logits(1), points(0.0), Sampling(temperature=0.5, min_p=0.2))
    assert logprobs.tolist() == pytest.approx([math.log(0.25 / 0.34)], abs=1e-6)


def test_repetition_penalty_makes_seen_tokens_less_likely_on_either_side_of_0() -> None:
    scores = torch.tensor([[2.0, 2.0, -1.0, -1.0]])
    seen = torch.tensor([[True, False, True, False]])
    assert penalised(scores, seen, 2.0).tolist() == [[1.0, 2.0, -2.0, -1.0]]
    sampling = Sampling(repetition_penalty=2.0)
    ids, logprobs = draw(scores, points(0.0), sampling, seen)
    total = math.e + math.e**2 + math.e**-2 + math.e**-1
    assert ids.tolist() == [0]
    assert logprobs.tolist() == pytest.approx([1 - math.log(total)], abs=1e-6)
    ids, logprobs = draw(scores, points(0.0), Sampling(repetition_penalty=2.0, temperature=0), seen)
    assert ids.tolist() == [1]
    assert logprobs.tolist() == pytest.approx([2 - math.log(total)], abs=1e-6)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.8, top_k=9, top_p=0.7, min_p=0.05, repetition_penalty=1.3),
        Sampling(temperature=1.4, top_k=40, top_p=0.95, min_p=0.1),
        Sampling(top_p=0.9, min_p=0.02, repetition_penalty=0.8),
    ],
)
def test_the_distribution_is_that_of_transformers(sampling: Sampling) -> None:
    torch.manual_seed(0)
    scores = torch.randn(20, 300) * 3
    seen_ids = torch.randint(0, 300, (20, 30))
    wanted_AV = scores.clone()
    processors: list[Any] = [
        RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        TemperatureLogitsWarper(sampling.temperature),
        TopKLogitsWarper(sampling.top_k or 300),
        TopPLogitsWarper(sampling.top_p),
        MinPLogitsWarper(sampling.min_p),
    ]
    for each in processors:
        wanted_AV = each(seen_ids, wanted_AV)
    wanted_AV = wanted_AV.log_softmax(-1)
    seen_AV = torch.zeros(20, 300, dtype=torch.bool).scatter_(1, seen_ids, True)
    for u in torch.linspace(0, 0.999, 25):
        ids_A, logprobs_A = draw(scores, u.double().expand(20), sampling, seen_AV)
        torch.testing.assert_close(logprobs_A, wanted_AV.gather(1, ids_A[:, None])[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3])
def test_a_token_without_mass_is_never_drawn(size: int) -> None:
    torch.manual_seed(0)
    scores = torch.randn(64, size) * 4
    scores[:, torch.rand(size) < 0.7] = float("-inf")
    scores[:, size // 2] = 0.0
    for u in (0.0, 0.5, 1 - 2**-53):
        ids, logprobs = draw(scores, torch.full((64,), u, dtype=torch.float64), Sampling(temperature=1, top_p=1))
        assert bool(scores.gather(1, ids[:, None]).isfinite().all())
        assert bool(logprobs.isfinite().all())


def test_inversion_matches_one_long_sum() -> None:
    torch.manual_seed(0)
    scores = torch.randn(200, 3 * BLOCK + 17)
    u = torch.rand(200, dtype=torch.float64)
    ids, logprobs = draw(scores, u, Sampling(temperature=1, top_p=1))
    probs = scores.double().softmax(-1)
    assert ids.tolist() == torch.searchsorted(probs.cumsum(-1), u[:, None], right=True).squeeze(1).tolist()
    torch.testing.assert_close(logprobs.double(), probs.gather(1, ids[:, None]).squeeze(1).log(), rtol=0, atol=1e-5)


def test_uniforms_depend_on_everything_named_and_begin_alike() -> None:
    base = uniforms(1, (2, 3), 0, 4)
    assert uniforms(1, [2, 3], 0, 9)[:4].tolist() == base.tolist()
    others = [
        uniforms(2, (2, 3), 0, 4),
        uniforms(1, (2, 4), 0, 4),
        uniforms(1, (2, 3), 1, 4),
        uniforms(1, (3, 2), 0, 4),
    ]
    assert len({float(numbers[0]) for numbers in [base, *others]}) == 5
    assert base.min() >= 0
    assert base.max() < 1
