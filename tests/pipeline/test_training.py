"""What becomes of a section's settings where its stage trains."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from burnish.batches import Document, pack
from burnish.errors import TrainingError
from burnish.pipeline import training
from burnish.pipeline.critic_free import Grpo
from burnish.pipeline.recipe import Kto, Optim, Sft
from burnish.pipeline.reinforcement import Distill, OnlineDpo, OnPolicy, Ppo, Rft
from burnish.records import durable
from burnish.train.guard import Guard

ROWS = [pack([Document(row="a", ids=[0, 1], weights=[0, 1])])]


def begun(guard: Guard) -> Guard:
    """With twenty steps behind it, whose losses are next to nothing."""
    for step in range(20):
        guard.usual(step, ROWS, loss=1e-9, gradient=1.0)
    return guard


def test_the_averages_of_adam() -> None:
    assert training.optim_config(Sft(data="rows.jsonl"), 4).betas == (0.9, 0.95)
    assert training.optim_config(Ppo.model_validate({"betas": [0, 0.999]}), 4).betas == (0.0, 0.999)
    with pytest.raises(ValidationError):
        Ppo.model_validate({"betas": [0.9, 1.0]})


@pytest.mark.parametrize("section", [Ppo, Grpo, Rft, OnlineDpo, lambda **said: Distill(teacher="t", **said)])
def test_stages_that_sample_are_stopped_by_their_gradients_alone(section: Any) -> None:
    guard = begun(training.guard_of(section(spike=10)))
    guard.usual(20, ROWS, loss=0.1, gradient=2.0)
    with pytest.raises(TrainingError, match="the gradient is 11"):
        guard.usual(21, ROWS, loss=0.1, gradient=11.0)


@pytest.mark.parametrize("section", [Sft, Kto])
def test_stages_with_data_are_stopped_by_their_losses_too(section: type[Optim]) -> None:
    guard = begun(training.guard_of(section(data="rows.jsonl", spike=10)))
    with pytest.raises(TrainingError, match=r"the loss is 0\.1"):
        guard.usual(20, ROWS, loss=0.1, gradient=2.0)


@pytest.mark.parametrize(
    ("settings", "warmup", "said"),
    [
        (Sft(data="rows.jsonl", warmup_steps=10), 10, "rises, to 40% of lr"),
        (Sft(data="rows.jsonl", warmup_steps=4), 4, "rises, to 100% of lr"),
        (Sft(data="rows.jsonl", warmup_steps=3), 3, ""),
        (Sft(data="rows.jsonl"), 0, ""),
        (Ppo(warmup_steps=5), 5, "rises, to 80% of lr"),
    ],
)
def test_a_warm_up_that_outlasts_the_training_is_said(
    settings: Optim | OnPolicy, warmup: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Four steps: the last one's rate is lr · 4 / warmup_steps."""
    caplog.set_level(logging.WARNING, "burnish")
    training._warn_of_warmup("ppo", settings, 4)
    assert said in caplog.text
    assert bool(said) == (f"ppo.warmup_steps is {warmup}, and there are 4 steps" in caplog.text)


def test_the_progress_of_what_is_paid_for_names_reward_kl_and_length() -> None:
    """The surrogate's loss is about 0 at every iteration. A stage that learns from a teacher tells its divergence."""
    assert [*dict.fromkeys(training.shown_of(Grpo()).values())] == ["reward", "KL", "tokens"]
    assert training.shown_of(Distill(teacher="teacher")) == training.shown_of(Sft(data="rows.jsonl")) == {}


@pytest.mark.parametrize(
    ("rows", "said"), [(12, "and there are 12 to learn from: a step learns each of them 2.7"), (32, "")]
)
def test_a_batch_that_is_more_than_there_is_is_said(rows: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "burnish")
    training._warn_of_batch("sft", Sft(data="rows.jsonl"), rows)
    assert said in caplog.text
    assert bool(said) == ("sft.batch_size is 32" in caplog.text)


def test_a_model_that_was_damaged_is_trained_again(tmp_path: Path) -> None:
    assert not training.trained(tmp_path)
    with durable.folder(tmp_path / "model") as filling:
        (filling / "model.safetensors").write_bytes(b"weights")
    assert training.trained(tmp_path)
    (tmp_path / "model/model.safetensors").write_bytes(b"weighed")
    assert not training.trained(tmp_path)
