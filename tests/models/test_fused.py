"""Kernels, whoever made them: a model computes with them what it computes without, and what does not fit is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compiling import OF_THE_COMPILER, compile_here
from transformers import LlamaConfig
from transformers.models.llama import modeling_llama

from burnish.errors import warn_once
from burnish.models import arithmetic, compiled, liger
from burnish.models.blueprint import blueprint, built
from burnish.models.forward import Trainable
from burnish.models.fused import Kernels
from burnish.models.layers import twin
from burnish.models.lora import merge
from burnish.models.tiny import write_random

from .families import GROUPED, write
from .providers import (
    INTERPRETED,
    by_kernels,
    fits,
    fused,
    interpret,
    learned,
    needs_liger,
    parts,
    plain,
    said,
    with_adapter,
)
from .test_families import GRADIENT, LOGPROB, unlike

pytestmark = OF_THE_COMPILER
MODULES = {"liger": liger, "compiled": compiled}
FEW = ("llama", "gemma2", "phi3")
"""Of every kind one: separate and joint halves, SiLU and GELU, w and 1 + w."""


@pytest.fixture(params=[pytest.param("liger", marks=needs_liger), "compiled"])
def owner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Models are loaded with these kernels. What is chosen is the process's, and this one is not its own."""
    on_gpu = request.param == "liger" and torch.cuda.is_available() and not INTERPRETED
    if request.param == "compiled":
        compile_here(monkeypatch)
    elif INTERPRETED:
        interpret(monkeypatch)
    monkeypatch.setitem(arithmetic._chosen, "device", torch.device("cuda", 0) if on_gpu else torch.device("cpu"))
    monkeypatch.setitem(arithmetic._chosen, "kernels", request.param)
    warn_once.cache_clear()
    return request.param


