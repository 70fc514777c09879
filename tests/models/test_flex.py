"""Attention by FlexAttention: its two small functions against the dense mask; on a GPU, the compiled kernel too."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

from burnish.batches import Batch, Document, pack
from burnish.models import flex
from burnish.models.attention import DenseAttention, Rule, TreeAttention, near
from burnish.models.flex import (
    FlexAttention,
    Kernel,
    Kind,
    capped,
    compiled,
    kernel_of,
    tree_attention,
    trial,
    visible,
    works,
)

CPU = torch.device("cpu")
WIDE = Kind(device=CPU, dtype=torch.float32, heads=4, shared=2, width=16, value_width=16)
SINKS = torch.tensor([-1.0, 0.0, 0.5, 2.0])
RULES = [Rule(scale=0.2), Rule(scale=0.2, softcap=1.5, window=30, sinks_H=SINKS)]


@pytest.fixture
def forest() -> Batch:
    """Longer than a block of 128, and not a multiple of it."""
    branched = Document(row="branched", ids=range(40), branches=[range(90), range(30)])
    return pack([branched, Document(row="plain", ids=range(21))])


@pytest.mark.parametrize("window", [None, 9, 500])
def test_a_token_sees_what_the_dense_mask_shows(forest: Batch, window: int | None) -> None:
    seen = visible(forest.segment_T, forest.parent_S[forest.segment_T], forest.positions_T, window)
    token_T = torch.arange(forest.tokens)
    found = seen(torch.tensor(0), torch.tensor(0), token_T[:, None], token_T[None, :])
    assert torch.equal(found, forest.visible_TT() & near(forest.positions_T, window))


def test_blocks_in_which_nothing_is_seen_are_skipped() -> None:
    """Two documents of 256 tokens are two blocks each; of 16 pairs of blocks the 6 that have something to see are left,
    2 of which are seen whole."""
    batch = pack([Document(row=name, ids=range(256)) for name in "ab"])
    seen = visible(batch.segment_T, batch.parent_S[batch.segment_T], batch.positions_T, None)
    mask = create_block_mask(seen, None, None, 512, 512, device="cpu")
    assert mask.full_kv_num_blocks is not None
    assert int(mask.kv_num_blocks.sum()) == 4
    assert int(mask.full_kv_num_blocks.sum()) == 2


def test_a_cap_by_hand() -> None:
    """2 tanh(3 / 2) = 1.8103."""
    nothing = torch.tensor(0)
    assert float(capped(2.0)(torch.tensor(3.0), nothing, nothing, nothing, nothing)) == pytest.approx(1.8103, abs=1e-4)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("rule", RULES)
def test_the_kernel_written_out_gives_what_dense_attention_gives(forest: Batch, rule: Rule) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, forest.tokens, 16, generator=generator) for heads in (4, 2, 2))
    with torch.no_grad():
        found = FlexAttention(forest, CPU, lambda _: flex_attention)(0, q, k, v, rule)
        wanted = DenseAttention(forest)(0, q, k, v, rule)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_dropped_weights_go_document_by_document(forest: Batch) -> None:
    q, k, v = (torch.ones(1, 2, forest.tokens, 16) for _ in range(3))
    rule = Rule(scale=0.2, dropout=0.5)
    torch.manual_seed(1)
    found = FlexAttention(forest, CPU, partial(pytest.fail, "not asked"))(0, q, k, v, rule)
    torch.manual_seed(1)
    assert torch.equal(found, TreeAttention(forest)(0, q, k, v, rule))


def test_a_cpu_has_attention_of_its_own(forest: Batch) -> None:
    assert type(tree_attention(forest, CPU)) is TreeAttention


def written_out(*, mask_off: bool = False) -> Kernel:
    """The kernel in plain torch, which has gradients on a CPU."""

    def kernel(q, k, v, *, score_mod, block_mask, scale, enable_gqa, return_aux):
        assert enable_gqa == (q.shape[1] != k.shape[1])
        k, v = (each.repeat_interleave(q.shape[1] // each.shape[1], dim=1) for each in (k, v))
        scores = (q @ k.transpose(-1, -2)) * scale
        nothing, token_T = torch.tensor(0), torch.arange(q.shape[2])
        if score_mod:
            scores = score_mod(scores, nothing, nothing, nothing, nothing)
        seen = block_mask.mask_mod(nothing, nothing, token_T[:, None], token_T[None, :])
        if mask_off:
            seen = seen | (token_T[:, None] >= token_T[None, :])
        scores = scores.masked_fill(~seen, float("-inf"))
        return scores.softmax(-1) @ v, type("Aux", (), {"lse": scores.logsumexp(-1)})

    return kernel


def test_a_gpu_has_the_kernel_where_it_works(forest: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor)  # there is no GPU to go to
    assert type(tree_attention(forest, torch.device("cuda"))) is FlexAttention


def test_each_kind_of_layer_is_tried_once_and_has_the_kernel_or_not(
    forest: Batch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As Triton does, the compiler refuses heads narrower than 16: those of the tiny model of tests are 8 wide. As on
    some GPUs, it has no registers for the widest in fp32. Neither ends a run, and other layers keep the kernel."""
    caplog.set_level(logging.WARNING, "burnish")
    works.cache_clear()
    right, calls = written_out(), []

    def compiler(q, k, v, **more):
        calls.append((q.shape[-1], v.shape[-1], q.requires_grad))
        if min(q.shape[-1], v.shape[-1]) < 16:
            raise RuntimeError("tl.dot: all of M, N, K must be 16 or more")
        if q.shape[-1] > 64 and q.dtype is torch.float32:
            raise RuntimeError("out of resource: shared memory")
        return right(q, k, v, **more)

    monkeypatch.setattr(flex, "compiled", lambda: compiler)

    def asked(width: int, value_width: int) -> list[tuple[int, int, bool]]:
        """What the kernel is asked for by a layer with such heads; its result is right in any case."""
        calls.clear()
        q, k = torch.ones(1, 4, forest.tokens, width), torch.ones(1, 2, forest.tokens, width)
        v = torch.randn(1, 2, forest.tokens, value_width, generator=torch.Generator().manual_seed(1))
        found = FlexAttention(forest, CPU, kernel_of)(0, q, k, v, RULES[0])
        torch.testing.assert_close(found, DenseAttention(forest)(0, q, k, v, RULES[0]), atol=1e-5, rtol=1e-4)
        return [*calls]

    assert asked(16, 16) == [(16, 16, True)] * 3 + [(16, 16, False)], "three rules are tried, then it is used"
    assert asked(16, 16) == [(16, 16, False)], "it is known"
    for widths in ((8, 8), (16, 8), (128, 128)):
        assert asked(*widths) == [(*widths, True)], "the first rule already fails"
        assert asked(*widths) == []
    assert asked(32, 16) == [(32, 16, True)] * 3 + [(32, 16, False)]
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 3
    assert "does not run on cpu for 4:2 heads of width 8 in float32, so attention is slower: tl.dot" in warned[0]
    assert "width 16 and 8 in float32" in warned[1]
    assert "shared memory" in warned[2]


