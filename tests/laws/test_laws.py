"""The list of laws: each holds on small models of several architectures, and each fails when its bug is put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bugs import BUGS, OF_WINDOWS
from transformers import (
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    StableLmConfig,
)

from burnish.models.forward import Layout
from burnish.models.tiny import tiny_tokenizer, write_random
from burnish.proof.laws import LAWS
from burnish.proof.material import read_rows
from burnish.proof.methods import METHODS
from burnish.proof.step import Step
from burnish.proof.subject import Subject

VOCABULARY: dict[str, Any] = {"vocab_size": tiny_tokenizer().vocab_size, "bos_token_id": None, "eos_token_id": 258}
SMALL: dict[str, Any] = {
    **VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.1,
}
GPT2: dict[str, Any] = {**VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.1}
BLOOM: dict[str, Any] = {**VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.1}
WINDOW = 128
"""Longer than the documents."""
ARCHITECTURES: dict[str, tuple[PretrainedConfig, Layout]] = {
    "llama, untied": (LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=False), Layout.TREE),
    "qwen2": (Qwen2Config(**SMALL, num_key_value_heads=1), Layout.TREE),
    "mistral, windows": (MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=WINDOW), Layout.TREE),
    "gpt2": (GPT2Config(**GPT2), Layout.TREE),
    "bloom": (BloomConfig(**BLOOM), Layout.ROWS),
    "stablelm": (StableLmConfig(**SMALL, num_key_value_heads=4), Layout.ROWS),
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_law_holds(kind: str, tmp_path: Path) -> None:
    config, layout = ARCHITECTURES[kind]
    subject = Subject(write_random(tmp_path / "model", config), read_rows(None))
    assert subject.layout is layout
    laws = [law for law in LAWS if law.fits(subject)]
    findings = [finding for law in laws for finding in law.tried(subject)]
    assert [(each.name, each.measured) for each in findings if not each.passed] == []


def test_every_method_has_its_laws() -> None:
    names = [law.name for law in LAWS]
    assert len(set(names)) == len(names)
    for method in METHODS:
        assert {f"{method}: packed = alone", f"{method}: micro-batches = big batch"} <= set(names)


@pytest.fixture(scope="session")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("laws") / "windowed", ARCHITECTURES["mistral, windows"][0])


def test_every_law_has_a_bug() -> None:
    assert BUGS.keys() == {law.name for law in LAWS}


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        pytest.param(name, bug, id=f"{name}: {bug.__qualname__.split('.')[0]}")
        for name, bugs in BUGS.items()
        for bug in bugs
    ],
)
def test_a_law_fails_when_its_bug_is_put_back(
    name: str, bug: Callable[[pytest.MonkeyPatch], None], tiny: Path, windowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    law = next(law for law in LAWS if law.name == name)
    folder = windowed if bug in OF_WINDOWS else tiny
    assert all(finding.passed for finding in law.tried(Subject(folder, read_rows(None))))
    bug(monkeypatch)
    spoilt = Subject(folder, read_rows(None))
    assert not all(finding.passed for finding in law.tried(spoilt))


def test_how_far_two_steps_are_apart() -> None:
    """Losses 2.2 and 2: a tenth. Gradients (3, 4) and (3, 1): 3 of a length of √10."""
    found = Step(2.2, torch.tensor([3.0, 4.0])).apart(Step(2.0, torch.tensor([3.0, 1.0])))
    assert found == pytest.approx({"loss": 0.1, "gradient": 3 / 10**0.5})
    none = torch.zeros(2)
    assert Step(0.0, none).apart(Step(0.0, none)) == {"loss": 0.0, "gradient": 1.0}


def test_ppo_at_the_sampling_weights_is_reinforce(subject: Subject) -> None:
    """With old log-probs from the same pack the ratio is exactly 1, nothing is clipped, and the slope is -A."""
    trial = subject.trial("ppo")
    batch = trial.batch(trial.documents)
    with torch.no_grad():
        own = trial.module(batch)
    assert own.logprobs_N is not None
    batch = batch.with_extra(old_logprobs_N=own.logprobs_N)
    result = trial.method.objective.loss(trial.module, batch)
    ratio, tokens = result.metrics["val/ratio"]
    assert ratio == tokens
    assert result.metrics["policy/clipfrac_avg"][0] == 0
    assert result.sums["policy"].item() == pytest.approx(-float(batch.extra["advantages_N"].sum()), rel=1e-5)
