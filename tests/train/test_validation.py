"""Evaluation while a stage trains, on a module that goes down a quarter a step: what is best, and when it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Output, Trainable
from burnish.runs import MetricsLog
from burnish.train.averages import Averages
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import DatasetFeed, Work
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Loss
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.parallel import Alone, Ranks
from burnish.train.validation import Validation, measured

DOCUMENTS = [Document(row=f"d{n}", ids=[0, n], weights=[0, 1]) for n in range(4)]
HELD = Work([pack([Document(row="held", ids=[0, 9], weights=[0, 1])])])


class Point(Trainable):
    """One weight."""

    def __init__(self, value: float) -> None:
        super().__init__(nn.Identity())
        self.point = nn.Parameter(torch.tensor([value]))

    def forward(self, batch: Batch) -> Output:
        return Output(logprobs_N=self.point.expand(batch.target_N.numel()))


class Steady:
    """Learned from, every document pulls the weight down with slope 1. Held-out, the loss is (weight - 0.75)²."""

    weights: Mapping[str, float] = {"pull": 1.0}
    dropout = True

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"pull": float(batch.target_N.numel())}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        assert module.training != ("held" in batch.rows), (
            "dropout is off where it is measured, and on where it is learned"
        )
        found_N = module(batch).logprobs_N
        assert found_N is not None
        held = batch.rows == ("held",)
        return Loss(
            {"pull": ((found_N - 0.75) ** 2 if held else found_N).sum()}, {"at": (float(found_N.detach().sum()), 1.0)}
        )


class Descending(Optimizer):
    """Goes down by a quarter each step, whatever the gradient: 2, 1.75, 1.5 ..."""

    def step(self, step: int, norm: float) -> float:
        self.put({name: weight - 0.25 for name, weight in self.weights.items()})
        return 0.25


class Run:
    def __init__(self, folder: Path, validation: Validation | None, *, ema: float | None = None) -> None:
        self.module = Point(2.0)
        self.optimizer = Descending(self.module, OptimConfig(lr=1.0, steps=12))
        self.averages = Averages(self.optimizer, ema=ema)
        self.validation = validation
        self.log = MetricsLog(folder / "metrics.jsonl")
        self.checkpoints = Checkpoints(folder / "checkpoints")

    def fit(self, steps: int = 12) -> int:
        feed = DatasetFeed(DOCUMENTS, per_step=2, micro_tokens=8, seed=0)
        return fit(
            self.module,
            feed,
            Steady(),
            self.optimizer,
            FitConfig(steps=steps, seed=0, save_every=2),
            log=self.log,
            checkpoints=self.checkpoints,
            averages=self.averages,
            validation=self.validation,
        )

    def losses(self) -> dict[int, float]:
        return {row["step"]: row["eval/loss"] for row in self.log.read() if "eval/loss" in row}


def watch(every: int = 2, patience: int | None = None, *, best: bool = False) -> Validation:
    return Validation(HELD, every=every, patience=patience, keep_best=best)


def test_it_is_measured_every_so_often_and_at_the_end(tmp_path: Path) -> None:
    """After updates 5, 10 and 12 the weight is 0.75, -0.5 and -1."""
    run = Run(tmp_path, watch(every=5))
    run.fit()
    assert run.losses() == pytest.approx({4: 0.0, 9: 1.25**2, 11: 1.75**2})
    assert run.module.point.item() == -1.0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[9]["eval/at"] == -0.5
    assert len(lines) == 12


def test_patience_ends_the_run_and_the_last_weights_stay(tmp_path: Path) -> None:
    """Squares at 1.5, 1, 0.5, 0, -0.5 from 0.75: .5625, .0625, .0625 (no lower), .5625, 1.5625. Two missed after the
    fourth evaluation, three after the fifth."""
    run = Run(tmp_path / "two", watch(patience=2))
    run.fit()
    assert run.losses() == pytest.approx({1: 0.5625, 3: 0.0625, 5: 0.0625, 7: 0.5625})
    assert run.module.point.item() == 0.0
    three = Run(tmp_path / "three", watch(patience=3))
    three.fit()
    assert max(three.losses()) == 9


def test_patience_begins_anew_with_each_lowest_loss() -> None:
    """Squares at 2, 2.5, 1.5, 2, 1: one miss, a new lowest, one miss, a new lowest. Then 2 and 2: two in a row."""
    module, validation = Point(2.0), watch(patience=2)
    averages = Averages(Optimizer(module, OptimConfig(lr=1.0, steps=1)))
    over: list[bool] = []
    for value in (2.0, 2.5, 1.5, 2.0, 1.0, 2.0, 2.0):
        with torch.no_grad():
            module.point.fill_(value)
        validation.measure(module, Steady(), averages, Alone())
        over.append(validation.over)
    assert over == [False] * 6 + [True]


def test_the_best_are_kept(tmp_path: Path) -> None:
    """0.75 itself comes after the fifth update; every second, the first of the two that are equally near is 1."""
    every, second = Run(tmp_path / "every", watch(1, best=True)), Run(tmp_path / "second", watch(2, best=True))
    every.fit()
    second.fit()
    assert every.module.point.item() == 0.75
    assert second.module.point.item() == 1.0
    assert len(every.losses()) == 12, "without patience it goes on to the end"


def test_what_is_measured_is_what_would_be_kept(tmp_path: Path) -> None:
    """d = 1/2: after two updates (1.75/2 + 1.5) / 1.5 = 1.58333, 5/6 from 0.75."""
    run = Run(tmp_path, watch(best=True), ema=0.5)
    run.fit()
    assert run.losses()[1] == pytest.approx((5 / 6) ** 2, rel=1e-5)
    best = min(run.losses(), key=run.losses().__getitem__)
    mean = sum((2 - 0.25 * i) * 0.5 ** (best + 1 - i) for i in range(1, best + 2))
    assert run.module.point.item() == pytest.approx(mean / sum(0.5**i for i in range(best + 1)), rel=1e-5)


@pytest.mark.parametrize("patience", [None, 2, 3])
@pytest.mark.parametrize("until", [3, 5, 8, 9])
def test_a_resumed_run_chooses_alike(tmp_path: Path, patience: int | None, until: int) -> None:
    straight, cut = (Run(tmp_path / name, watch(1, patience, best=True), ema=0.5) for name in ("straight", "cut"))
    straight.fit()
    cut.fit(until)
    again = Run(tmp_path / "cut", watch(1, patience, best=True), ema=0.5)
    assert again.fit() > 0
    assert torch.equal(again.module.point, straight.module.point)
    assert again.losses() == straight.losses()


def test_a_run_that_had_ended_does_not_go_on(tmp_path: Path) -> None:
    """Patience of one runs out with the update of a checkpoint; what comes after it finds that out."""
    run = Run(tmp_path, watch(patience=1))
    run.fit()
    again = Run(tmp_path, watch(patience=1))
    assert again.fit() == max(run.losses()) + 1
    assert torch.equal(again.module.point, run.module.point)


class Prepared(Steady):
    """Reads what is measured beside, as KTO does."""

    mean = math.nan

    def prepare(self, module: Trainable, batches: Sequence[Batch], ranks: Ranks) -> None:
        self.mean = float(sum(batch.target_N.numel() for batch in batches))


def test_sums_are_divided_once_and_what_lies_beside_is_read() -> None:
    """Micro-batches of one and of three targets at 2: the mean is 1.25² and not of two means."""
    three = [pack([Document(row="held", ids=[0, 1, 2, 3], weights=[0, 1, 1, 1])]), *HELD.batches]
    objective = Prepared()
    loss, metrics = measured(Point(2.0), objective, Work(three, measured=HELD.batches), Alone())
    assert loss == pytest.approx(1.25**2)
    assert metrics["at"] == pytest.approx(4.0)
    assert objective.mean == 1.0
