"""Causal attention of a packed forest by blocks of rows, for CPUs. Knows which keys a row sees; knows no model.

torch's fused kernel works through every pair of tokens that a mask has, and a tree's mask hides most of them: with four
answers to a prompt, two thirds. Here a block of rows meets the keys that one of its rows sees, and no other, in two
plain products of matrices; the backward pass computes the block's weights again instead of keeping them.

Scores and what becomes of them are fp32 at least. A processor with tiles for products of bfloat16 matrices (AMX) makes
those so fast that all else decides. There, in bfloat16, blocks are larger, torch's fused kernel goes forward (its
scores are fp32 too) where keys and values have one width, and the products of the backward pass that read weights, or
gradients of scores, read them rounded, as fused kernels do.

Suffixes: H query heads, K key-value heads, G query heads of each, T tokens of the pack, R rows and L keys of a block,
E head width (of values it may be another).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from burnish.batches import Batch
from burnish.models.processor import has_tiles

ROWS, TILED_ROWS = 128, 256
"""Rows of a block at most, without tiles and with them: fewer waste less above the diagonal, more make the products
larger."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one segment, and the spans of the pack that they see; the last span ends with the rows themselves."""

    rows: slice
    keys: tuple[slice, ...]
    mask: Tensor | None = field(default=None, compare=False)
    """What torch's fused kernel is to add to scores, [R, L]; None: causal, with R = L, or not asked."""


def tiled(dtype: torch.dtype) -> bool:
    """Whether numbers of this type go by tiles here."""
    return dtype is torch.bfloat16 and has_tiles()


def blocks(batch: Batch, dtype: torch.dtype) -> list[Block]:
    """The blocks of a forest, document by document: no block has rows or keys of two. `dtype`: of the queries."""
    tiles = tiled(dtype)
    counts = torch.bincount(batch.segment_T, minlength=batch.parent_S.numel()).cumsum(0).tolist()
    spans = [slice(start, end) for start, end in pairwise([0, *counts])]
    found: list[Block] = []
    for span, parent in zip(spans, batch.parent_S.tolist(), strict=True):
        for rows in _cut(span, TILED_ROWS if tiles else ROWS):
            keys = _joined(spans[parent] if parent >= 0 else None, slice(span.start, rows.stop))
            found.append(Block(rows, keys, _mask(rows, keys, dtype) if tiles else None))
    return found


def _cut(span: slice, most: int) -> Iterator[slice]:
    for start in range(span.start, span.stop, most):
        yield slice(start, min(start + most, span.stop))


def _mask(rows: slice, keys: tuple[slice, ...], dtype: torch.dtype) -> Tensor | None:
    count, length = rows.stop - rows.start, sum(span.stop - span.start for span in keys)
    return None if count == length else F.pad(_later(count, dtype), (length - count, 0))


def _joined(prompt: slice | None, own: slice) -> tuple[slice, ...]:
    if prompt is None:
        return (own,)
    return (slice(prompt.start, own.stop),) if prompt.stop == own.start else (prompt, own)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, plan: list[Block]) -> Tensor:
    """softmax(scale · q kᵀ) v over what each row sees.

    Args: q [1,H,T,E], k and v [1,K,T,E]. Returns: [1,T,H,E] with the width of v, in the type of q.
    """
    return _Blocks.apply(q, k, v, scale, plan)


