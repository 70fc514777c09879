"""Attention by FlexAttention: its two small functions against the dense mask; on a GPU, the compiled kernel too."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from burnish.batches import Batch, Document, pack
from burnish.models import flex
from burnish.models.attention import DenseAttention, Rule, TreeAttention, near
from burnish.models.flex import FlexAttention, capped, compiled, tree_attention, trial, visible

CPU = torch.device("cpu")
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
        found = FlexAttention(forest, CPU, flex_attention)(0, q, k, v, rule)
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


@pytest.mark.parametrize(("works", "kind"), [(True, FlexAttention), (False, TreeAttention)])
def test_a_gpu_has_the_kernel_where_it_works(
    forest: Batch, works: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flex, "works", lambda device: works)
    monkeypatch.setattr(flex, "compiled", lambda: flex_attention)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor)  # there is no GPU to go to
    assert type(tree_attention(forest, torch.device("cuda"))) is kind


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_a_kernel_that_does_not_run_or_is_off_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "burnish")
    monkeypatch.setattr(flex, "compiled", lambda: flex_attention)
    assert not flex.works.__wrapped__(CPU)  # torch has no backward pass of it for CPUs
    assert "does not run on cpu" in caplog.text
    for difference, right in ((0.001, True), (0.3, False), (float("nan"), False)):
        monkeypatch.setattr(flex, "trial", lambda device, kernel, difference=difference: difference)
        assert flex.works.__wrapped__(CPU) is right
    assert "off by 0.3" in caplog.text


@pytest.mark.filterwarnings("default")  # the compiler's own are not ours to mend
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_compiled_kernel_and_its_gradients_on_a_gpu() -> None:
    assert trial(torch.device("cuda"), compiled()) < 1e-2


def test_the_trial_tells_a_wrong_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores the mask, in plain torch, and so has gradients here; a right one passes."""

    def written_out(mask_off: bool):
        def kernel(q, k, v, *, score_mod, block_mask, scale, enable_gqa, return_aux):
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

    assert trial(CPU, written_out(mask_off=False)) < 1e-4
    assert trial(CPU, written_out(mask_off=True)) > 1e-2
