"""What weight decay moves, at gradients of zero, where it is all that moves anything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from burnish.train.optim import OptimConfig, Optimizer

DECAYING = {"tokens.weight", "layer.weight", "lora_A", "experts.down_proj"}


class Mixed(nn.Module):
    """One weight of each kind, all ones."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(5, 4)
        self.layer = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(4)
        self.lora_A = nn.Parameter(torch.empty(2, 4))
        self.experts = nn.Module()
        self.experts.down_proj = nn.Parameter(torch.empty(6, 4, 3))
        self.experts.down_proj_bias = nn.Parameter(torch.empty(6, 3))
        for weight in self.parameters():
            nn.init.ones_(weight)


def decayed(module: nn.Module, weight_decay: float) -> dict[str, Tensor]:
    """The weights after two steps without a slope, at a rate of a half."""
    config = OptimConfig(lr=0.5, steps=2, schedule="constant", weight_decay=weight_decay)
    optimizer = Optimizer(module, config)
    for step in range(2):
        for weight in module.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.accumulate()
        optimizer.step(step, optimizer.gradient_norm())
    return {name: weight.detach().float() for name, weight in module.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrices_shrink_and_norms_and_biases_stay(dtype: torch.dtype) -> None:
    """Each step takes rate times decay of what there is: 1 · (1 - 0.5 · 0.25)² = 0.765625, which bfloat16 has too."""
    found = decayed(Mixed().to(dtype), 0.25)
    assert {name for name, weight in found.items() if not torch.equal(weight, torch.ones_like(weight))} == DECAYING
    for name in DECAYING:
        assert found[name].flatten().tolist() == pytest.approx([0.765625] * found[name].numel(), rel=1e-6)


def test_without_decay_nothing_moves() -> None:
    assert all(torch.equal(weight, torch.ones_like(weight)) for weight in decayed(Mixed(), 0.0).values())


def test_moments_go_from_one_optimiser_to_another_whatever_decays() -> None:
    """They are kept by name: a checkpoint says nothing of groups, and one that was made without them is as good."""
    module, kept = Mixed(), {}
    for decay in (0.0, 0.25):
        optimizer = Optimizer(module, OptimConfig(lr=0.5, steps=2, weight_decay=decay))
        optimizer.load(kept) if kept else None
        for number, weight in enumerate(module.parameters()):
            weight.grad = torch.full_like(weight, float(number))
        optimizer.step(0, 0.0)
        kept = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    assert kept["step.norm.bias"] == kept["step.tokens.weight"] == 2
    for number, (name, _) in enumerate(module.named_parameters()):
        mean = 0.1 * number * (1 + 0.9)  # of two equal gradients, before the bias correction
        assert kept[f"exp_avg.{name}"].flatten()[0].item() == pytest.approx(mean, rel=1e-6)
