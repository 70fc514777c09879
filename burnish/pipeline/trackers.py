"""Trackers: where a training's figures go beside its own log, for people who watch many runs in one place. Knows
TensorBoard, Weights & Biases, MLflow and trackio; knows no method.

None is asked unless a recipe names it, none asks anybody for an account, and one that fails is left with a warning: it
ends no training. Where a training is continued the tracker's run is continued; steps that are done again have the same
figures as before.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from burnish.errors import MachineError, Problem, plain
from burnish.pipeline.settings import TrackerName
from burnish.runs import MetricsLog

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a tracker is told of a training."""

    project: str
    """The recipe's name."""
    name: str
    """Run and stage."""
    id: str
    """The same where it is continued, another where a setting is."""
    folder: Path
    settings: Mapping[str, Any]
    """The stage's section of the recipe."""


class Tracker(Protocol):
    """One of them, open for one training."""

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the stage's folder, under `tensorboard`."""

    def __init__(self, training: Training) -> None:
        self._writer_of: Any = import_module("torch.utils.tensorboard").SummaryWriter
        self._folder = training.folder / "tensorboard"
        self._writer: Any = None

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        if self._writer is None:  # what an earlier process said of this step and later ones is said again
            self._writer = self._writer_of(str(self._folder), purge_step=step, flush_secs=10)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Wandb:
    """Weights & Biases. Without a key it writes to the stage's folder, and `wandb sync` sends that later."""

    def __init__(self, training: Training) -> None:
        wandb: Any = import_module("wandb")
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
        self._run: Any = wandb.init(
            project=training.project,
            name=training.name,
            id=training.id,
            resume="allow",
            config=dict(training.settings),
            dir=str(training.folder),
            mode=mode,
            settings=wandb.Settings(console="off"),  # what a terminal shows, progress and all, stays here
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


class Mlflow:
    """MLflow, where MLFLOW_TRACKING_URI says; else where it keeps runs by itself."""

    def __init__(self, training: Training) -> None:
        self._mlflow: Any = import_module("mlflow")
        self._client: Any = self._mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(training.project)
        experiment = found.experiment_id if found else self._client.create_experiment(training.project)
        known = self._client.search_runs([experiment], f"tags.burnish = '{training.id}'")
        self._from = 0
        if known:
            self._id: str = known[0].info.run_id
            self._from = 1 + max(
                (each.step for each in self._client.get_metric_history(self._id, "seconds")), default=-1
            )
        else:
            made = self._client.create_run(experiment, run_name=training.name, tags={"burnish": training.id})
            self._id = made.info.run_id
            self._client.log_dict(self._id, dict(training.settings), "settings.json")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        if step < self._from:  # it would stand there twice
            return
        metric, now = self._mlflow.entities.Metric, int(time.time() * 1000)
        self._client.log_batch(self._id, [metric(name, value, now, step) for name, value in figures.items()])

    def close(self) -> None:
        self._client.set_terminated(self._id)


class Trackio:
    """trackio, which keeps runs on this machine."""

    def __init__(self, training: Training) -> None:
        self._trackio: Any = import_module("trackio")
        self._trackio.init(
            project=training.project,
            name=f"{training.name}-{training.id}",
            config=dict(training.settings),
            resume="allow",
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._trackio.log(dict(figures), step=step)

    def close(self) -> None:
        self._trackio.finish()


_TRACKERS: Mapping[TrackerName, Callable[[Training], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": Mlflow,
    "trackio": Trackio,
}


class Tracked:
    """A log whose lines go to trackers too."""

    def __init__(self, log: MetricsLog, trackers: Mapping[str, Tracker]) -> None:
        self._log = log
        self._trackers = dict(trackers)

    def log(self, *, step: int, seconds: float, tokens: int, loss: float, **metrics: float) -> None:
        self._log.log(step=step, seconds=seconds, tokens=tokens, loss=loss, **metrics)
        said: dict[str, object] = {"loss": loss, "seconds": seconds, "tokens": tokens, **metrics}
        figures = {name: float(each) for name, each in said.items() if isinstance(each, int | float) and isfinite(each)}
        for name, tracker in [*self._trackers.items()]:
            if not _managed(name, lambda tracker=tracker: tracker.log(step, figures)):
                del self._trackers[name]

    def rewind(self, step: int) -> None:
        self._log.rewind(step)

    def close(self) -> None:
        for name, tracker in self._trackers.items():
            _managed(name, tracker.close)


@contextmanager
def tracked(log: MetricsLog, names: Sequence[TrackerName], training: Training) -> Generator[Tracked]:
    """The log, and the trackers of these names until the end of the training."""
    opened: dict[str, Tracker] = {}
    for name in dict.fromkeys(names):
        _managed(name, lambda name=name: opened.update({name: _TRACKERS[name](training)}))
    both = Tracked(log, opened)
    try:
        yield both
    finally:
        both.close()


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Raises MachineError where a tracker's package is not installed."""
    problems = [
        Problem("track", f"needs the package {name}", f"Try: pip install {name}")
        for name in names
        if find_spec(name) is None
    ]
    if problems:
        raise MachineError(*problems)


def _managed(name: str, work: Callable[[], object]) -> bool:
    """Do what concerns a tracker; whether it could. Each has errors of its own, and most speak with a server. What it
    prints is no answer of the command's."""
    try:
        with redirect_stdout(sys.stderr):
            work()
    except Exception as error:  # noqa: BLE001 (a server, a disk, a package: whatever it is, training goes on)
        _log.warning("%s failed, and gets no more figures of this training: %s", name, plain(error))
        return False
    return True