def test_a_kernel_may_be_met_first_within_a_checkpoint(
    forest: Batch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Which counts what a layer saves, the first time and when it is computed again."""
    works.cache_clear()
    right = written_out()
    monkeypatch.setattr(flex, "compiled", lambda: right)
    q, k, v = (
        torch.randn(1, heads, forest.tokens, 16, generator=torch.Generator().manual_seed(1)) for heads in (4, 2, 2)
    )
    gradients = []
    for attend in (FlexAttention(forest, CPU, kernel_of), DenseAttention(forest)):
        asked = q.clone().requires_grad_()
        checkpoint(attend, 0, asked, k, v, RULES[0], use_reentrant=False).square().sum().backward()
        gradients.append(asked.grad)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)
    assert not caplog.records


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_a_kernel_that_does_not_run_or_is_off_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "burnish")
    monkeypatch.setattr(flex, "compiled", lambda: flex_attention)
    assert not works.__wrapped__(WIDE)  # torch has no backward pass of it for CPUs
    assert "does not run on cpu" in caplog.text
    half = replace(WIDE, dtype=torch.bfloat16)
    for kind, difference, right in (
        (WIDE, 0.001, True),
        (WIDE, 0.02, False),
        (half, 0.02, True),
        (half, 0.3, False),
        (half, float("nan"), False),
    ):
        monkeypatch.setattr(flex, "trial", lambda kind, kernel, difference=difference: difference)
        assert works.__wrapped__(kind) is right
    assert "off by 0.3" in caplog.text


@pytest.mark.filterwarnings("default")  # the compiler's own are not ours to mend
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_compiled_kernel_and_its_gradients_on_a_gpu() -> None:
    wide = replace(WIDE, device=torch.device("cuda"), width=64, value_width=64)
    assert trial(wide, compiled()) < 1e-2
    assert trial(replace(wide, dtype=torch.bfloat16), compiled()) < 5e-2


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 2.5e-2)])
def test_the_trial_tells_a_wrong_kernel(dtype: torch.dtype, near: float) -> None:
    """One that ignores the mask; a right one passes. Half of what is allowed in bfloat16 is enough for one whose every
    operation is rounded."""
    kind = Kind(device=CPU, dtype=dtype, heads=9, shared=3, width=64, value_width=32)
    assert trial(kind, written_out()) < near
    assert trial(kind, written_out(mask_off=True)) > 0.1
    with torch.inference_mode():
        assert trial(kind, written_out()) < near, "whoever asks first may be sampling"
