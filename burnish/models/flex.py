"""Attention of a packed forest by FlexAttention (Dong et al. 2024), for GPUs. Knows what a token sees; knows no model.

torch compiles one kernel from two small functions, what a token sees and what becomes of a score, and skips blocks of
128 x 128 tokens in which nothing is seen. It has no backward pass on CPUs.

Suffixes: H query heads, K key-value heads, T tokens of the pack, E head width (of values it may be another).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention

from burnish.batches import Batch, Document, pack
from burnish.errors import out_of_memory
from burnish.models.attention import Attend, DenseAttention, Rule, TreeAttention

_log = logging.getLogger(__name__)
_TOLERANCE, _TOLERANCE_HALF = 1e-2, 5e-2
"""Largest difference from `DenseAttention` in fp32, as a share of its largest value, for numbers of 32 and of 16 bits.
A wrong mask gives tenths, bfloat16's rounding one or two hundredths at most."""
VARIANTS = 64
Kernel = Callable[..., Any]
"""`flex_attention`, compiled or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a kernel is compiled for, beside rules and lengths."""

    device: torch.device
    dtype: torch.dtype
    heads: int
    shared: int
    """Heads of keys and values."""
    width: int
    value_width: int

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor) -> Kind:
        return cls(
            device=q.device,
            dtype=q.dtype,
            heads=q.shape[1],
            shared=k.shape[1],
            width=q.shape[3],
            value_width=v.shape[3],
        )

    def __str__(self) -> str:
        widths = f"{self.width}" if self.width == self.value_width else f"{self.width} and {self.value_width}"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.device} for {self.heads}:{self.shared} heads of width {widths} in {dtype}"


def tree_attention(batch: Batch, device: torch.device) -> Attend:
    """The attention of a batch that is right for a device."""
    return FlexAttention(batch, device, kernel_of) if device.type == "cuda" else TreeAttention(batch)


class FlexAttention:
    """Exact attention of the whole pack in one call. Weights that are dropped it does not know: a layer that asks for
    that goes document by document, and so does one of a kind for which there is no kernel."""

    def __init__(self, batch: Batch, device: torch.device, kernel_of: Callable[[Kind], Kernel | None]) -> None:
        self._batch = batch
        self._kernel_of = kernel_of
        self._segment_T = batch.segment_T.to(device)
        self._parent_T = batch.parent_S[batch.segment_T].to(device)
        self._positions_T = batch.positions_T.to(device)
        self._masks: dict[int | None, BlockMask] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        kernel = None if rule.dropout else self._kernel_of(Kind.of(q, k, v))
        if kernel is None:
            return self._by_document(layer, q, k, v, rule)
        out, aux = kernel(
            q,
            k,
            v,
            score_mod=None if rule.softcap is None else capped(rule.softcap),
            block_mask=self._mask(rule.window),
            scale=rule.scale,
            enable_gqa=q.shape[1] != k.shape[1],
            return_aux=AuxRequest(lse=True),
        )
        sinks = rule.sinks(1, -1, 1)
        if sinks is not None:  # a further key whose value is zero: what is left to the others is their share
            out = out * (aux.lse - sinks).sigmoid()[..., None].to(out.dtype)
        return out.transpose(1, 2)

    @cached_property
    def _by_document(self) -> Attend:
        return TreeAttention(self._batch)

    def _mask(self, window: int | None) -> BlockMask:
        """Made once for all layers of a window. While it is made, T squared truth values are held."""
        if window not in self._masks:
            seen = visible(self._segment_T, self._parent_T, self._positions_T, window)
            count = self._segment_T.numel()
            self._masks[window] = create_block_mask(seen, None, None, count, count, device=self._segment_T.device)
        return self._masks[window]


