"""Kernels for a backbone's norms, gated activations and rotation in place of what the architecture brings, whoever made
them. Knows kinds of modules; knows no architecture by name.

The modules of one backbone get another forward pass; weights and their names stay. A module gets one where the kernel
was found to compute the same on a trial, so that no list of architectures is kept.

Suffixes: R rows, C width, I width of a gated layer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from burnish.errors import warn_once
from burnish.models.norms import RMSNorm, scale_of

_log = logging.getLogger(__name__)
_TOLERANCE, _TOLERANCE_HALF = 1e-5, 2e-2
"""Largest difference between kernel and module, as a share of the largest value, for numbers of 32 and of 16 bits. GELU
and its approximation by tanh are twenty times as far apart as the first."""
_ROTATION = "apply_rotary_pos_emb"
_SEPARATE, _JOINT = {"gate_proj", "up_proj", "down_proj"}, {"gate_up_proj", "down_proj"}
"""Names of a gated layer's linear parts: of most, and of those that Phi-3 began."""
Forward = Callable[..., Any]
"""A module's forward pass, the module first, or what is called in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Functions of tensors, each with a backward pass of its own."""

    owner: str
    """As a message names them."""
    norm: Callable[..., Tensor]
    """RMSNorm of x [R, C]: (x, weight, eps=, offset=, casting_mode=). The factor is weight + offset; casting "llama"
    rounds before the factor, "gemma" after it."""
    products: tuple[Callable[[Tensor, Tensor], Tensor], ...]
    """activation(gate) * up, for each activation that they have."""
    rotation: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    """Of q and k [B, H, T, E] by halves, with cos and sin [1 or B, T, turned width]."""
    trials: Callable[[Tensor, torch.dtype], Sequence[tuple[int, torch.dtype]]]
    """On how many rows, in which numbers, what has this weight is tried, of a model in that format."""


def fuse(backbone: nn.Module, kernels: Kernels) -> None:
    """Let the kernels compute what they fit, in place. A warning says where they fit none of a backbone's norms, gated
    activations or rotations. Of experts it says nothing: torch computes them in any case."""
    dtype = next(backbone.parameters()).dtype
    kinds = {"norms": _norm, "gated activations": _gated, "rotations": _rotating}
    left: list[str] = []
    for kind, forward_of in kinds.items():
        forwards = [(part, forward_of(part, kernels, dtype)) for part in backbone.modules()]
        for part, forward in forwards:
            if forward is not None:
                part.forward = MethodType(forward, part)
        if not any(forward for _, forward in forwards):
            left.append(kind)
    if left:
        told = f"{kernels.owner} kernels fit none of its {', '.join(left)}: torch computes these"
        warn_once(_log, f"{type(backbone).__name__}: {told}")


def _norm(part: nn.Module, kernels: Kernels, dtype: torch.dtype) -> Forward | None:
    """RMSNorm, whose weight is the factor or is added to 1."""
    scale = scale_of(part, "eps", "variance_epsilon")
    if scale is None:
        return None
    weight, eps = scale
    casting = "llama" if isinstance(part, RMSNorm) else "gemma"  # rounded before the weight, or after it

    def own(x_RC: Tensor, weight_C: Tensor) -> Tensor:
        return functional_call(part, {"weight": weight_C}, (x_RC,))

    def forward(self: Any, hidden: Tensor, kernel: Forward) -> Tensor:
        return kernel(hidden, self.weight)

    for offset in (0.0, 1.0):
        kernel = partial(kernels.norm, eps=eps, offset=offset, casting_mode=casting)
        trials = kernels.trials(weight, dtype)
        if all(_agree(kernel, own, [_drawn(weight, rows, weight.numel()), weight], to) for rows, to in trials):
            return partial(forward, kernel=kernel)
    return None


