"""The attention function that every backbone is given: it hands queries, keys and values to whoever travels with them.

transformers lets a model's attention be replaced by name and passes extra forward arguments through to it. We pass one,
`attend`: a callable that knows the batch. Training passes `TreeAttention`; the rollout engine passes its own, which
keeps keys and values between steps. No attention mask is built by transformers.

Suffixes: H query heads, K key-value heads, T tokens, E head width.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from burnish.batches import Batch
from burnish.errors import ModelError, Problem

NAME = "burnish_tree"
_REFUSED = ("softcap", "s_aux", "sliding_window")


class Attend(Protocol):
    """Attention over whatever the implementer knows: layer number, q [1,H,T,E], k and v [1,K,T,E] -> [1,T,H,E]."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor: ...


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    attend: Attend | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    for name in _REFUSED:
        if other.get(name) is not None:
            raise ModelError(Problem(type(module).__name__, f"attention with {name}, which burnish does not compute"))
    if attend is None:
        raise ModelError(Problem(type(module).__name__, "this architecture does not hand its batch to attention"))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    return attend(int(layer), query, key, value, scale, dropout), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


def register() -> None:
    """Make `burnish_tree` known to transformers. Harmless when repeated."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _no_mask)


class TreeAttention:
    """Exact attention of a packed forest: one call a document, so that no document can touch another's result.

    The pack is split, not sliced: the gradient of a slice is as long as the whole pack, that of a split is one `cat`.
    On CPUs bfloat16 is computed in fp32: torch's fused kernel is faster so, and nearer to the truth.
    """

    def __init__(self, batch: Batch) -> None:
        spans = batch.document_slices()
        branched = (torch.bincount(batch.document_S[batch.parent_S >= 0], minlength=len(batch.rows)) > 0).tolist()
        self._sizes = [span.stop - span.start for span in spans]
        self._masks = [batch.visible_TT(span) if has else None for span, has in zip(spans, branched, strict=True)]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        given = q.dtype
        if q.device.type == "cpu" and given is torch.bfloat16:
            q, k, v = q.float(), k.float(), v.float()
        parts = (x.split(self._sizes, dim=2) for x in (q, shared_heads(q, k), shared_heads(q, v)))
        attended = [
            F.scaled_dot_product_attention(q_d, k_d, v_d, mask, dropout, is_causal=mask is None, scale=scale)
            for q_d, k_d, v_d, mask in zip(*parts, self._masks, strict=True)
        ]
        return torch.cat(attended, dim=2).to(given).transpose(1, 2)


class DenseAttention:
    """The slow reference: one mask over the whole pack, softmax written out in fp32. Tests hold TreeAttention to it."""

    def __init__(self, batch: Batch) -> None:
        self._visible_TT = batch.visible_TT()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        k, v = shared_heads(q, k), shared_heads(q, v)
        weights = (q.float() @ k.float().transpose(-1, -2)) * scale
        weights = weights.masked_fill(~self._visible_TT, float("-inf")).softmax(-1)
        return (F.dropout(weights, dropout) @ v.float()).to(q.dtype).transpose(1, 2)


def shared_heads(q: Tensor, kv: Tensor) -> Tensor:
    """Repeat key or value heads so that each query head has its own."""
    return kv.repeat_interleave(q.shape[1] // kv.shape[1], dim=1)