@pytest.mark.parametrize("name", FEW)
def test_a_model_computes_the_same_packed_and_one_sequence_at_a_time(
    name: str, tmp_path: Path, owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    fits(write(tmp_path / name, name), caplog)


def test_another_model_in_the_process_stays_as_it_is(tmp_path: Path, owner: str) -> None:
    path = write(tmp_path / "llama", "llama")
    there, beside = dict(vars(modeling_llama)), plain(path)
    before_N = said(beside)
    said(fused(path))
    assert {name: found for name, found in vars(modeling_llama).items() if found is not there.get(name)} == {}
    for module in (beside, plain(path)):
        assert by_kernels(module) == set()
        assert torch.equal(said(module), before_N)


def test_heads_that_stand_elsewhere_are_rotated_as_before(tmp_path: Path, owner: str) -> None:
    """Tokens first, then heads: some architectures have them so in a part of their attention."""
    attention: Any = fused(write(tmp_path / "llama", "llama")).backbone.get_submodule("layers.0.self_attn")
    rotate, own = (each["apply_rotary_pos_emb"] for each in (attention.forward.__globals__, vars(modeling_llama)))
    assert rotate is not own
    q, k, angles = torch.randn(1, 3, 4, 8), torch.randn(1, 3, 2, 8), torch.randn(1, 3, 4).repeat(1, 1, 2)
    found, wanted = (each(q, k, angles.cos(), angles.sin(), unsqueeze_dim=2) for each in (rotate, own))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_weights_keep_their_names(tmp_path: Path, owner: str) -> None:
    path = write(tmp_path / "llama", "llama")
    wanted, found = plain(path).state_dict(), fused(path).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_an_adapter_learns_the_same_and_is_merged(name: str, tmp_path: Path, owner: str) -> None:
    path = write(tmp_path / name, name)
    wanted_N, gradient = learned(with_adapter(plain(path)))
    module = with_adapter(fused(path))
    found_N, found = learned(module)
    assert float((found_N - wanted_N).abs().max()) < LOGPROB
    assert float((found - gradient).norm() / gradient.norm()) < GRADIENT
    merge(module)
    torch.testing.assert_close(said(module), found_N, rtol=0, atol=1e-4)


def test_a_twin_has_parts_of_its_own(tmp_path: Path, owner: str) -> None:
    module = fused(write(tmp_path / "llama", "llama"))
    other = Trainable(twin(module.backbone), lm=module.lm)
    other.target_logprobs = module.target_logprobs
    before_N = said(module)
    assert torch.equal(said(other), before_N)
    with_adapter(other, "gate_proj")
    assert not torch.equal(said(other), before_N)
    assert torch.equal(said(module), before_N)


def test_another_process_builds_the_same(tmp_path: Path, owner: str) -> None:
    module = with_adapter(fused(write(tmp_path / "gemma2", "gemma2")))
    other = built(blueprint(module))
    assert by_kernels(other) == by_kernels(module) != set()
    other.load_state_dict(module.state_dict())
    assert torch.equal(said(other), said(module))


def test_answers_are_sampled_from_the_architectures_own_distribution(tmp_path: Path, owner: str) -> None:
    assert unlike(write(tmp_path / "llama", "llama")) < LOGPROB


def test_gelu_is_not_its_approximation(tmp_path: Path, owner: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write_random(tmp_path / "model", LlamaConfig(**GROUPED, hidden_act="gelu"))
    assert not by_kernels(module := fused(path)) & parts(module, "MLP")
    assert "fit none of its gated activations:" in caplog.text


def test_what_does_not_fit_is_said_and_left(tmp_path: Path, owner: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "gpt2", "gpt2")
    module = fused(path)
    assert by_kernels(module) == set()
    named = {"liger": "Liger's", "compiled": "compiled"}[owner]
    told = [record.message for record in caplog.records if record.name == "burnish.models.fused"]
    left = "norms, gated activations, rotations"
    assert told == [f"GPT2Model: {named} kernels fit none of its {left}: torch computes these"]
    torch.testing.assert_close(said(module), said(plain(path)), rtol=0, atol=LOGPROB)


def spoilt(monkeypatch: pytest.MonkeyPatch, owner: str, spoil: Callable[[Kernels], Kernels]) -> None:
    kernels = spoil(MODULES[owner].kernels())
    monkeypatch.setattr(MODULES[owner], "kernels", lambda: kernels)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        (
            "gated activations",
            lambda own: replace(own, products=tuple(lambda a, b, k=k: k(a, b) * 1.001 for k in own.products)),
        ),
        (
            "gated activations",
            lambda own: replace(own, products=tuple(lambda a, b, k=k: k(a, b.detach()) + 0 * b for k in own.products)),
        ),
        ("norms", lambda own: replace(own, norm=lambda x, w, eps, **how: own.norm(x, w, eps=1e-3, **how))),
        ("rotations", lambda own: replace(own, rotation=lambda q, k, cos, sin: own.rotation(q, k, cos, -sin))),
    ],
)
def test_a_kernel_that_computes_something_else_is_not_used(
    kind: str,
    spoil: Callable[[Kernels], Kernels],
    tmp_path: Path,
    owner: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write(tmp_path / "llama", "llama")
    spoilt(monkeypatch, owner, spoil)
    module = fused(path)
    assert f"kernels fit none of its {kind}: torch computes these" in caplog.text
    torch.testing.assert_close(said(module), said(plain(path)), rtol=0, atol=LOGPROB)


def test_a_kernel_that_does_not_run_is_told_with_its_reason(
    tmp_path: Path, owner: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("out of shared memory")

    spoilt(monkeypatch, owner, lambda own: replace(own, rotation=fails))
    module = fused(write(tmp_path / "llama", "llama"))
    assert by_kernels(module) == parts(module, "RMSNorm", "MLP")
    reasons = [record.message for record in caplog.records if "does not run" in record.message]
    assert len(reasons) == 1
    assert reasons[0].endswith("in torch.float32: out of shared memory")


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_bfloat16(name: str, tmp_path: Path, owner: str) -> None:
    if owner == "liger" and INTERPRETED:
        pytest.skip("Triton's interpreter computes no bfloat16")
    path = write(tmp_path / name, name)
    module = fused(path, torch.bfloat16)
    assert by_kernels(module) == parts(module, "RMSNorm", "MLP", "Attention")
    assert (said(module) - said(plain(path))).abs().mean() < 0.1