def visible(
    segment_T: Tensor, parent_T: Tensor, positions_T: Tensor, window: int | None
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """What `Batch.visible_TT` and a layer's window say, of one token (row) and another (column).

    Args: parent_T, the segment that each token's segment continues, -1 for a root's.
    """

    def seen(batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        own = segment_T[row] == segment_T[column]
        prompt = parent_T[row] == segment_T[column]
        return (own | prompt) & (row >= column)

    if window is None:
        return seen
    reach = window

    def seen_near(batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return seen(batch, head, row, column) & (positions_T[row] - positions_T[column] < reach)

    return seen_near


def capped(softcap: float) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """What becomes of a scaled score."""

    def cap(score: Tensor, batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return cap


@cache
def compiled() -> Kernel:
    """One kernel for packs of all lengths; each rule, number format and mode of gradients has another. Where they were
    more than torch's limit, which is 8, it would compute every score of a pack in memory, so the limit is raised."""
    settings: Any = torch._dynamo.config  # pyright: ignore[reportPrivateUsage] (it has no public name)
    settings.recompile_limit = VARIANTS
    settings.specialize_float = True  # a soft cap is the model's own; as an input no kernel could read it
    return torch.compile(flex_attention, dynamic=True)


def kernel_of(kind: Kind) -> Kernel | None:
    """The compiled kernel; None where it does not work for layers of this kind."""
    return compiled() if works(kind) else None


@cache
def works(kind: Kind) -> bool:
    """Whether the compiled kernel runs for layers of a kind and gives what `DenseAttention` gives, gradients too: tried
    once a process for each, on a small forest with every rule. Where it does not, a warning says so and attention goes
    document by document. It does not for heads narrower than 16, which Triton's products of matrices do not take.

    A layer may be met within a checkpoint (`burnish.models.layers.recompute_layers`), which must not count what the
    trial saves for its own gradients as the layer's.
    """
    try:
        with saved_tensors_hooks(_as_it_is, _as_it_is):
            difference = trial(kind, compiled())
    except Exception as error:  # compilers, theirs and a driver: each raises what it likes
        if out_of_memory(error):  # that says nothing of the kernel
            raise
        _log.warning("FlexAttention does not run on %s, so attention is slower: %s", kind, str(error)[:300])
        return False
    right = difference <= (_TOLERANCE if kind.dtype is torch.float32 else _TOLERANCE_HALF)
    if not right:
        _log.warning("FlexAttention is off by %.2g on %s, so attention is slower", difference, kind)
    return right


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@torch.inference_mode(False)
def trial(kind: Kind, kernel: Kernel) -> float:
    """The largest difference from `DenseAttention` in fp32 over result and gradients of several rules, as a share of
    the largest value of each."""
    branched = Document(row="branched", ids=range(90), branches=[range(70), range(50)])
    batch = pack([branched, Document(row="plain", ids=range(60))])
    generator = torch.Generator().manual_seed(0)
    shapes = (kind.heads, kind.width), (kind.shared, kind.width), (kind.shared, kind.value_width)
    q, k, v, gradient = (
        torch.randn(1, heads, batch.tokens, width, generator=generator).to(kind.device, kind.dtype)
        for heads, width in (*shapes, (kind.heads, kind.value_width))
    )
    sinks, scale = torch.linspace(-1, 1, kind.heads).to(kind.device), kind.width**-0.5
    rules = [Rule(scale=scale), Rule(scale=scale, window=24, sinks_H=sinks), Rule(scale=scale, softcap=2.0)]
    differences: list[float] = []
    for rule in rules:
        kernelled = FlexAttention(batch, kind.device, lambda _: kernel)
        ours = _result_and_gradients(kernelled, q, k, v, gradient, rule)
        theirs = _result_and_gradients(DenseAttention(batch), q.float(), k.float(), v.float(), gradient.float(), rule)
        differences += [float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True)]
    return max(differences)


def _result_and_gradients(
    attend: Attend, q: Tensor, k: Tensor, v: Tensor, gradient: Tensor, rule: Rule
) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        q, k, v = (each.clone().requires_grad_() for each in (q, k, v))
        out = attend(0, q, k, v, rule)
        return out.detach(), *torch.autograd.grad(out, (q, k, v), gradient.transpose(1, 2))
