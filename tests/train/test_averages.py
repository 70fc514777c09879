"""Averages of weights against numbers worked out by hand, on a module of two weights."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from burnish.models.lora import LoraConfig, LoraLinear
from burnish.train.averages import Averages
from burnish.train.optim import OptimConfig, Optimizer

START = (1.0, -2.0)


class Two(nn.Module):
    """Two weights in a type of their own."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(START, dtype=dtype))


def at(optimizer: Optimizer, values: Sequence[float]) -> None:
    optimizer.put({"weight": torch.tensor(values)})


def optimizer_of(module: nn.Module) -> Optimizer:
    return Optimizer(module, OptimConfig(lr=0.1, steps=1))


def test_the_average_over_steps_is_of_the_steps_alone() -> None:
    """d = 1/2, θ = (3, 0), (5, 4), (8, 2): e_3 = (θ_1/4 + θ_2/2 + θ_3) / (7/4) = (11.25, 4) / 1.75. No start in it."""
    optimizer = optimizer_of(Two())
    averages = Averages(optimizer, ema=0.5)
    for step, values in enumerate([(3.0, 0.0), (5.0, 4.0), (8.0, 2.0)]):
        at(optimizer, values)
        averages.update(step)
    assert averages.kept()["weight"].tolist() == pytest.approx([11.25 / 1.75, 4 / 1.75])
    assert optimizer.weights["weight"].tolist() == [8.0, 2.0], "training goes on from the last"


def test_an_average_of_few_steps_is_their_plain_mean() -> None:
    optimizer = optimizer_of(Two())
    averages = Averages(optimizer, ema=1 - 1e-6)
    for step in range(4):
        at(optimizer, (float(step), 8.0))
        averages.update(step)
    assert averages.kept()["weight"].tolist() == pytest.approx([1.5, 8.0], abs=1e-4)


def test_the_start_has_its_share() -> None:
    """0.3 of (1, -2) and 0.7 of (11, 8)."""
    optimizer = optimizer_of(Two())
    averages = Averages(optimizer, start=0.3)
    at(optimizer, (11.0, 8.0))
    assert averages.kept()["weight"].tolist() == pytest.approx([8.0, 5.0])


def test_both_the_average_first() -> None:
    """e_2 at d = 1/2 of 4 and 10 is 8; a quarter of the start is 1/4 + 6. Of 0 and 3 it is 2, less 1/2."""
    optimizer = optimizer_of(Two())
    averages = Averages(optimizer, ema=0.5, start=0.25)
    for step, values in enumerate([(4.0, 0.0), (10.0, 3.0)]):
        at(optimizer, values)
        averages.update(step)
    assert averages.kept()["weight"].tolist() == pytest.approx([6.25, 1.0])


def test_averages_are_fp32_beside_weights_in_bfloat16() -> None:
    """1 and 1 + 2^-12 are one number in bfloat16, and their mean is neither."""
    module = Two(torch.bfloat16)
    optimizer = optimizer_of(module)
    averages = Averages(optimizer, ema=0.999)
    for step, value in enumerate((1.0, 1 + 2**-12)):
        at(optimizer, (value, 0.0))
        averages.update(step)
    found = averages.kept()["weight"]
    assert found.dtype == torch.float32
    assert 1 < found[0].item() < 1 + 2**-12
    optimizer.put(averages.kept())
    assert module.weight.dtype == torch.bfloat16


def test_inside_are_the_kept_weights_and_after_it_those_that_train() -> None:
    module = Two(torch.bfloat16)
    optimizer = optimizer_of(module)
    averages = Averages(optimizer, start=0.5)
    at(optimizer, (3.0 + 2**-14, 2.0))
    with averages.inside():
        assert module.weight.tolist() == [2.0, 0.0]
    assert module.weight.tolist() == [3.0, 2.0]
    assert optimizer.weights["weight"].tolist() == [3.0 + 2**-14, 2.0]


def test_without_averages_nothing_is_copied() -> None:
    optimizer = optimizer_of(Two())
    averages = Averages(optimizer)
    averages.update(0)
    assert averages.kept()["weight"].data_ptr() == optimizer.weights["weight"].data_ptr()
    assert averages.state() == ({}, {})


def test_an_adapter_interpolates_as_the_weights_would() -> None:
    """W + (1-w) s B A is w W + (1-w)(W + s B A); A moved too, which must not come in twice."""
    layer = nn.Linear(5, 4)
    torch.manual_seed(0)
    adapter = LoraLinear(layer, LoraConfig(rank=2, alpha=6), torch.Generator().manual_seed(3))
    adapter.weight.requires_grad_(False)
    optimizer = optimizer_of(adapter)
    averages = Averages(optimizer, start=0.3, factors={"lora_A"})
    moved = {name: torch.randn_like(tensor) for name, tensor in optimizer.weights.items()}
    optimizer.put(moved)
    trained = adapter.merged().weight
    optimizer.put(averages.kept())
    assert torch.allclose(adapter.merged().weight, 0.3 * layer.weight + 0.7 * trained, atol=1e-6)
    both = Averages(optimizer, start=0.3)
    optimizer.put(moved)
    optimizer.put(both.kept())
    assert not torch.allclose(adapter.merged().weight, 0.3 * layer.weight + 0.7 * trained, atol=1e-2)
