"""The attention function that every backbone is given: it hands queries, keys and values to whoever travels with them.

transformers lets a model's attention be replaced by name and passes extra forward arguments through to it. We pass one,
`attend`: a callable that knows the batch. Training passes `TreeAttention`; the rollout engine passes its own, which
keeps keys and values between steps. What a layer wants beside that (`Rule`) is computed where it is known, and refused
where it is not. No attention mask is built by transformers: in its place stands the length of the window, if any.

Suffixes: H query heads, K key-value heads, T tokens, E head width (of values it may be another); Q queries and L keys
of one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from burnish.batches import Batch
from burnish.errors import ModelError, Problem
from burnish.models import blocks

NAME = "burnish_tree"
_HARMLESS = ("position_ids", "cache_position", "use_cache")
"""Arguments that reach attention and do not change it: rotation is done before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one layer's attention computes, beside which token sees which."""

    scale: float
    """Multiplies the products of queries and keys: these are the scores."""
    dropout: float = 0.0
    window: int | None = None
    """A token sees itself and the `window` - 1 positions before it (Beltagy et al. 2020); None: as far as there are."""
    softcap: float | None = None
    """c: scores become c tanh(score / c) (Gemma Team 2024, Gemma 2, section 2)."""
    sinks_H: Tensor | None = None
    """A score of each head that has its share in the softmax and no value, so that a token may look at nothing."""

    def sinks(self, *shape: int) -> Tensor | None:
        """The sinks of `shape`, to stand beside queries."""
        return None if self.sinks_H is None else self.sinks_H.view(shape)


class Attend(Protocol):
    """Attention over whatever the implementer knows: layer number, q [1,H,T,E], k and v [1,K,T,E] -> [1,T,H,E]."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor: ...


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: object,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    attend: Attend | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    where = type(module).__name__
    unknown = sorted(name for name, given in other.items() if name not in _HARMLESS and not _absent(given))
    if unknown or is_causal is False:
        found = ", ".join(unknown) or "eyes for what comes later"
        raise ModelError(Problem(where, f"attention with {found}, which burnish does not compute"))
    if type(attention_mask) is not type(sliding_window) or attention_mask != sliding_window:
        found = f"its mask ({attention_mask}) is not that of its window ({sliding_window})"
        raise ModelError(Problem(where, f"{found}: attention in chunks, or of a kind that burnish does not compute"))
    if attend is None:
        raise ModelError(Problem(where, "this architecture does not hand its batch to attention"))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rule = Rule(scale=scale, dropout=dropout, window=sliding_window, softcap=softcap, sinks_H=s_aux)
    layer: Any = module.layer_idx
    return attend(int(layer), query, key, value, rule), None


def _absent(given: object) -> bool:
    return given is None or given is False


def _mask(
    *, local_size: int | None = None, use_vmap: bool = False, allow_is_bidirectional_skip: bool | None = None, **_: Any
) -> int | None:
    """In place of a mask: how far it reaches back. The attention function compares that with what its layer says."""
    if use_vmap or allow_is_bidirectional_skip is not None:
        raise ModelError(Problem("attention", "a mask that is not causal, which burnish does not compute"))
    return local_size


def register() -> None:
    """Make `burnish_tree` known to transformers. Harmless when repeated."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


