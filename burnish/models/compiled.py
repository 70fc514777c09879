"""Norms, gated activations and rotation as one pass over memory each, compiled by torch's inductor: C++ for a CPU,
Triton for a GPU. Knows functions of tensors; knows no module.

Outside products of matrices a step is bound by memory: torch walks through a norm's input a dozen times each way. Here
formula and derivative are written out, in fp32 with one rounding at the end, and each is compiled by itself. So a pass
with gradients and one without run the same code, and nothing of a module is traced.

Code is made once for a kind of tensors, as for `_TRACED` rows, and serves any number of rows. A run that goes on after
a kill begins with another batch than it first began with, and computes the same.

Suffixes: R rows, C width, I width of a gated layer, B sequences, T positions, H heads, E head width, D the turned part
of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.models.fused import Kernels

_FEW = 16
"""Fewer rows go by the formula as it stands: to start compiled code takes longer, and one row would need its own."""
_APART = 16
"""Rows of a wider tensor are read where they lie up to so many widths apart; further, how far may be the batch's."""
_TRACED = 512
_BEND, _CUBE = (2 / torch.pi) ** 0.5, 0.044715
"""Of GELU by tanh (Hendrycks & Gimpel 2016)."""
Formula = Callable[..., tuple[Tensor, ...]]
"""Of what is settled beforehand, and of tensors whose first size is the rows, vectors excepted."""


def kernels() -> Kernels:
    """Those of this module. Each is compiled when it first meets so many rows, which takes seconds."""
    return Kernels(
        owner="compiled",
        norm=_norm,
        products=(partial(_Gate.apply, _silu), partial(_Gate.apply, _gelu)),
        rotation=_Rotation.apply,
        trials=lambda _, dtype: ((3, torch.float32), (_FEW, dtype)),
    )


def refusal(place: torch.device) -> str | None:
    """Why no code can be compiled for the device, in a line; None where it can."""
    x_RC = torch.arange(4.0 * _FEW, device=place).view(_FEW, 4)
    try:
        (twice_RC,) = _run(_twice, (), x_RC)
    except Exception as error:  # noqa: BLE001 (a compiler, a linker, a driver: each raises what it likes)
        inner = getattr(error, "inner_exception", error)  # torch's own says in a line whose it is, and no more
        lines = [line.strip() for line in str(inner).splitlines() if line.strip()] or [type(inner).__name__]
        return next((line for line in lines if "error:" in line.lower()), lines[0])[:300]
    return None if torch.equal(twice_RC, 2 * x_RC) else "compiled code computes something else"


def _norm(x: Tensor, weight_C: Tensor, *, eps: float, offset: float, casting_mode: str) -> Tensor:
    """As `burnish.models.fused.Kernels` says, of x [..., C]."""
    dtype = x.dtype if casting_mode == "gemma" else torch.promote_types(x.dtype, weight_C.dtype)
    return _Norm.apply(x, weight_C, eps, offset, dtype)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, eps: float, offset: float, dtype: torch.dtype) -> Tensor:
        x_RC = x.reshape(-1, x.shape[-1])
        out_RC, r_R1 = _run(_normed, (eps, offset, dtype), x_RC, weight_C)
        ctx.save_for_backward(x_RC, weight_C, r_R1)
        ctx.offset = offset
        return out_RC.view(x.shape)

    @staticmethod
    @once_differentiable  # which makes ctx positional
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_RC, weight_C, r_R1 = ctx.saved_tensors
        g_RC = gradients[0].reshape(x_RC.shape)
        formula = _norm_gradients if ctx.needs_input_grad[1] else _norm_gradient
        dx_RC, *dweight = _run(formula, (ctx.offset,), g_RC, x_RC, r_R1, weight_C)
        return dx_RC.view(gradients[0].shape), *(dweight or [None]), None, None, None


def _normed(eps: float, offset: float, dtype: torch.dtype, x_RC: Tensor, weight_C: Tensor) -> tuple[Tensor, Tensor]:
    """(weight + offset) · r x with r = 1/√(mean(x²) + eps), and r."""
    wide_RC = x_RC.float()
    r_R1 = torch.rsqrt(wide_RC.square().mean(-1, keepdim=True) + eps)
    return (wide_RC * r_R1 * (weight_C.float() + offset)).to(dtype), r_R1


def _norm_gradient(offset: float, g_RC: Tensor, x_RC: Tensor, r_R1: Tensor, weight_C: Tensor) -> tuple[Tensor]:
    """dx = r (w·g - x̂ mean(w·g·x̂)), with x̂ = r x and w = weight + offset."""
    unit_RC, scaled_RC = x_RC.float() * r_R1, g_RC.float() * (weight_C.float() + offset)
    mean_R1 = (unit_RC * scaled_RC).mean(-1, keepdim=True)
    return (((scaled_RC - unit_RC * mean_R1) * r_R1).to(x_RC.dtype),)


