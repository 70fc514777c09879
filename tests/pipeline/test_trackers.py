"""Figures go where a recipe says beside a run's own log; what fails there ends no training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from contexts import context_of

from burnish.errors import MachineError
from burnish.pipeline import trackers
from burnish.pipeline.preflight import check_files
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.trackers import TensorBoard, Training, tracked
from burnish.pipeline.training import _told
from burnish.runs import MetricsLog


class Kept:
    """A tracker that keeps what it is told; it fails at the step that is named."""

    def __init__(self, fails: int | None = None) -> None:
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.closed = False
        self._fails = fails

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        print("a dashboard's address")
        if step == self._fails:
            raise ConnectionError("nobody answers")
        self.rows.append((step, figures))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(project="shop", name="demo/sft", id="0123456789abcdef", folder=tmp_path, settings={"lr": 0.1})


def log_steps(log: Any, *steps: int) -> None:
    for step in steps:
        log.log(step=step, seconds=0.5, tokens=7, loss=1.0 / (step + 1), grad_norm=float("nan") if step else 2.0)


def test_trackers_get_each_line_but_for_what_is_no_number(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = Kept(), Kept()
    monkeypatch.setattr(trackers, "_TRACKERS", {"wandb": lambda told: one, "mlflow": lambda told: other})
    log = MetricsLog(training.folder / "metrics.jsonl")
    with tracked(log, ("wandb", "mlflow"), training) as both:
        log_steps(both, 0, 1)
        both.rewind(1)
        log_steps(both, 1)
    assert one.rows == other.rows
    assert one.rows[:2] == [
        (0, {"loss": 1.0, "seconds": 0.5, "tokens": 7.0, "grad_norm": 2.0}),
        (1, {"loss": 0.5, "seconds": 0.5, "tokens": 7.0}),
    ]
    assert [row["step"] for row in log.read()] == [0, 1]
    assert one.closed
    assert other.closed
    said = capsys.readouterr()
    assert (said.out, "a dashboard's address" in said.err) == ("", True)


def test_a_tracker_that_fails_ends_no_training(
    training: Training, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(told: Training) -> Kept:
        raise OSError("no such server")

    failing, other = Kept(fails=1), Kept()
    found = {"wandb": lambda told: failing, "mlflow": refused, "trackio": lambda told: other}
    monkeypatch.setattr(trackers, "_TRACKERS", found)
    log = MetricsLog(training.folder / "metrics.jsonl")
    with tracked(log, ("wandb", "mlflow", "trackio"), training) as all_of_them:
        log_steps(all_of_them, 0, 1, 2)
    assert [step for step, _ in failing.rows] == [0]
    assert [step for step, _ in other.rows] == [0, 1, 2]
    assert len(log.read()) == 3
    assert (failing.closed, other.closed) == (False, True)
    assert "mlflow failed, and gets no more figures of this training: no such server" in caplog.text
    assert "wandb failed, and gets no more figures of this training: nobody answers" in caplog.text


def test_trackers_are_closed_where_a_training_fails(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    monkeypatch.setattr(trackers, "_TRACKERS", {"wandb": lambda told: kept})
    log = MetricsLog(training.folder / "metrics.jsonl")
    with pytest.raises(ZeroDivisionError), tracked(log, ("wandb",), training):
        raise ZeroDivisionError
    assert kept.closed


def test_tensorboard_says_again_what_a_continued_training_does_again(training: Training) -> None:
    events: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps in ((0, 1, 2, 3), (2, 3, 4)):
        board = TensorBoard(training)
        for step in steps:
            board.log(step, {"loss": float(step)})
        board.close()
    read = events.EventAccumulator(str(training.folder / "tensorboard"))
    read.Reload()
    assert [(each.step, each.value) for each in read.Scalars("loss")] == [(n, float(n)) for n in range(5)]


@pytest.mark.parametrize(
    ("key", "asked", "mode"), [(None, None, "offline"), ("secret", None, "online"), ("secret", "disabled", "disabled")]
)
def test_weights_and_biases_asks_nobody_for_an_account(
    training: Training, monkeypatch: pytest.MonkeyPatch, key: str | None, asked: str | None, mode: str
) -> None:
    said: dict[str, Any] = {}
    fake: Any = ModuleType("wandb")
    fake.api = SimpleNamespace(api_key=key)
    fake.init = said.update
    fake.Settings = dict
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if asked:
        monkeypatch.setenv("WANDB_MODE", asked)
    trackers.Wandb(training)
    assert (said["mode"], said["id"], said["resume"]) == (mode, training.id, "allow")
    assert (said["project"], said["name"], said["config"]) == ("shop", "demo/sft", {"lr": 0.1})
    assert said["settings"] == {"console": "off"}


def test_a_package_that_is_missing_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    recipe = Recipe.model_validate({"name": "t", "model": "m", "track": ["mlflow"], "sft": {"data": "rows.jsonl"}})
    with pytest.raises(MachineError, match=r"track: needs the package mlflow\. Try: pip install mlflow"):
        check_files(recipe, tmp_path, ["sft"])


def test_a_training_is_the_same_one_where_it_is_continued(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"name": "shop", "model": "m", "sft": {"data": "rows.jsonl", "lr": 0.5}})
    run, stage = tmp_path / "demo", tmp_path / "demo" / "sft"
    told = _told(context_of(recipe, run, folder=stage), stage)
    assert told == _told(context_of(recipe, run, folder=stage), stage)
    assert (told.project, told.name, told.settings["lr"]) == ("shop", "demo/sft", 0.5)
    ids = {
        told.id,
        _told(context_of(recipe, run, folder=stage, key="j" * 64), stage).id,
        _told(context_of(recipe, run, folder=stage), stage / "member-2").id,
    }
    assert len(ids) == 3
