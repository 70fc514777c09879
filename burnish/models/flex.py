"""Attention of a packed forest by FlexAttention (Dong et al. 2024), for GPUs. Knows what a token sees; knows no model.

torch compiles one kernel from two small functions, what a token sees and what becomes of a score, and skips blocks of
128 x 128 tokens in which nothing is seen. It has no backward pass on CPUs.

Suffixes: H query heads, K key-value heads, T tokens of the pack, E head width (of values it may be another).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention

from burnish.batches import Batch, Document, pack
from burnish.models.attention import Attend, DenseAttention, Rule, TreeAttention

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-2
"""Largest difference from `DenseAttention`, as a share of its largest value: a wrong mask gives tenths."""
VARIANTS = 64
Kernel = Callable[..., Any]
"""`flex_attention`, compiled or not."""


def tree_attention(batch: Batch, device: torch.device) -> Attend:
    """The attention of a batch that is right for a device."""
    if device.type == "cuda" and works(device):
        return FlexAttention(batch, device, compiled())
    return TreeAttention(batch)


class FlexAttention:
    """Exact attention of the whole pack in one call. Weights that are dropped it does not know: a layer that asks for
    that goes document by document."""

    def __init__(self, batch: Batch, device: torch.device, kernel: Kernel) -> None:
        self._batch = batch
        self._kernel = kernel
        self._segment_T = batch.segment_T.to(device)
        self._parent_T = batch.parent_S[batch.segment_T].to(device)
        self._positions_T = batch.positions_T.to(device)
        self._masks: dict[int | None, BlockMask] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        if rule.dropout:
            return self._by_document(layer, q, k, v, rule)
        out, aux = self._kernel(
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
    return torch.compile(flex_attention, dynamic=True)


@cache
def works(device: torch.device) -> bool:
    """Whether the compiled kernel runs here and gives what `DenseAttention` gives, gradients too: tried once a process,
    on a small forest with every rule. Where it does not, a warning says so and attention goes document by document."""
    try:
        difference = trial(device, compiled())
    except Exception as error:  # noqa: BLE001 (compilers, theirs and a driver: each raises what it likes)
        _log.warning("FlexAttention does not run on %s, so attention is slower: %s", device, str(error)[:300])
        return False
    if not difference <= _TOLERANCE:
        _log.warning("FlexAttention is off by %.2g on %s, so attention is slower", difference, device)
    return difference <= _TOLERANCE


def trial(device: torch.device, kernel: Kernel) -> float:
    """The largest difference from `DenseAttention` over result and gradients of several rules, as a share of the
    largest value of each."""
    branched = Document(row="branched", ids=range(90), branches=[range(70), range(50)])
    batch = pack([branched, Document(row="plain", ids=range(60))])
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(1, heads, batch.tokens, 64, generator=generator) for heads in (4, 2, 2, 4)]
    q, k, v, gradient = (each.to(device) for each in drawn)
    sinks = torch.linspace(-1, 1, 4).to(device)
    rules = [Rule(scale=0.125), Rule(scale=0.125, window=24, sinks_H=sinks), Rule(scale=0.125, softcap=2.0)]
    differences: list[float] = []
    for rule in rules:
        ours, theirs = (
            _result_and_gradients(attend, q, k, v, rule, gradient.transpose(1, 2))
            for attend in (FlexAttention(batch, device, kernel), DenseAttention(batch))
        )
        differences += [float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True)]
    return max(differences)


def _result_and_gradients(
    attend: Attend, q: Tensor, k: Tensor, v: Tensor, rule: Rule, gradient: Tensor
) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        q, k, v = (each.clone().requires_grad_() for each in (q, k, v))
        out = attend(0, q, k, v, rule)
        return out.detach(), *torch.autograd.grad(out, (q, k, v), gradient)