class TreeAttention:
    """Exact attention of a packed forest: a call holds one document, so that no other can touch its result.

    On CPUs bfloat16 is computed in fp32: faster there, and nearer to the truth. A layer that wants nothing but causal
    attention goes by blocks of rows there (`blocks`, which makes an exception for processors with tiles); any other
    rule, and GPUs, by torch's fused kernel. For that the pack is split, not sliced: the gradient of a slice is as long
    as the whole pack, that of a split is one `cat`.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._spans = batch.document_slices()
        self._sizes = [span.stop - span.start for span in self._spans]
        branched_D = torch.bincount(batch.document_S[batch.parent_S >= 0], minlength=len(batch.rows)) > 0
        last_D = torch.zeros_like(branched_D, dtype=batch.positions_T.dtype)
        last_D.scatter_reduce_(0, batch.document_S[batch.segment_T], batch.positions_T, "amax")
        self._branched, self._last = branched_D.tolist(), last_D.tolist()
        self._reach = max(self._last, default=0)
        self._masks: dict[tuple[int | None, torch.dtype], list[Tensor | None]] = {}
        self._plans: dict[torch.dtype, list[blocks.Block]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        given = q.dtype
        if q.device.type == "cpu":
            if self._only_causal(rule):
                return blocks.attend(q, k, v, rule.scale, self._blocks(given))
            if given is torch.bfloat16:
                q, k, v = q.float(), k.float(), v.float()
        parts = (x.split(self._sizes, dim=2) for x in (q, shared_heads(q, k), shared_heads(q, v)))
        masks, sinks = self._of(rule.window, q), rule.sinks(1, -1, 1, 1)
        attended = [attention(q_d, k_d, v_d, rule, m, sinks) for q_d, k_d, v_d, m in zip(*parts, masks, strict=True)]
        return torch.cat(attended, dim=2).to(given).transpose(1, 2)

    def _only_causal(self, rule: Rule) -> bool:
        near_all = rule.window is None or self._reach < rule.window
        return near_all and rule.dropout == 0 and rule.softcap is None and rule.sinks_H is None

    def _blocks(self, dtype: torch.dtype) -> list[blocks.Block]:
        """Made once for all layers of a type."""
        if dtype not in self._plans:
            self._plans[dtype] = blocks.blocks(self._batch, dtype)
        return self._plans[dtype]

    def _of(self, window: int | None, like: Tensor) -> list[Tensor | None]:
        """A mask for each document; None where the plain causal rule says it. Made once for all layers of a window."""
        if (window, like.dtype) not in self._masks:
            self._masks[window, like.dtype] = [self._mask(number, window, like) for number in range(len(self._spans))]
        return self._masks[window, like.dtype]

    def _mask(self, number: int, window: int | None, like: Tensor) -> Tensor | None:
        span, bites = self._spans[number], window is not None and self._last[number] >= window
        if not self._branched[number] and not bites:
            return None
        seen_TT = self._batch.visible_TT(span)
        return hiding(seen_TT & near(self._batch.positions_T[span], window) if bites else seen_TT, like.dtype).to(like)


class DenseAttention:
    """The slow reference: one mask over the whole pack, softmax written out in fp32. Tests hold TreeAttention to it."""

    def __init__(self, batch: Batch) -> None:
        self._visible_TT = batch.visible_TT()
        self._positions_T = batch.positions_T

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        mask_TT = hiding(self._visible_TT & near(self._positions_T, rule.window), torch.float32).to(q.device)
        keys, values = shared_heads(q, k).float(), shared_heads(q, v).float()
        return written_out(q.float(), keys, values, rule, mask_TT, rule.sinks(1, -1, 1, 1)).to(q.dtype).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, rule: Rule, mask: Tensor | None, sinks: Tensor | None) -> Tensor:
    """By torch's fused kernel where it can say the rule; its window must be in the mask.

    Args: q [..., Q, E], k and v [..., L, E]; mask [..., Q, L] is added to scores, None: causal, with Q = L; sinks
    [..., 1, 1] or [..., Q, 1]. Returns: as q, with the width of v.
    """
    if rule.softcap is not None:
        return written_out(q, k, v, rule, mask, sinks)
    if sinks is not None:
        q, k, v, mask = _with_sink(q, k, v, rule.scale, _causal(q) if mask is None else mask, sinks)
    width = v.shape[-1]
    if width < q.shape[-1]:  # the fused kernels want one width; zeros beside a value stay beside it
        v = F.pad(v, (0, q.shape[-1] - width))
    causal = mask is None
    attended = F.scaled_dot_product_attention(q, k, v, mask, rule.dropout, is_causal=causal, scale=rule.scale)
    return attended[..., :width]


def written_out(q: Tensor, k: Tensor, v: Tensor, rule: Rule, mask: Tensor | None, sinks: Tensor | None) -> Tensor:
    """`attention` as it stands in the papers: every score is held in memory."""
    scores_QL = (q @ k.transpose(-1, -2)) * rule.scale
    if rule.softcap is not None:
        scores_QL = rule.softcap * (scores_QL / rule.softcap).tanh()
    scores_QL = scores_QL + (_causal(q) if mask is None else mask)
    if sinks is not None:
        scores_QL = torch.cat([scores_QL, sinks.to(q.dtype).expand(*scores_QL.shape[:-1], 1)], dim=-1)
    weights_QL = scores_QL.softmax(-1, dtype=torch.float32)[..., : k.shape[-2]].to(q.dtype)
    return F.dropout(weights_QL, rule.dropout) @ v


def shared_heads(q: Tensor, kv: Tensor) -> Tensor:
    """Repeat key or value heads so that each query head has its own."""
    return kv.repeat_interleave(q.shape[1] // kv.shape[1], dim=1)


def near(positions_T: Tensor, window: int | None) -> Tensor:
    """True where the column stands less than `window` positions before the row. Shape T, T; 1, 1 without a window."""
    if window is None:
        return positions_T.new_ones(1, 1, dtype=torch.bool)
    return positions_T[:, None] - positions_T[None, :] < window


def hiding(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0 where `seen`, else minus infinity."""
    return torch.zeros(seen.shape, device=seen.device, dtype=dtype).masked_fill_(~seen, float("-inf"))


def _causal(q: Tensor) -> Tensor:
    count = q.shape[-2]
    return hiding(torch.ones(count, count, device=q.device, dtype=torch.bool).tril(), q.dtype)


def _with_sink(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor, sinks: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A sink is a key that every query sees, and whose value is zero. It lies in a dimension of its own, where it is 1
    and a query is sink / scale: so their product is the sink, and its gradient is found like any other."""
    q = torch.cat([q, (sinks / scale).to(q.dtype).expand(*q.shape[:-1], 1)], dim=-1)
    sink = F.pad(torch.zeros_like(k[..., :1, :]), (0, 1), value=1.0)
    k = torch.cat([sink, F.pad(k, (0, 1))], dim=-2)
    return q, k, F.pad(v, (0, 0, 1, 0)), F.pad(mask, (1, 0))
