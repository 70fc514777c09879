"""Attention by blocks of rows is the dense one: what it gives, its gradients, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.models import blocks
from burnish.models.blocks import Block, attend

HEADS, KEY_HEADS, WIDTH = 4, 2, 8
DOCUMENTS = [
    Document(row="long", ids=[1] * 11, weights=[1.0] * 11),
    Document(row="tree", ids=[1] * 6, branches=[[1] * 5, [1], [1] * 7]),
    Document(row="short", ids=[1], branches=[[1]]),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 4)
    monkeypatch.setattr(blocks, "TILED_ROWS", 6)
    monkeypatch.setattr(blocks, "has_tiles", lambda: False)


def projected(batch: Batch, value_width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(11)
    sizes = [(HEADS, WIDTH), (KEY_HEADS, WIDTH), (KEY_HEADS, value_width)]
    return [torch.randn(1, batch.tokens, *size, dtype=dtype).transpose(1, 2).requires_grad_() for size in sizes]


def dense(batch: Batch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Every score of the pack, what a row may not see crossed out."""
    k, v = (each.repeat_interleave(HEADS // KEY_HEADS, dim=1) for each in (k, v))
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = (q.to(wide) @ k.to(wide).transpose(-1, -2) * scale).masked_fill(~batch.visible_TT(), float("-inf"))
    return (scores.softmax(-1) @ v.to(wide)).to(q.dtype).transpose(1, 2)


def test_blocks_cover_each_row_once_and_name_what_it_sees() -> None:
    batch = pack(DOCUMENTS)
    plan = blocks.blocks(batch, torch.float32)
    assert [block.rows for block in plan[:3]] == [slice(0, 4), slice(4, 8), slice(8, 11)]
    assert plan[2] == Block(slice(8, 11), (slice(0, 11),))
    assert plan[5] == Block(slice(17, 21), (slice(11, 21),)), "the first answer lies beside its prompt: one span"
    assert plan[7] == Block(slice(22, 23), (slice(11, 17), slice(22, 23))), "the second does not"
    seen_TT = torch.zeros(batch.tokens, batch.tokens, dtype=torch.bool)
    for block in plan:
        for span in block.keys:
            seen_TT[block.rows, span] = True
    causal_TT = torch.ones_like(seen_TT).tril()
    assert torch.equal(seen_TT & causal_TT, batch.visible_TT())


@pytest.mark.parametrize("value_width", [WIDTH, 5])
def test_it_is_dense_attention_and_its_gradient(value_width: int) -> None:
    batch = pack(DOCUMENTS)
    parts = projected(batch, value_width)
    ours, theirs = attend(*parts, 0.3, blocks.blocks(batch, torch.float32)), dense(batch, *parts, 0.3)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    upstream = torch.randn_like(ours)
    for mine, wanted in zip(
        torch.autograd.grad(ours, parts, upstream), torch.autograd.grad(theirs, parts, upstream), strict=True
    ):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=5e-6)


def test_bfloat16_is_computed_in_fp32() -> None:
    """The same numbers given as fp32 come out the same, but for the last rounding."""
    batch = pack(DOCUMENTS)
    parts = projected(batch, WIDTH, torch.bfloat16)
    plan = blocks.blocks(batch, torch.bfloat16)
    assert torch.equal(attend(*parts, 0.3, plan), attend(*(part.float() for part in parts), 0.3, plan).bfloat16())


def test_the_derivative_is_that_of_finite_differences() -> None:
    batch = pack([Document(row="tree", ids=[1] * 3, branches=[[1] * 2, [1] * 5])])
    parts = [part.detach().requires_grad_() for part in projected(batch, 3, torch.float64)]
    plan = blocks.blocks(batch, torch.float64)
    assert torch.autograd.gradcheck(lambda *qkv: attend(*qkv, 0.3, plan), parts)


@pytest.mark.parametrize("value_width", [WIDTH, 5])
def test_with_tiles_weights_are_rounded_and_scores_are_not(value_width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of 100 and more, whose rounding to bfloat16 would move them by 0.25 and weights by a quarter: what is left
    is a rounding of bfloat16 in each number, 2⁻⁸, or of a few on the way."""
    monkeypatch.setattr(blocks, "has_tiles", lambda: True)
    batch = pack(DOCUMENTS)
    parts = projected(batch, value_width, torch.bfloat16)
    plan = blocks.blocks(batch, torch.bfloat16)
    assert max(block.rows.stop - block.rows.start for block in plan) == 6
    wide = [part.detach().double().requires_grad_() for part in parts]
    ours, theirs = attend(*parts, 10.0, plan), dense(batch, *wide, 10.0)
    upstream = torch.randn_like(ours)
    mine = [ours, *torch.autograd.grad(ours, parts, upstream)]
    wanted = [theirs, *torch.autograd.grad(theirs, wide, upstream.double())]
    assert [each.dtype for each in mine] == [torch.bfloat16] * 4
    apart = [float(((a.double() - b).norm() / b.norm()).detach()) for a, b in zip(mine, wanted, strict=True)]
    assert max(apart) < 2**-7, apart


def test_with_tiles_numbers_of_other_types_go_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "has_tiles", lambda: True)
    assert not blocks.tiled(torch.float32)
    assert not blocks.tiled(torch.float64)
    assert blocks.tiled(torch.bfloat16)
