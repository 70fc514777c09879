"""Whoever made kernels, for tests of what holds for all of them: whether they run here, and models with and without."""

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

from burnish.batches import pack
from burnish.models import arithmetic
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, adapted
from burnish.models.probe import one_at_a_time

from .test_families import DOCUMENTS, GRADIENT, LOGPROB, gradients

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LIGER_RUNS = all(find_spec(name) for name in ("liger_kernel", "triton")) and (INTERPRETED or torch.cuda.is_available())
needs_liger = pytest.mark.skipif(
    not LIGER_RUNS,
    reason="needs liger-kernel (pip install 'burnish[liger]'), and an NVIDIA GPU or TRITON_INTERPRET=1",
)
BATCH = pack(DOCUMENTS)


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill two gaps of Triton's interpreter: it takes a float among a kernel's arguments as it is, where a compiled
    kernel has a number of 32 bits, and has no functions of a GPU's library."""
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


def plain(path: Path, dtype: torch.dtype = torch.float32) -> Trainable:
    """Loaded without the option."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(arithmetic._chosen, "kernels", "torch")
        return load_trainable(path, dtype=dtype)


def fused(path: Path, dtype: torch.dtype = torch.float32) -> Trainable:
    return load_trainable(path, dtype=dtype)


def learned(module: Trainable) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the pack's targets and the gradient of their sum."""
    logprobs_N = module(BATCH).logprobs_N
    logprobs_N.sum().backward()
    return logprobs_N.detach(), gradients(module.backbone)


def said(module: Trainable) -> Tensor:
    with torch.no_grad():
        return module(BATCH).logprobs_N


def by_kernels(module: nn.Module) -> set[str]:
    return {name for name, part in module.named_modules() if "forward" in vars(part)}


def parts(module: nn.Module, *endings: str) -> set[str]:
    """Those whose class is called so."""
    return {name for name, part in module.named_modules() if type(part).__name__.endswith(endings)}


def with_adapter(module: Trainable, *targets: str) -> Trainable:
    """One that says something."""
    adapt(module, LoraConfig(rank=2, alpha=4, targets=targets or "all-linear"), seed=0)
    for number, layer in enumerate(adapted(module.backbone).values()):
        noise = torch.randn(layer.lora_B.shape, generator=torch.Generator().manual_seed(number))
        layer.lora_B.data.copy_(0.05 * noise)
    return module


def fits(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kernels compute every norm, gated activation and rotation of a model, packed and one sequence at a time, and
    nothing is said of it."""
    wanted_N, gradient = learned(plain(path))
    module = fused(path)
    assert by_kernels(module) == parts(module, "RMSNorm", "MLP", "Attention")
    assert [each for each in caplog.records if each.name.startswith("burnish")] == []
    found_N, found = learned(module)
    assert float((found_N - wanted_N).abs().max()) < LOGPROB
    assert float((found - gradient).norm() / gradient.norm()) < GRADIENT
    with one_at_a_time(module):
        assert float((said(module) - found_N).abs().max()) < LOGPROB
