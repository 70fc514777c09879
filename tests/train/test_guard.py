"""What stops a run before an update: rules at hand-made values, and a run whose weights stay as they were."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from burnish.batches import Batch, Document, pack
from burnish.errors import TrainingError
from burnish.models.forward import Output, Trainable
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import DatasetFeed, Work
from burnish.train.guard import FEWEST, WINDOW, Guard
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Loss, Sft
from burnish.train.optim import OptimConfig, Optimizer

ROWS = [pack([Document(row=f"r{n}", ids=[0, 1], weights=[0, 1]) for n in range(9)])]


def seen(guard: Guard, values: list[float]) -> None:
    for step, value in enumerate(values):
        guard.usual(step, ROWS, loss=value)


def test_a_spike_is_told_from_the_median_and_names_step_and_rows() -> None:
    """The median of nine twos and two ones is 2: 20 is no more than ten times that, 20.1 is."""
    guard = Guard(spike=10)
    seen(guard, [2.0] * 9 + [1.0] * 2)
    guard.usual(11, ROWS, loss=20.0)
    with pytest.raises(
        TrainingError, match=r"(?s)step 12: the loss is 20\.1, and its median over the last 12 steps 2;"
    ) as caught:
        guard.usual(12, ROWS, loss=20.1)
    assert "r0, r1, r2, r3, r4, r5, r6, r7 and 1 more" in str(caught.value)
    assert "set spike higher than 10" in str(caught.value)


def test_what_stopped_the_run_is_not_counted_as_usual() -> None:
    guard = Guard(spike=10)
    seen(guard, [1.0] * FEWEST)
    before = guard.state()
    with pytest.raises(TrainingError):
        guard.usual(FEWEST, ROWS, gradient=1.0, loss=11.0)
    assert guard.state()[0]["loss"] == before[0]["loss"]


def test_early_steps_have_nothing_to_be_compared_with() -> None:
    guard = Guard(spike=2)
    seen(guard, [1.0] * (FEWEST - 1) + [50.0])
    with pytest.raises(TrainingError):
        guard.usual(FEWEST, ROWS, loss=3.0)


def test_old_steps_are_forgotten() -> None:
    """After a window of hundreds, three hundred is no spike although the first steps were ones."""
    guard = Guard(spike=150)
    seen(guard, [1.0] * 20 + [100.0] * WINDOW)
    guard.usual(99, ROWS, loss=300.0)
    assert len(guard.state()[0]["loss"]) == WINDOW


def test_a_loss_around_zero_is_judged_by_its_size() -> None:
    guard = Guard(spike=5)
    seen(guard, [(-1.0) ** n * 0.1 for n in range(20)])
    guard.usual(20, ROWS, loss=-0.4)
    with pytest.raises(TrainingError, match=r"-0\.6"):
        guard.usual(21, ROWS, loss=-0.6)


def test_steps_without_a_gradient_say_nothing_of_others() -> None:
    """Twelve idle steps and eleven of 1: the median of all is 0, and that of those that learned something is 1."""
    guard = Guard(spike=10)
    for step in range(22):
        guard.usual(step, ROWS, gradient=float(step % 2))
    guard.usual(22, ROWS, gradient=0.0)
    guard.usual(23, ROWS, gradient=9.0)
    with pytest.raises(TrainingError, match="the gradient is 11, and its median over the last 12 steps 1;"):
        guard.usual(24, ROWS, gradient=11.0)


def test_what_an_older_checkpoint_remembers_of_idle_steps_is_forgotten() -> None:
    guard = Guard(spike=10)
    guard.load({"gradient": [0.0] * WINDOW}, {})
    guard.usual(50, ROWS, gradient=1.0)
    assert guard.state()[0] == {"gradient": [1.0]}


def test_a_loss_is_not_judged_where_it_tells_nothing() -> None:
    """A group's advantages add up to zero but for rounding, until the policy is no longer what sampled."""
    guard = Guard(spike=10, losses=False)
    for step in range(20):
        guard.usual(step, ROWS, loss=(-1.0) ** step * 1e-9, gradient=1.0)
    guard.usual(20, ROWS, loss=0.02, gradient=2.0)
    with pytest.raises(TrainingError, match="the gradient is 11"):
        guard.usual(21, ROWS, loss=0.02, gradient=11.0)


def test_without_spike_only_what_is_not_finite_stops() -> None:
    guard = Guard()
    seen(guard, [1.0] * 20 + [1e9])
    for value in (math.nan, math.inf):
        with pytest.raises(TrainingError, match=f"step 3: the gradient is {value}; rows of this step: r0"):
            guard.finite("gradient", value, 3, ROWS)


class Table(Trainable):
    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.logits_V = nn.Parameter(torch.zeros(4))

    def forward(self, batch: Batch) -> Output:
        return Output(logprobs_N=self.logits_V.log_softmax(-1)[batch.target_N])


class Spiking(Sft):
    """Fine-tuning with a step whose loss is a hundred times as large."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.calls, self.at = 0, at

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        self.calls += 1
        return Loss({"nll": super().loss(module, batch).sums["nll"] * (100 if self.calls == self.at + 1 else 1)})


class Watching(DatasetFeed):
    """Copies the weights before each step."""

    def next(self, step: int) -> Work:
        self.before = table.logits_V.detach().clone()
        return super().next(step)


table = Table()


def test_what_is_usual_comes_back_with_a_checkpoint(tmp_path: Path) -> None:
    """Resumed after update 12, a run has two steps of its own behind it when the spike comes: too few to tell by."""
    documents = [Document(row=f"d{n}", ids=[0, n % 4], weights=[0, 1]) for n in range(8)]
    feed = DatasetFeed(documents, per_step=2, micro_tokens=4, seed=0)

    def run(steps: int, objective: Spiking, guard: Guard) -> None:
        module = Table()
        optimizer = Optimizer(module, OptimConfig(lr=0.01, steps=30))
        config = FitConfig(steps=steps, seed=0, save_every=6)
        fit(module, feed, objective, optimizer, config, checkpoints=Checkpoints(tmp_path), guard=guard)

    run(13, Spiking(99), Guard())
    with pytest.raises(TrainingError, match="step 14: the loss is"):
        run(30, Spiking(2), Guard(spike=10))


def test_a_spike_leaves_the_weights_as_they_were() -> None:
    documents = [Document(row=f"d{n}", ids=[0, n % 4], weights=[0, 1]) for n in range(8)]
    feed = Watching(documents, per_step=2, micro_tokens=4, seed=0)
    optimizer = Optimizer(table, OptimConfig(lr=0.01, steps=30))
    with pytest.raises(TrainingError, match=r"step 20: the loss is .*rows of this step: d\d, d\d"):
        fit(table, feed, Spiking(20), optimizer, FitConfig(steps=30, seed=0), guard=Guard(spike=10))
    assert torch.equal(table.logits_V, feed.before)
    assert fit(table, feed, Spiking(20), optimizer, FitConfig(steps=30, seed=0)) == 0, "and without it goes on"
