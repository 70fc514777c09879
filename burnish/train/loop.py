"""The one training loop. It knows feeds, objectives and the optimiser, and no method by name.

A step is one optimiser update. Whatever a method nests (PPO's epochs and minibatches) lives in its feed.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.data.order import draw
from burnish.errors import Problem, TrainingError
from burnish.models.forward import Trainable
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import Feed, Work
from burnish.train.objectives import Loss, Objective
from burnish.train.optim import Optimizer
from burnish.train.parallel import Alone, Ranks
from burnish.types import Progress, Silent


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How long, and how often it is made safe."""

    steps: int
    seed: int
    save_every: int = 0
    """Updates between checkpoints; 0: none."""


class Log(Protocol):
    """A metrics log: one line a step."""

    def log(self, *, step: int, seconds: float, tokens: int, loss: float, **metrics: float) -> None: ...

    def rewind(self, step: int) -> None:
        """Drop the lines of updates from `step` on: they will be made again."""
        ...


class Quiet:
    """A Log that keeps nothing."""

    def log(self, *, step: int, seconds: float, tokens: int, loss: float, **metrics: float) -> None:
        pass

    def rewind(self, step: int) -> None:
        pass


def fit(
    module: Trainable,
    feed: Feed,
    objective: Objective,
    optimizer: Optimizer,
    config: FitConfig,
    *,
    log: Log | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
    label: str = "train",
    ranks: Ranks | None = None,
) -> int:
    """Train from the newest checkpoint, or from the start, to `config.steps` updates. Returns the step it began at.

    Raises TrainingError before the update if loss or gradient is not finite; the last checkpoint stays as it is.
    """
    log, progress, ranks = log or Quiet(), progress or Silent(), ranks or Alone()
    start = checkpoints.restore(optimizer, feed) if checkpoints else 0
    log.rewind(start)
    progress.start(label, config.steps)
    progress.advance(start)
    for step in range(start, config.steps):
        began = time.perf_counter()
        torch.manual_seed(draw(config.seed, "dropout", step, ranks.rank + 1))
        work = feed.next(step)
        module.train(objective.dropout)
        loss, metrics = _update(module, work, objective, optimizer, step, ranks)
        added = ranks.sum({"loss": loss, "tokens": sum(batch.tokens for batch in work.batches)})
        loss, tokens = added["loss"], int(added["tokens"])
        log.log(step=step, seconds=time.perf_counter() - began, tokens=tokens, loss=loss, **metrics, **work.metrics)
        progress.advance(1, f"loss {loss:.3f}")
        if checkpoints and config.save_every and (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            checkpoints.save(step + 1, optimizer, feed)
    progress.finish()
    return start


def _update(
    module: Trainable, work: Work, objective: Objective, optimizer: Optimizer, step: int, ranks: Ranks
) -> tuple[float, dict[str, float]]:
    """One optimiser update: sums over micro-batches divided by counts over all of them. Returns this rank's
    share of the loss, and metrics."""
    prepare = getattr(objective, "prepare", None)
    if prepare is not None:
        prepare(module, work.measured, ranks)
        with torch.no_grad():
            for batch in work.measured_fillers:
                module(batch)
    counts = ranks.sum(_added(objective.counts(batch) for batch in work.batches))
    losses: list[float] = []
    sums: defaultdict[str, float] = defaultdict(float)
    seen: defaultdict[str, float] = defaultdict(float)
    for batch in work.batches:
        result = objective.loss(module, batch)
        total = _total(result, objective, counts)
        total.backward()
        optimizer.accumulate()
        losses.append(float(total.detach()))
        for name, (part, count) in result.metrics.items():
            sums[name] += part
            seen[name] += count
    for batch in work.fillers:
        (0 * _total(objective.loss(module, batch), objective, counts)).backward()
        optimizer.accumulate()
    with ranks.together():
        for loss, batch in zip(losses, work.batches, strict=True):
            _require_finite(loss, "loss", step, batch)
    norm = optimizer.gradient_norm()
    with ranks.together():
        _require_finite(norm, "gradient", step, *work.batches)
    rate = optimizer.step(step, norm)
    sums, seen = (defaultdict(float, ranks.sum(values)) for values in (sums, seen))
    metrics = {name: part / seen[name] for name, part in sums.items() if seen[name]}
    return sum(losses), {"lr": rate, "grad_norm": norm, **metrics}


def _total(result: Loss, objective: Objective, counts: Mapping[str, float]) -> Tensor:
    """One number: each sum divided by its count over the whole step, and weighted."""
    terms = [objective.weights[name] * term / max(counts[name], 1.0) for name, term in result.sums.items()]
    return torch.stack(terms).sum()


def _added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for name, value in part.items():
            total[name] += value
    return total


def _require_finite(value: float, what: str, step: int, *batches: Batch) -> None:
    if not math.isfinite(value):
        rows = [row for batch in batches for row in batch.rows]
        shown = ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
        raise TrainingError(
            Problem(
                f"step {step}",
                f"the {what} is {value}; rows of this step: {shown}",
                "The update was not made and the last checkpoint is good. Look at these rows, or lower lr.",
            )
        )
