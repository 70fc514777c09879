"""RMSNorm with a backward pass of its own (Zhang & Sennrich 2019). Knows one module; knows no architecture by name.

The norm that most architectures bring keeps three fp32 copies of its input for the backward pass and walks through
them some twenty times: a tenth of a fine-tuning step on a CPU. This one keeps the input and one number a row.

Suffixes: T rows, C width.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.Module):
    """weight · x / √(mean(x²) + eps), computed in fp32 and rounded before the weight, as LLaMA does it."""

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps

    def forward(self, hidden: Tensor) -> Tensor:
        return _Rms.apply(hidden, self.weight, self.eps)


class _Rms(torch.autograd.Function):
    """dx = r·(w·g - x̂·mean(w·g·x̂)) and dw = Σ_T g·x̂, with r = 1/√(mean(x²) + eps) and x̂ = r·x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        r = wide.pow(2).mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, r)
        return weight * torch.mul(wide, r).to(x.dtype)

    @staticmethod
    @once_differentiable  # which makes ctx positional
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor | None, None]:
        (gradient,) = gradients
        x, weight, r = ctx.saved_tensors
        width = x.shape[-1]
        g_TC = gradient.reshape(-1, width).float()
        unit_TC = torch.mul(x.reshape(-1, width).float(), r.reshape(-1, 1))
        product_TC = g_TC * unit_TC
        dweight = product_TC.sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        wide = weight.float()
        mean_T = torch.mv(product_TC, wide).div_(width)
        dx_TC = torch.mul(g_TC, wide).sub_(unit_TC.mul_(mean_T[:, None])).mul_(r.reshape(-1, 1))
        return dx_TC.to(x.dtype).view_as(x), dweight, None


def lighten(backbone: nn.Module) -> int:
    """Put `RMSNorm` in place of every norm that gives the same bits on a trial input; weights and their names stay.

    Norms that compute otherwise (1 + weight, a mean taken off, a rounding less) are left alone. Returns how many.
    """
    found = [(parent, name, norm) for parent in backbone.modules() for name, norm in parent.named_children()]
    replaced = 0
    for parent, name, norm in found:
        light = _light(norm)
        if light is not None:
            setattr(parent, name, light.train(norm.training))
            replaced += 1
    return replaced


def _light(norm: nn.Module) -> RMSNorm | None:
    scale = scale_of(norm, "variance_epsilon")
    if scale is None:
        return None
    light = RMSNorm(*scale)
    weight = light.weight
    trial = torch.linspace(-3, 3, 2 * weight.numel(), device=weight.device, dtype=weight.dtype).view(1, 2, -1)
    with torch.no_grad():
        return light if torch.equal(light(trial), norm(trial)) else None


def scale_of(norm: nn.Module, *names: str) -> tuple[nn.Parameter, float] | None:
    """Weight and eps of what may be an RMSNorm: a vector is all that it learns, and it takes one tensor. None of any
    other module. `names`: what its eps may be called."""
    weight = getattr(norm, "weight", None)
    eps = next((found for name in names if isinstance(found := getattr(norm, name, None), float)), None)
    if eps is None or not isinstance(weight, nn.Parameter) or weight.dim() != 1:
        return None
    if [name for name, _ in (*norm.named_parameters(), *norm.named_buffers())] != ["weight"]:
        return None
    return (weight, eps) if len(signature(norm.forward).parameters) == 1 else None  # norms of hybrids take a gate too
