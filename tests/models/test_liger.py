"""Liger's kernels: a model computes with them what it computes without, they take part wherever they fit, and where
they do not it is said. On a GPU, or by Triton's interpreter, which must be asked for before anything imports Triton:
TRITON_INTERPRET=1 in the environment. It computes no bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama import modeling_llama

from burnish.batches import pack
from burnish.errors import ConfigError, MachineError, warn_once
from burnish.models import arithmetic
from burnish.models.blueprint import blueprint, built
from burnish.models.forward import Trainable
from burnish.models.layers import twin
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, adapted, merge
from burnish.models.probe import one_at_a_time
from burnish.models.tiny import write_random

from .families import GROUPED, write
from .test_families import DOCUMENTS, GRADIENT, LOGPROB, gradients, unlike

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_liger = pytest.mark.skipif(
    not all(find_spec(name) for name in ("liger_kernel", "triton")) or not (INTERPRETED or torch.cuda.is_available()),
    reason="needs liger-kernel (pip install 'burnish[liger]'), and an NVIDIA GPU or TRITON_INTERPRET=1",
)
FITTING = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "granite", "smollm3"]
"""Families of which Liger's kernels compute every norm, gated activation and rotation."""
BATCH = pack(DOCUMENTS)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen is the process's, and this one is not its own."""
    place = torch.device("cuda", 0) if torch.cuda.is_available() and not INTERPRETED else torch.device("cpu")
    monkeypatch.setitem(arithmetic._chosen, "device", place)
    monkeypatch.setitem(arithmetic._chosen, "kernels", "torch")
    warn_once.cache_clear()


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Models are loaded with Liger's kernels. Of the interpreter two gaps are filled: it takes a float among a kernel's
    arguments as it is, where a compiled kernel has a number of 32 bits, and has no functions of a GPU's library."""
    if INTERPRETED:
        interpreter, language = import_module("triton.runtime.interpreter"), import_module("triton.language")
        taken: Callable[[Any], Any] = interpreter._implicit_cvt

        def with_floats(given: Any) -> Any:
            if type(given) is not float:
                return taken(given)
            number = interpreter.TensorHandle(torch.tensor([given]).numpy(), language.float32)
            return language.tensor(number, language.float32)

        monkeypatch.setattr(interpreter, "_implicit_cvt", with_floats)
        monkeypatch.setattr("liger_kernel.ops.rms_norm.rsqrt", lambda x: language.rsqrt(x))
        monkeypatch.setattr("liger_kernel.ops.geglu.tanh", lambda x: 2 * language.sigmoid(2 * x) - 1)
    monkeypatch.setitem(arithmetic._chosen, "kernels", "liger")
    return import_module("liger_kernel.transformers.functional")


def plain(path: Path) -> Trainable:
    """Loaded without the option."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(arithmetic._chosen, "kernels", "torch")
        return load_trainable(path, dtype=torch.float32)


def fused(path: Path) -> Trainable:
    return load_trainable(path, dtype=torch.float32)


def learned(module: Trainable) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the pack's targets and the gradient of their sum."""
    logprobs_N = module(BATCH).logprobs_N
    logprobs_N.sum().backward()
    return logprobs_N.detach(), gradients(module.backbone)


def said(module: Trainable) -> Tensor:
    with torch.no_grad():
        return module(BATCH).logprobs_N


def by_liger(module: nn.Module) -> set[str]:
    return {name for name, part in module.named_modules() if "forward" in vars(part)}


def parts(module: nn.Module, *endings: str) -> set[str]:
    """Those whose class is called so."""
    return {name for name, part in module.named_modules() if type(part).__name__.endswith(endings)}


@needs_liger
@pytest.mark.parametrize("name", FITTING)
def test_a_model_computes_the_same_packed_and_one_sequence_at_a_time(
    name: str, tmp_path: Path, kernels: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / name, name)
    wanted_N, gradient = learned(plain(path))
    module = fused(path)
    assert by_liger(module) == parts(module, "RMSNorm", "MLP", "Attention")
    assert caplog.records == []
    found_N, found = learned(module)
    assert float((found_N - wanted_N).abs().max()) < LOGPROB
    assert float((found - gradient).norm() / gradient.norm()) < GRADIENT
    with one_at_a_time(module):
        assert float((said(module) - found_N).abs().max()) < LOGPROB


