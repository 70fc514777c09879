"""The lighter RMSNorm: the same bits forward, the same gradient, and only in place of norms that compute the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from burnish.models.norms import RMSNorm, lighten

WIDTH = 48


def llama(dtype: torch.dtype) -> LlamaRMSNorm:
    torch.manual_seed(3)
    norm = LlamaRMSNorm(WIDTH, eps=1e-5).to(dtype)
    nn.init.normal_(norm.weight)
    return norm


def gradients(norm: nn.Module, x: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(norm(leaf), (leaf, norm.weight), upstream)


def test_a_row_worked_out_by_hand() -> None:
    """x = (3, 4), eps 0: mean square 12.5. With w = (1, 2), g = (1, 0): dx = r(w·g - x̂·mean(w·g·x̂))."""
    norm = RMSNorm(nn.Parameter(torch.tensor([1.0, 2.0])), 0.0)
    x, upstream = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    r = 12.5**-0.5
    torch.testing.assert_close(norm(x), torch.tensor([[3 * r, 8 * r]]))
    dx, dweight = gradients(norm, x, upstream)
    mean = 3 * r / 2
    torch.testing.assert_close(dx, torch.tensor([[r * (1 - 3 * r * mean), -r * 4 * r * mean]]))
    torch.testing.assert_close(dweight, torch.tensor([3 * r, 0.0]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 5e-3)])
def test_it_is_the_norm_of_llama(dtype: torch.dtype, tolerance: float) -> None:
    """bfloat16: both round the result once; what they round on the way differs by one part in 256 at most."""
    norm = llama(dtype)
    light = RMSNorm(norm.weight, norm.variance_epsilon)
    x, upstream = torch.randn(2, 5, 7, WIDTH, dtype=dtype).unbind()
    assert torch.equal(light(x), norm(x))
    for ours, theirs in zip(gradients(light, x, upstream), gradients(norm, x, upstream), strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_a_frozen_weight_gets_no_gradient() -> None:
    light = RMSNorm(nn.Parameter(torch.ones(WIDTH), requires_grad=False), 1e-5)
    leaf = torch.randn(3, WIDTH, requires_grad=True)
    light(leaf).sum().backward()
    assert leaf.grad is not None
    assert light.weight.grad is None


def test_only_norms_that_compute_the_same_are_replaced() -> None:
    class Mean(LlamaRMSNorm):
        """Takes the mean off, as LayerNorm does."""

        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden - hidden.mean(-1, keepdim=True) + 1)

    class Gated(LlamaRMSNorm):
        """As hybrids have it."""

        def forward(self, hidden: Tensor, gate: Tensor | None = None) -> Tensor:
            return super().forward(hidden if gate is None else hidden * gate)

    gemma = GemmaRMSNorm(WIDTH)
    gemma.variance_epsilon = gemma.eps
    backbone = nn.ModuleDict(
        {"llama": llama(torch.bfloat16), "gemma": gemma, "mean": Mean(WIDTH), "gated": Gated(WIDTH)}
    )
    weight = backbone["llama"].weight
    assert lighten(backbone) == 1
    assert isinstance(backbone["llama"], RMSNorm)
    assert backbone["llama"].weight is weight
    assert not isinstance(backbone["gemma"], RMSNorm)
    assert not isinstance(backbone["mean"], RMSNorm)
    assert not isinstance(backbone["gated"], RMSNorm)
    assert set(backbone.state_dict()) == {"llama.weight", "gemma.weight", "mean.weight", "gated.weight"}