def _norm_gradients(offset: float, g_RC: Tensor, x_RC: Tensor, r_R1: Tensor, weight_C: Tensor) -> tuple[Tensor, Tensor]:
    """dx, and dw = Σ_R g·x̂."""
    dweight_C = (g_RC.float() * (x_RC.float() * r_R1)).sum(0)
    return *_norm_gradient(offset, g_RC, x_RC, r_R1, weight_C), dweight_C.to(weight_C.dtype)


class _Gate(torch.autograd.Function):
    """a(gate) · up, keeping both."""

    @staticmethod
    def forward(ctx: Any, activation: Callable[[Tensor], tuple[Tensor, Tensor]], gate: Tensor, up: Tensor) -> Tensor:
        gate_RI, up_RI = (each.reshape(-1, each.shape[-1]) for each in (gate, up))
        ctx.save_for_backward(gate_RI, up_RI)
        ctx.activation = activation
        return _run(_gated, (activation,), gate_RI, up_RI)[0].view(gate.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        gate_RI, up_RI = ctx.saved_tensors
        g_RI = gradients[0].reshape(gate_RI.shape)
        found = _run(_gate_gradients, (ctx.activation,), g_RI, gate_RI, up_RI)
        return None, *(each.view(gradients[0].shape) for each in found)


def _silu(x: Tensor) -> tuple[Tensor, Tensor]:
    """x σ(x), and its derivative."""
    share = torch.sigmoid(x)
    return x * share, share * (1 + x * (1 - share))


def _gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    """½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), and its derivative."""
    turn = torch.tanh(_BEND * (x + _CUBE * x * x * x))
    return 0.5 * x * (1 + turn), 0.5 * (1 + turn) + 0.5 * x * (1 - turn * turn) * _BEND * (1 + 3 * _CUBE * x * x)


def _gated(activation: Callable[[Tensor], tuple[Tensor, Tensor]], gate_RI: Tensor, up_RI: Tensor) -> tuple[Tensor]:
    return ((activation(gate_RI.float())[0] * up_RI.float()).to(gate_RI.dtype),)


def _gate_gradients(
    activation: Callable[[Tensor], tuple[Tensor, Tensor]], g_RI: Tensor, gate_RI: Tensor, up_RI: Tensor
) -> tuple[Tensor, Tensor]:
    g_RI = g_RI.float()
    value_RI, slope_RI = activation(gate_RI.float())
    return (g_RI * up_RI.float() * slope_RI).to(gate_RI.dtype), (g_RI * value_RI).to(up_RI.dtype)


class _Rotation(torch.autograd.Function):
    """Queries and keys [B, H, T, E], heads of another number in each, turned by cos and sin [1 or B, T, D]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        turns = [each.expand(len(q), -1, -1).reshape(-1, cos.shape[-1]) for each in (cos, sin)]
        ctx.save_for_backward(*turns)
        return _turned(_rotated, q, k, *turns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_turned(_rotated_back, *gradients, *ctx.saved_tensors), None, None


def _turned(formula: Formula, q: Tensor, k: Tensor, cos_RD: Tensor, sin_RD: Tensor) -> tuple[Tensor, Tensor]:
    rows = [each.transpose(1, 2).flatten(0, 1) for each in (q, k)]
    new_q, new_k = _run(formula, (), *rows, cos_RD, sin_RD)
    return (
        new_q.unflatten(0, (q.shape[0], q.shape[2])).transpose(1, 2),
        new_k.unflatten(0, (k.shape[0], k.shape[2])).transpose(1, 2),
    )


def _rotated(q_RHE: Tensor, k_RHE: Tensor, cos_RD: Tensor, sin_RD: Tensor) -> tuple[Tensor, Tensor]:
    """With x = (a, b) in halves of D: (a cos - b sin, b cos + a sin), and what of E is beyond D as it was."""
    (cos_a, cos_b), (sin_a, sin_b) = (each.float()[:, None].chunk(2, -1) for each in (cos_RD, sin_RD))

    def turned(x_RHE: Tensor) -> Tensor:
        rest = x_RHE[..., cos_RD.shape[-1] :]
        a, b = x_RHE[..., : cos_RD.shape[-1]].float().chunk(2, -1)
        return torch.cat([(a * cos_a - b * sin_a).to(rest.dtype), (b * cos_b + a * sin_b).to(rest.dtype), rest], -1)

    return turned(q_RHE), turned(k_RHE)


def _rotated_back(q_RHE: Tensor, k_RHE: Tensor, cos_RD: Tensor, sin_RD: Tensor) -> tuple[Tensor, Tensor]:
    """The transpose of the same map: (a cos_a + b sin_b, b cos_b - a sin_a)."""
    (sin_a, sin_b) = sin_RD.chunk(2, -1)
    return _rotated(q_RHE, k_RHE, cos_RD, -torch.cat([sin_b, sin_a], -1))


class _Likelihood(torch.autograd.Function):
    """log softmax of each row at its target, keeping the logits as they are and one number a row."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, target_N: Tensor) -> Tensor:
        logprob_N1, normaliser_N1 = _run(_likelihood, (), logits_NV, target_N[:, None])
        ctx.save_for_backward(logits_NV, target_N, normaliser_N1)
        return logprob_N1.squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits_NV, target_N, normaliser_N1 = ctx.saved_tensors
        given = gradients[0][:, None], logits_NV, target_N[:, None], normaliser_N1
        return _run(_likelihood_gradient, (), *given)[0], None


def target_logprobs(logits_NV: Tensor, target_N: Tensor) -> Tensor:
    """As `burnish.losses.tokens.target_logprobs`, without the logits in fp32."""
    return _Likelihood.apply(logits_NV, target_N)


def _likelihood(logits_NV: Tensor, target_N1: Tensor) -> tuple[Tensor, Tensor]:
    wide_NV = logits_NV.float()
    normaliser_N1 = wide_NV.logsumexp(-1, keepdim=True)
    return wide_NV.gather(-1, target_N1) - normaliser_N1, normaliser_N1


def _likelihood_gradient(g_N1: Tensor, logits_NV: Tensor, target_N1: Tensor, normaliser_N1: Tensor) -> tuple[Tensor]:
    """g (1[target] - softmax)."""
    share_NV = (logits_NV.float() - normaliser_N1).exp()
    hit_NV = torch.arange(logits_NV.shape[-1], device=logits_NV.device) == target_N1
    return ((g_N1 * (hit_NV.float() - share_NV)).to(logits_NV.dtype),)


def _twice(x_RC: Tensor) -> tuple[Tensor]:
    return (2 * x_RC,)


def _run(formula: Formula, settled: tuple[Any, ...], *given: Tensor) -> tuple[Tensor, ...]:
    """The formula's results: by compiled code for so many rows, else as it stands."""
    if len(given[0]) < _FEW:
        return formula(*settled, *given)
    dense = [_dense(each) for each in given]
    kinds = tuple(map(_Kind.of, dense))
    return _code(formula, settled, kinds, given[0].device, torch.get_num_threads())(*dense)


def _dense(given: Tensor) -> Tensor:
    """Each row in one piece, as rows of a wider tensor may be, no two rows in one place; a vector in one piece."""
    row = given[0]
    apart = row.numel() <= given.stride(0) <= _APART * row.numel()
    return given if given.dim() > 1 and row.is_contiguous() and apart else given.contiguous()


class _Kind(NamedTuple):
    """What code is made for of a tensor: not how many rows."""

    sizes: torch.Size
    """Of a row, or of a vector."""
    stride: int | None
    """From row to row; None of a vector."""
    dtype: torch.dtype

    @classmethod
    def of(cls, given: Tensor) -> _Kind:
        if given.dim() == 1:
            return cls(given.shape, None, given.dtype)
        return cls(given.shape[1:], given.stride(0), given.dtype)

    def example(self, place: torch.device) -> Tensor:
        if self.stride is None:
            return torch.ones(self.sizes, dtype=self.dtype, device=place)
        rows = torch.ones(_TRACED, self.stride, dtype=self.dtype, device=place)
        example = rows[:, : self.sizes.numel()].unflatten(-1, self.sizes)
        torch._dynamo.mark_dynamic(example, 0)  # pyright: ignore[reportPrivateUsage] (how torch's manual names it)
        return example


@cache
def _code(
    formula: Formula, settled: tuple[Any, ...], kinds: tuple[_Kind, ...], place: torch.device, threads: int
) -> Callable[..., tuple[Tensor, ...]]:
    """Compiled code for tensors of these kinds, by so many threads."""

    def computed(*given: Tensor) -> tuple[Tensor, ...]:
        return formula(*settled, *given)

    code = _by_inductor(computed)
    with torch.inference_mode(False), torch.no_grad():
        code(*(kind.example(place) for kind in kinds))
    return code


def _by_inductor(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch finds code that it has by the function's own code object, and asks for nothing else here (no guards): so it
    gets one that no other has. What it would ask for are the arguments of `_code`.

    Not `dynamic`: else torch would leave a width open once it has seen two, and code would depend on what came before.
    The rows are open all the same, being marked. One thread compiles: more would be processes, for few functions."""
    own = FunctionType(function.__code__.replace(), function.__globals__, "computed", None, function.__closure__)
    return torch.compile(own, fullgraph=True, dynamic=False, options={"guard_filter_fn": _none, "compile_threads": 1})


def _none(guards: Sequence[Any]) -> list[bool]:
    return [False] * len(guards)