@needs_liger
@pytest.mark.parametrize(
    ("name", "kinds", "left"),
    [
        ("gpt2", (), "norms, gated activations, rotations"),
        ("bloom", (), "norms, gated activations, rotations"),
        ("cohere", ("MLP",), "norms, rotations"),
        ("gpt_oss", ("RMSNorm",), "gated activations, rotations"),
        ("deepseek_v3", ("RMSNorm", "V3MLP"), "rotations"),
        ("gpt_neox", ("Attention",), "norms, gated activations"),
    ],
)
def test_what_does_not_fit_is_said_and_left(
    name: str, kinds: tuple[str, ...], left: str, tmp_path: Path, kernels: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Other norms, other gates, rotation of neighbours in place of halves, or none."""
    path = write(tmp_path / name, name)
    module = fused(path)
    backbone = type(module.backbone).__name__
    assert by_liger(module) == (parts(module, *kinds) if kinds else set())
    told = [record.message for record in caplog.records if record.name == "burnish.models.fused"]
    assert told == [f"{backbone}: Liger's kernels fit none of its {left}: torch computes these"]
    torch.testing.assert_close(said(module), said(plain(path)), rtol=0, atol=LOGPROB)


@needs_liger
def test_another_model_in_the_process_stays_as_it_is(tmp_path: Path, kernels: Any) -> None:
    path = write(tmp_path / "llama", "llama")
    there, beside = dict(vars(modeling_llama)), plain(path)
    before_N = said(beside)
    said(fused(path))
    assert {name: found for name, found in vars(modeling_llama).items() if found is not there.get(name)} == {}
    for module in (beside, plain(path)):
        assert by_liger(module) == set()
        assert torch.equal(said(module), before_N)


@needs_liger
def test_heads_that_stand_elsewhere_are_rotated_as_before(tmp_path: Path, kernels: Any) -> None:
    """Tokens first, then heads: some architectures have them so in a part of their attention."""
    attention: Any = fused(write(tmp_path / "llama", "llama")).backbone.get_submodule("layers.0.self_attn")
    rotate, own = (each["apply_rotary_pos_emb"] for each in (attention.forward.__globals__, vars(modeling_llama)))
    assert rotate is not own
    q, k, angles = torch.randn(1, 3, 4, 8), torch.randn(1, 3, 2, 8), torch.randn(1, 3, 4).repeat(1, 1, 2)
    found, wanted = (each(q, k, angles.cos(), angles.sin(), unsqueeze_dim=2) for each in (rotate, own))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@needs_liger
def test_weights_keep_their_names(tmp_path: Path, kernels: Any) -> None:
    path = write(tmp_path / "qwen3", "qwen3")
    wanted, found = plain(path).state_dict(), fused(path).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def with_adapter(module: Trainable, *targets: str) -> Trainable:
    """One that says something."""
    adapt(module, LoraConfig(rank=2, alpha=4, targets=targets or "all-linear"), seed=0)
    for number, layer in enumerate(adapted(module.backbone).values()):
        noise = torch.randn(layer.lora_B.shape, generator=torch.Generator().manual_seed(number))
        layer.lora_B.data.copy_(0.05 * noise)
    return module


@needs_liger
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_an_adapter_learns_the_same_and_is_merged(name: str, tmp_path: Path, kernels: Any) -> None:
    path = write(tmp_path / name, name)
    wanted_N, gradient = learned(with_adapter(plain(path)))
    module = with_adapter(fused(path))
    found_N, found = learned(module)
    assert float((found_N - wanted_N).abs().max()) < LOGPROB
    assert float((found - gradient).norm() / gradient.norm()) < GRADIENT
    merge(module)
    torch.testing.assert_close(said(module), found_N, rtol=0, atol=1e-4)


@needs_liger
def test_a_twin_has_parts_of_its_own(tmp_path: Path, kernels: Any) -> None:
    module = fused(write(tmp_path / "llama", "llama"))
    before_N = said(module)
    other = Trainable(twin(module.backbone), lm=module.lm)
    assert torch.equal(said(other), before_N)
    with_adapter(other, "gate_proj")
    assert not torch.equal(said(other), before_N)
    assert torch.equal(said(module), before_N)


@needs_liger
def test_another_process_builds_the_same(tmp_path: Path, kernels: Any) -> None:
    module = with_adapter(fused(write(tmp_path / "gemma2", "gemma2")))
    other = built(blueprint(module))
    assert by_liger(other) == by_liger(module) != set()
    other.load_state_dict(module.state_dict())
    assert torch.equal(said(other), said(module))


@needs_liger
def test_answers_are_sampled_from_the_architectures_own_distribution(tmp_path: Path, kernels: Any) -> None:
    assert unlike(write(tmp_path / "llama", "llama")) < LOGPROB


@needs_liger
def test_gelu_is_not_its_approximation(tmp_path: Path, kernels: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = write_random(tmp_path / "model", LlamaConfig(**GROUPED, hidden_act="gelu"))
    assert not by_liger(module := fused(path)) & parts(module, "MLP")
    assert "fit none of its gated activations:" in caplog.text


@needs_liger
@pytest.mark.parametrize(
    ("kernel", "broken", "kind"),
    [
        ("liger_swiglu", lambda own: lambda a, b: own(a, b) * 1.001, "gated activations"),
        ("liger_swiglu", lambda own: lambda a, b: own(a, b.detach()) + 0 * b, "gated activations"),
        ("liger_rms_norm", lambda own: lambda x, w, eps, **how: own(x, w, eps=1e-3, **how), "norms"),
        ("liger_rope", lambda own: lambda q, k, cos, sin: own(q, k, cos, -sin), "rotations"),
    ],
)
def test_a_kernel_that_computes_something_else_is_not_used(
    kernel: str,
    broken: Callable[[Any], Any],
    kind: str,
    tmp_path: Path,
    kernels: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write(tmp_path / "llama", "llama")
    monkeypatch.setattr(kernels, kernel, broken(getattr(kernels, kernel)))
    module = fused(path)
    assert f"LlamaModel: Liger's kernels fit none of its {kind}: torch computes these" in caplog.text
    torch.testing.assert_close(said(module), said(plain(path)), rtol=0, atol=LOGPROB)


@needs_liger
def test_a_kernel_that_does_not_run_is_told_with_its_reason(
    tmp_path: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("out of shared memory")

    monkeypatch.setattr(kernels, "liger_rope", fails)
    module = fused(write(tmp_path / "llama", "llama"))
    assert by_liger(module) == parts(module, "RMSNorm", "MLP")
    reasons = [record.message for record in caplog.records if "does not run" in record.message]
    assert len(reasons) == 1
    assert reasons[0].endswith("in torch.float32: out of shared memory")


@needs_liger
@pytest.mark.skipif(INTERPRETED, reason="Triton's interpreter computes no bfloat16")
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_bfloat16(name: str, tmp_path: Path, kernels: Any) -> None:
    path = write(tmp_path / name, name)
    module = load_trainable(path, dtype=torch.bfloat16)
    assert by_liger(module) == parts(module, "RMSNorm", "MLP", "Attention")
    assert (said(module) - said(plain(path))).abs().mean() < 0.1


def test_the_processor_has_no_kernels_of_ligers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match="kernels: liger, whose kernels run on GPUs") as raised:
        arithmetic.choose("cpu", "liger")
    assert raised.value.problems[0].mend == "Set kernels to torch."
    arithmetic.choose("cpu", "torch")
    assert arithmetic.chosen_kernels() == "torch"


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(arithmetic, "find_spec", lambda name: None if name == "triton" else object())
    with pytest.raises(
        MachineError, match="kernels: liger, which needs the packages liger-kernel and triton"
    ) as raised:
        arithmetic.choose("cpu", "liger")
    assert raised.value.problems[0].mend == "Try: pip install 'burnish[liger]', or set kernels to torch."
    monkeypatch.setattr(arithmetic, "find_spec", lambda name: object())
    arithmetic.choose("cpu", "liger")
    assert arithmetic.chosen_kernels() == "liger"
