"""Liger's kernels: they take part in the families that they fit, and what does not fit is said. What holds for any
kernels is in `tests/models/test_fused.py`. On a GPU, or by Triton's interpreter, which must be asked for before
anything imports Triton: TRITON_INTERPRET=1 in the environment. It computes no bfloat16.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.errors import ConfigError, MachineError, warn_once
from burnish.models import arithmetic

from .families import write
from .providers import INTERPRETED, by_kernels, fits, fused, interpret, needs_liger, parts, plain, said
from .test_families import LOGPROB

FITTING = ["mistral", "qwen2", "qwen3", "gemma3_text", "olmo2", "granite", "smollm3"]
"""Families of which Liger's kernels compute every norm, gated activation and rotation; more are in test_fused.py."""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen is the process's, and this one is not its own."""
    place = torch.device("cuda", 0) if torch.cuda.is_available() and not INTERPRETED else torch.device("cpu")
    monkeypatch.setitem(arithmetic._chosen, "device", place)
    monkeypatch.setitem(arithmetic._chosen, "kernels", "torch")
    warn_once.cache_clear()


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are loaded with Liger's kernels."""
    if INTERPRETED:
        interpret(monkeypatch)
    monkeypatch.setitem(arithmetic._chosen, "kernels", "liger")


@needs_liger
@pytest.mark.parametrize("name", FITTING)
def test_a_model_computes_the_same_packed_and_one_sequence_at_a_time(
    name: str, tmp_path: Path, kernels: None, caplog: pytest.LogCaptureFixture
) -> None:
    fits(write(tmp_path / name, name), caplog)


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
    name: str, kinds: tuple[str, ...], left: str, tmp_path: Path, kernels: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Other norms, other gates, rotation of neighbours in place of halves, or none."""
    path = write(tmp_path / name, name)
    module = fused(path)
    backbone = type(module.backbone).__name__
    assert by_kernels(module) == (parts(module, *kinds) if kinds else set())
    told = [record.message for record in caplog.records if record.name == "burnish.models.fused"]
    assert told == [f"{backbone}: Liger's kernels fit none of its {left}: torch computes these"]
    torch.testing.assert_close(said(module), said(plain(path)), rtol=0, atol=LOGPROB)


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
