"""The one training loop. It knows feeds, objectives and the optimiser, and no method by name.

A step is one optimiser update. Whatever a method nests (PPO's epochs and minibatches) lives in its feed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from burnish.data.order import draw
from burnish.models.forward import Trainable
from burnish.train.averages import Averages
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import Feed, Work
from burnish.train.guard import Guard
from burnish.train.objectives import Objective, added, total
from burnish.train.optim import Optimizer
from burnish.train.parallel import Alone, Ranks
from burnish.train.validation import Evaluation, prepare
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
    shown: Mapping[str, str] | None = None,
    ranks: Ranks | None = None,
    guard: Guard | None = None,
    averages: Averages | None = None,
    validation: Evaluation | None = None,
) -> int:
    """Train from the newest checkpoint, or from the start, to `config.steps` updates. Returns the step it began at.

    `shown`: metrics whose last values the progress line says in the loss's place, and what it calls them; of two that
    are called alike, the later one in this order.

    What the module ends with are the weights to keep: the last, unless averages or validation choose others. Raises
    TrainingError before the update if the guard objects; the last checkpoint stays as it is.
    """
    log, progress, ranks = log or Quiet(), progress or Silent(), ranks or Alone()
    guard, averages = guard or Guard(), averages or Averages(optimizer)
    remembering = {"guard": guard, "averages": averages, **({"validation": validation} if validation else {})}
    start = checkpoints.restore(optimizer, feed, **remembering) if checkpoints else 0
    log.rewind(start)
    progress.start(label, config.steps)
    progress.advance(start)
    told: dict[str, float] = {}
    for step in range(start, config.steps):
        if validation and validation.over:
            break
        began = time.perf_counter()
        torch.manual_seed(draw(config.seed, "dropout", step, ranks.rank + 1))
        work = feed.next(step)
        module.train(objective.dropout)
        loss, metrics = _update(module, work, objective, optimizer, step, ranks, guard)
        averages.update(step)
        if validation and validation.due(step + 1, config.steps):
            metrics |= validation.measure(module, objective, averages, ranks)
        tokens = int(ranks.sum({"tokens": sum(batch.tokens for batch in work.batches)})["tokens"])
        log.log(step=step, seconds=time.perf_counter() - began, tokens=tokens, loss=loss, **metrics, **work.metrics)
        told |= metrics | work.metrics
        progress.advance(1, _note(told, shown or {}) or f"loss {loss:.3f}")
        if checkpoints and config.save_every and (step + 1) % config.save_every == 0 and step + 1 < config.steps:
            checkpoints.save(step + 1, optimizer, feed, **remembering)
    optimizer.put(validation.kept(averages) if validation else averages.kept())
    progress.finish()
    return start


def _note(metrics: Mapping[str, float], shown: Mapping[str, str]) -> str:
    found = {name: metrics[metric] for metric, name in shown.items() if metric in metrics}
    return ", ".join(f"{name} {value:.3g}" for name, value in found.items())


def _update(
    module: Trainable,
    work: Work,
    objective: Objective,
    optimizer: Optimizer,
    step: int,
    ranks: Ranks,
    guard: Guard,
) -> tuple[float, dict[str, float]]:
    """One optimiser update: sums over micro-batches divided by counts over all of them. Returns loss and metrics."""
    prepare(module, objective, work, ranks)
    counts = ranks.sum(added(objective.counts(batch) for batch in work.batches))
    losses: list[float] = []
    sums: defaultdict[str, float] = defaultdict(float)
    seen: defaultdict[str, float] = defaultdict(float)
    norms: dict[str, float] = {}
    for number, batch in enumerate(work.batches):
        if work.appended == len(work.batches) - number:
            norms["grad_norm/own"] = optimizer.gradient_norm()
        result = objective.loss(module, batch)
        part = total(objective, result, counts)
        part.backward()
        optimizer.accumulate()
        losses.append(float(part.detach()))
        for name, (measured, count) in result.metrics.items():
            sums[name] += measured
            seen[name] += count
    for batch in work.fillers:
        (0 * total(objective, objective.loss(module, batch), counts)).backward()
        optimizer.accumulate()
    with ranks.together():
        for part, batch in zip(losses, work.batches, strict=True):
            guard.finite("loss", part, step, [batch])
    norm = optimizer.gradient_norm()
    loss = ranks.sum({"loss": sum(losses)})["loss"]
    with ranks.together():
        guard.finite("gradient", norm, step, work.batches)
        guard.usual(step, work.batches, loss=loss, gradient=norm)
    rate = optimizer.step(step, norm)
    sums, seen = (defaultdict(float, ranks.sum(values)) for values in (sums, seen))
    metrics = {name: measured / seen[name] for name, measured in sums.items() if seen[name]}
    return loss, {"lr": rate, "grad_norm": norm, **norms, **metrics}
