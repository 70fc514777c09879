"""Trained reward models as scorers of packed answers. Knows modules with a score head; knows no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.models.forward import Trainable


@dataclass(frozen=True, slots=True)
class ModelReward:
    """Scores shifted and scaled to mean 0 and standard deviation 1 on answers of the model it judges."""

    module: Trainable
    mean: float = 0.0
    std: float = 1.0

    @torch.no_grad()
    def scores(self, batch: Batch) -> Tensor:
        """One normalised score an answer. Shape B."""
        self.module.eval()
        scores_B = self.module(batch).scores_B
        assert scores_B is not None, "a reward model needs a score head"
        return (scores_B - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class EnsembleReward:
    """The mean of several reward models' normalised scores.

    A mistake that one model makes alone counts less. The mean is the plainest rule of Coste et al. 2023, who find the
    worst case and the mean less the spread to hold longer against optimisation.
    """

    members: tuple[ModelReward, ...]

    def scores(self, batch: Batch) -> Tensor:
        """One score an answer. Shape B."""
        return torch.stack([member.scores(batch) for member in self.members]).mean(0)


def normalised(module: Trainable, batches: Sequence[Batch]) -> ModelReward:
    """A ModelReward whose scores have mean 0 and standard deviation 1 (biased) over the answers of `batches`."""
    raw = ModelReward(module)
    scores_B = torch.cat([raw.scores(batch) for batch in batches])
    std = float(scores_B.std(unbiased=False))
    return ModelReward(module, float(scores_B.mean()), std if std > 0 else 1.0)
