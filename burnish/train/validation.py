"""Held-out documents, measured every so many updates: what early stopping and the choice of weights go by.

Knows the objective's own arithmetic on documents that are not learned from; knows no method. What is measured are the
weights that would be kept (`burnish.train.averages`). Nothing is drawn and no gradient is taken, so that training goes
on as if nobody had looked.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from burnish.models.forward import Trainable
from burnish.train.averages import Averages, copied
from burnish.train.feeds import Work
from burnish.train.objectives import Objective, Prepares, added, total
from burnish.train.parallel import Ranks


class Evaluation(Protocol):
    """What a loop asks while it trains: when to look, whether to end, which weights to keep. It is a part of the
    checkpoint."""

    @property
    def over(self) -> bool: ...
    def due(self, updates: int, steps: int) -> bool: ...
    def measure(self, module: Trainable, objective: Objective, averages: Averages, ranks: Ranks) -> dict[str, float]:
        """Every rank is asked."""
        ...

    def kept(self, averages: Averages) -> dict[str, Tensor]: ...
    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]: ...
    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None: ...


class Validation:
    """Measures, and remembers the best and how often it was missed since."""

    def __init__(self, work: Work, *, every: int, patience: int | None = None, keep_best: bool = False) -> None:
        """`work`: all held-out documents as one step, of several ranks each one's share. `every`: updates between
        evaluations. `patience`: so many evaluations in a row without a lower loss than the lowest end the run; None:
        none do. `keep_best`: the weights of the lowest loss are kept, not the last.
        """
        self._work = work
        self._every = every
        self._patience = patience
        self._keep_best = keep_best
        self._lowest = math.inf
        self._missed = 0
        self._weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self._missed >= self._patience

    def due(self, updates: int, steps: int) -> bool:
        """Whether to measure after so many updates of `steps`: every so often, and at the end."""
        return updates % self._every == 0 or updates == steps

    def measure(self, module: Trainable, objective: Objective, averages: Averages, ranks: Ranks) -> dict[str, float]:
        """Loss and metrics of the weights that would be kept, under names that begin with eval/."""
        with averages.inside():
            loss, metrics = measured(module, objective, self._work, ranks)
        if loss < self._lowest:
            self._lowest, self._missed = loss, 0
            self._weights = copied(averages.kept()) if self._keep_best else {}
        else:
            self._missed += 1
        return {f"eval/{name}": value for name, value in {"loss": loss, **metrics}.items()}

    def kept(self, averages: Averages) -> dict[str, Tensor]:
        """The weights to keep when the run ends."""
        return self._weights or averages.kept()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        lowest = self._lowest if math.isfinite(self._lowest) else None  # JSON has no infinity
        return {"lowest": lowest, "missed": self._missed}, self._weights

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._lowest = math.inf if values["lowest"] is None else values["lowest"]
        self._missed = values["missed"]
        self._weights = tensors


def prepare(module: Trainable, objective: Objective, work: Work, ranks: Ranks) -> None:
    """Have an objective that asks for it measure what lies beside a step, before the step's counts."""
    if isinstance(objective, Prepares):
        with torch.no_grad():
            for batch in work.measured_fillers:  # before the measure, at the end of which ranks wait for each other
                module(batch)
        objective.prepare(module, work.measured, ranks)


@torch.no_grad()
def measured(module: Trainable, objective: Objective, work: Work, ranks: Ranks) -> tuple[float, dict[str, float]]:
    """The objective's loss and metrics of a step that is not made, dropout off.

    Each rank reads its share. All add up the same sums in the same order, so that they come to the same numbers to the
    bit: whether a run ends depends on them.
    """
    module.eval()
    prepare(module, objective, work, ranks)
    counts = ranks.sum(added(objective.counts(batch) for batch in work.batches))
    results = [objective.loss(module, batch) for batch in work.batches]
    for batch in work.fillers:
        objective.loss(module, batch)
    loss = ranks.sum({"loss": sum(float(total(objective, each, counts)) for each in results)})["loss"]
    sums, seen = (
        ranks.sum(added({name: pair[place] for name, pair in each.metrics.items()} for each in results))
        for place in (0, 1)
    )
    return loss, {name: part / seen[name] for name, part in sums.items() if seen[name]}
