"""One optimiser step, stopped before the update: what two ways that mean the same are compared by. Knows the training
loop, which makes the step, so that a fault of the loop is a fault of the law.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.models.forward import Trainable
from burnish.train.feeds import Work
from burnish.train.loop import FitConfig, Quiet, fit
from burnish.train.objectives import Objective
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.parallel import Alone, Ranks


@dataclass(frozen=True, slots=True)
class Step:
    """What a step made of its micro-batches."""

    loss: float
    gradient: Tensor
    """Of every weight that has one, flat and one after another."""

    def apart(self, other: Step) -> dict[str, float]:
        """Relative difference of the losses, and L2 distance of the gradients over their length.

        Without a gradient there is nothing to compare, and gradients of other weights are not alike: that counts as
        wholly apart.
        """
        length, alike = float(other.gradient.norm()), self.gradient.shape == other.gradient.shape
        return {
            "loss": abs(self.loss - other.loss) / max(abs(other.loss), 1e-12),
            "gradient": float((self.gradient - other.gradient).norm()) / length if length and alike else 1.0,
        }


def one_step(
    module: Trainable,
    objective: Objective,
    batches: Sequence[Batch],
    measured: Sequence[Batch] = (),
    ranks: Ranks | None = None,
) -> Step:
    """The step that the loop would make of these micro-batches, dropout off. The module's weights stay as they are.

    With `ranks` all of them must call; the first one's micro-batches are those of the step.
    """
    ranks = ranks or Alone()
    still = copy(objective)
    still.dropout = False
    where, spread = module.device, ranks.spread(module)
    optimizer, log = _Unmoved(spread, ranks), _Loss()
    feed = ranks.feed(None if ranks.rank else _Given(batches, measured))
    fit(spread, feed, still, optimizer, FitConfig(steps=1, seed=0), log=log, ranks=ranks)
    ranks.collect(spread, module)
    module.to(where)
    return Step(log.loss, optimizer.gradient)


class _Given:
    """A feed of one step."""

    def __init__(self, batches: Sequence[Batch], measured: Sequence[Batch]) -> None:
        self._work = Work(list(batches), measured=list(measured))

    def next(self, step: int) -> Work:
        return self._work

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {}

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        pass


class _Loss(Quiet):
    """A log that remembers the loss."""

    loss = float("nan")

    def log(self, *, step: int, seconds: float, tokens: int, loss: float, **metrics: float) -> None:
        self.loss = loss


class _Unmoved(Optimizer):
    """Takes gradients as the optimiser does, and keeps them where it would move weights."""

    def __init__(self, module: Trainable, ranks: Ranks) -> None:
        super().__init__(module, OptimConfig(lr=0.0, steps=1), ranks)
        self._module.zero_grad()
        self.gradient = torch.empty(0)

    def step(self, step: int, norm: float) -> float:
        gradients = [p.grad for p in self._module.parameters() if p.grad is not None]
        self.gradient = torch.cat([self._ranks.whole(gradient).flatten() for gradient in gradients])
        self._module.zero_grad()
        return 0.0