def _gated(part: nn.Module, kernels: Kernels, dtype: torch.dtype) -> Forward | None:
    """down(activation(gate(x)) * up(x)). A kernel may write gradients over gate and up."""
    linear = dict(part.named_children())
    activation = linear.pop("act_fn", None) or linear.pop("activation_fn", None)
    first = linear.get("gate_proj", linear.get("gate_up_proj"))
    if activation is None or not isinstance(first, nn.Linear) or linear.keys() not in (_SEPARATE, _JOINT):
        return None
    if len(signature(part.forward).parameters) != 1:
        return None
    joint = linear.keys() == _JOINT

    def plain(gate_RI: Tensor, up_RI: Tensor) -> Tensor:
        return activation(gate_RI) * up_RI

    def forward(self: Any, x: Tensor, product: Forward) -> Tensor:
        halves = self.gate_up_proj(x).chunk(2, dim=-1) if joint else (self.gate_proj(x), self.up_proj(x))
        return self.down_proj(product(*halves))

    x_RC = _drawn(first.weight, 3, first.in_features).to(first.weight.dtype)
    with torch.no_grad():
        if not torch.equal(forward(part, x_RC, plain), part(x_RC)):
            return None
    width = first.out_features // (2 if joint else 1)

    def given(rows: int) -> list[Tensor]:
        return [_drawn(first.weight, rows, width, seed=seed) for seed in (1, 2)]

    for kernel in kernels.products:
        if all(_agree(kernel, plain, given(rows), to) for rows, to in kernels.trials(first.weight, dtype)):
            return partial(forward, product=kernel)
    return None


def _rotating(part: nn.Module, kernels: Kernels, dtype: torch.dtype) -> Forward | None:
    """Attention that turns queries and keys by halves: its class's own forward pass, which finds the kernel under the
    name of the function that it calls. A kernel may write over queries, keys and their gradients: nobody else holds
    them.
    """
    own = type(part).forward
    if not isinstance(own, FunctionType) or {n for n in own.__code__.co_names if "rotary_pos" in n} != {_ROTATION}:
        return None
    rotation: Forward = own.__globals__[_ROTATION]
    if not _rotates(kernels, rotation, getattr(part, "head_dim", 8), next(part.parameters()), dtype):
        return None

    def rotated(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *other: Any, **named: Any) -> Any:
        if other or named or cos.dtype is not q.dtype:  # heads stand elsewhere, or the result is another type
            return rotation(q, k, cos, sin, *other, **named)
        return kernels.rotation(q, k, cos, sin)

    seen = {**own.__globals__, _ROTATION: rotated}
    forward = FunctionType(own.__code__, seen, own.__name__, own.__defaults__, own.__closure__)
    forward.__kwdefaults__ = own.__kwdefaults__
    return forward


def _rotates(kernels: Kernels, rotation: Forward, width: int, like: Tensor, dtype: torch.dtype) -> bool:
    """Whether two functions rotate alike whole heads, and the first half of each, as far as the second takes both."""
    verdicts: list[bool | None] = []
    for rows, to in kernels.trials(like, dtype):
        q, k = (_drawn(like, 1, heads, rows, width, seed=heads) for heads in (4, 2))
        turns = [_drawn(like, 1, rows, turned // 2).repeat(1, 1, 2) for turned in (width, width // 2)]
        verdicts += [_agree(kernels.rotation, rotation, [q, k, angles.cos(), angles.sin()], to) for angles in turns]
    return True in verdicts and False not in verdicts


def _agree(kernel: Forward, own: Forward, given: Sequence[Tensor], numbers: torch.dtype) -> bool | None:
    """Whether two functions give the same but for rounding, of numbers in this format: results, and gradients of the
    first two tensors. None where the second does not take what is given."""
    cast = [each.detach().to(numbers) for each in given]
    try:
        theirs = _results_and_gradients(own, cast)
    except Exception:  # noqa: BLE001 (made for something else, it may fail in any way)
        return None
    try:
        ours = _results_and_gradients(kernel, cast)
    except Exception as error:  # noqa: BLE001 (a compiler and a driver: each raises what it likes)
        warn_once(_log, f"a kernel does not run on {given[0].device} in {numbers}: {str(error)[:300]}")
        return False
    tolerance = _TOLERANCE if numbers is torch.float32 else _TOLERANCE_HALF
    return all(_close(a, b, tolerance) for a, b in zip(ours, theirs, strict=True))


def _close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    same_kind = ours.dtype is theirs.dtype and ours.shape == theirs.shape
    return same_kind and bool((ours - theirs).abs().max() <= tolerance * theirs.abs().max())


def _results_and_gradients(function: Forward, given: Sequence[Tensor]) -> list[Tensor]:
    with torch.enable_grad():
        learned = [each.clone().requires_grad_() for each in given[:2]]
        found = function(*(each.clone() for each in learned), *given[2:])  # copies: a kernel may write over them
        results: list[Tensor] = [*found] if isinstance(found, tuple) else [found]
        upstream = [_drawn(each, *each.shape, seed=3).to(each.dtype) for each in results]
        kept = [each.detach().clone() for each in results]
        return [*kept, *torch.autograd.grad(results, learned, upstream)]


def _drawn(like: Tensor, *shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in fp32, where `like` is."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(like.device)