class _Blocks(torch.autograd.Function):
    """With P = softmax(S), S = scale · q kᵀ: dv = Pᵀ do, dS = P ∘ (do vᵀ - rowsum(P ∘ do vᵀ)), dq = scale · dS k,
    dk = scale · dSᵀ q."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, plan: list[Block]) -> Tensor:
        out_THE = q.new_empty(q.shape[2], q.shape[1], v.shape[-1])
        fused = q.dtype == k.dtype == v.dtype and tiled(q.dtype) and q.shape[-1] == v.shape[-1]
        for block in plan:
            out_THE[block.rows] = (_fused if fused else _plain)(q, k, v, scale, block)
        ctx.save_for_backward(q, k, v)
        ctx.scale, ctx.plan = scale, plan
        return out_THE[None]

    @staticmethod
    @once_differentiable  # which makes ctx positional
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (gradient,) = gradients
        q, k, v = ctx.saved_tensors
        dq = torch.empty_like(q.transpose(1, 2)).transpose(1, 2)
        wide = torch.promote_types(q.dtype, torch.float32)
        tiles = tiled(q.dtype)
        dk, dv = (torch.zeros_like(each[0], dtype=wide, memory_format=torch.contiguous_format) for each in (k, v))
        do = gradient.transpose(1, 2)
        for block in ctx.plan:
            given = _rows(q, k, block), _rows(do, k, block), _seen(k, block), _seen(v, block)
            q_KRE, do_KRE, k_KLE, v_KLE = (each.to(wide).contiguous() for each in given)
            q_KRE = q_KRE * ctx.scale
            weights_KRL = _weights(q_KRE, k_KLE, block)
            dweights_KRL = torch.bmm(do_KRE, v_KLE.transpose(1, 2))
            dscores_KRL = torch.ops.aten._softmax_backward_data(dweights_KRL, weights_KRL, -1, wide)
            if tiles:
                q_KRE, do_KRE, k_KLE, _ = given
                weights_KRL, dscores_KRL = weights_KRL.to(q.dtype), dscores_KRL.to(q.dtype)
            dq_KRE = torch.bmm(dscores_KRL, k_KLE).mul_(ctx.scale)
            dq[0, :, block.rows] = dq_KRE.view(q.shape[1], -1, q.shape[-1])
            _add(dk, torch.bmm(dscores_KRL.transpose(1, 2), q_KRE), block)
            _add(dv, torch.bmm(weights_KRL.transpose(1, 2), do_KRE), block)
        if tiles:
            dk.mul_(ctx.scale)  # its queries were not scaled: most scales have no exact bfloat16
        return dq, dk[None].to(k.dtype), dv[None].to(v.dtype), None, None


def _plain(q: Tensor, k: Tensor, v: Tensor, scale: float, block: Block) -> Tensor:
    """What the block's rows read, computed in fp32 at least: [R, H, E]."""
    wide = torch.promote_types(q.dtype, torch.float32)
    q_KRE, k_KLE, v_KLE = (
        each.to(wide).contiguous() for each in (_rows(q, k, block), _seen(k, block), _seen(v, block))
    )
    out_KRE = torch.bmm(_weights(q_KRE * scale, k_KLE, block), v_KLE)
    return out_KRE.view(q.shape[1], -1, v.shape[-1]).transpose(0, 1)


def _fused(q: Tensor, k: Tensor, v: Tensor, scale: float, block: Block) -> Tensor:
    """The same by torch's fused kernel."""
    keys, values, causal = _seen(k, block)[None], _seen(v, block)[None], block.mask is None
    attended = F.scaled_dot_product_attention(
        q[:, :, block.rows], keys, values, block.mask, is_causal=causal, scale=scale, enable_gqa=True
    )
    return attended[0].transpose(0, 1)


def _rows(q: Tensor, k: Tensor, block: Block) -> Tensor:
    """The block's rows, those of all query heads of a key head one after another: [K, G R, E]."""
    return q[0, :, block.rows].reshape(k.shape[1], -1, q.shape[-1])


def _seen(keys: Tensor, block: Block) -> Tensor:
    """Keys or values that the block sees: [K, L, E]."""
    parts = [keys[0, :, span] for span in block.keys]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _weights(q_KRE: Tensor, k_KLE: Tensor, block: Block) -> Tensor:
    """Softmax over the keys; above the diagonal of the block's own rows stands 0."""
    scores_KRL = torch.bmm(q_KRE, k_KLE.transpose(1, 2))
    heads, rows, length = scores_KRL.shape[0], block.rows.stop - block.rows.start, scores_KRL.shape[-1]
    scores_KRL.view(heads, -1, rows, length)[..., length - rows :].add_(_later(rows, scores_KRL.dtype))
    return scores_KRL.softmax(-1)


@cache
def _later(rows: int, dtype: torch.dtype) -> Tensor:
    """Minus infinity where the column comes after the row, else 0. Shape R, R."""
    return torch.full((rows, rows), float("-inf"), dtype=dtype).triu_(1)


def _add(total: Tensor, part: Tensor, block: Block) -> None:
    """Give each span of the block's keys its share of a gradient."""
    lengths = [span.stop - span.start for span in block.keys]
    for span, share in zip(block.keys, part.split(lengths, dim=1), strict=True):
        total[:, span] += share
