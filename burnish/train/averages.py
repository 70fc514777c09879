"""Which weights a run keeps, where they are not simply the last ones: averages over its steps, or with its start.

Knows fp32 weights by name; knows no loop. Two averages, in this order where both are asked for:

`ema`, d: over the steps, e_t = Σ_i d^(t-i) θ_i / Σ_i d^(t-i), i = 1..t (Polyak and Juditsky 1992 for averaging; the
division is Adam's bias correction, Kingma and Ba 2015, section 3). So the start is no part of it, and a run that is
short beside 1/(1-d) steps keeps the plain mean of its weights rather than hardly moved ones.

`start`, w: w θ_0 + (1-w) θ (WiSE-FT, Wortsman et al. 2022; WARP's interpolation towards the initialisation, Ramé et al.
2024). It gives back some of what fine-tuning made the model forget.

An adapter's weights are a product B A with B = 0 at the start. The interpolation with the start is exact if A stays and
B alone is interpolated: W + (1-w) s B A. Interpolating both would give (1-w) s B ((1-w) A + w A_0), another product.
The average over the steps has no such way: that of products has a higher rank than the adapter. It is taken of A and B,
as is usual, and equals the average of products only as far as one of them stands still.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from burnish.train.optim import Optimizer

Weights = dict[str, Tensor]
"""fp32, by name."""


class Averages:
    """The weights to keep. Made before the first step, and before a checkpoint is read: it remembers the start."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        ema: float | None = None,
        start: float | None = None,
        factors: Collection[str] = (),
    ) -> None:
        """`ema`: d, None for the last weights. `start`: the start's share w. `factors`: names of weights that stay as
        they are in the interpolation, being multiplied by others that began at zero.
        """
        self._optimizer = optimizer
        self._ema = ema
        self._share = start or 0.0
        moved = {name: w for name, w in optimizer.weights.items() if self._share and name not in factors}
        self._start = copied(moved)
        self._mean: Weights = {}

    @property
    def _averaging(self) -> bool:
        return self._ema is not None or bool(self._share)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update number `step` (0 is the first)."""
        if self._ema is None:
            return
        if not self._mean:
            self._mean = copied(self._optimizer.weights)
        weight = (1 - self._ema) / (1 - self._ema ** (step + 1))
        for name, now in self._optimizer.weights.items():
            self._mean[name].lerp_(now, weight)

    @torch.no_grad()
    def kept(self) -> Weights:
        """The weights that would be kept now; where nothing is averaged those that train, no copies."""
        if not self._averaging:
            return self._optimizer.weights
        found = copied(self._mean or self._optimizer.weights)
        for name, start in self._start.items():
            found[name].lerp_(start, self._share)
        return found

    @contextmanager
    def inside(self) -> Generator[None]:
        """The module has the weights to keep inside, and those that train again after it, to the bit."""
        if not self._averaging:
            yield
            return
        training = copied(self._optimizer.weights)
        self._optimizer.put(self.kept())
        try:
            yield
        finally:
            self._optimizer.put(training)

    def state(self) -> tuple[dict[str, Any], Weights]:
        return {}, self._mean

    def load(self, values: dict[str, Any], tensors: Weights) -> None:
        self._mean = self._optimizer.parts(tensors)


def copied(weights: Weights) -> Weights:
    """The same values in tensors of their own."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
