"""Feeds: where the micro-batches of the next optimiser step come from. Knows documents; knows no objective.

A feed may add tensors to its batches (`Batch.extra`); frozen models live in feeds, never in objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.data.order import rows_of_step
from burnish.data.packing import best_fit


@dataclass(frozen=True, slots=True)
class Work:
    """The micro-batches of one optimiser step, and what was measured while they were made."""

    batches: list[Batch]
    metrics: dict[str, float] = field(default_factory=dict[str, float])


class Feed(Protocol):
    """Endless steps of work, resumable."""

    def next(self, step: int) -> Work:
        """The work of optimiser step `step`. Steps are asked for in order, each once."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a resumed feed needs besides the step: JSON values and tensors."""
        ...

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None: ...


class DatasetFeed:
    """Documents in shuffled passes. Its place is a function of the step, so it has no state of its own."""

    def __init__(
        self,
        documents: Sequence[Document],
        *,
        per_step: int,
        micro_tokens: int,
        seed: int,
        ranks: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """`ranks`: for each document the ranks of its answers (1 is best); they become the extra ranks_B."""
        self._documents = documents
        self._ranks = {d.row: r for d, r in zip(documents, ranks, strict=True)} if ranks is not None else None
        self._per_step = per_step
        self._micro_tokens = micro_tokens
        self._seed = seed

    def next(self, step: int) -> Work:
        rows = rows_of_step(step, len(self._documents), self._per_step, self._seed)
        bins = best_fit([self._documents[row] for row in rows], self._micro_tokens)
        return Work([self._batch(documents) for documents in bins])

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {}

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        pass

    def _batch(self, documents: list[Document]) -> Batch:
        batch = pack(documents)
        if self._ranks is None:
            return batch
        return batch.with_extra(ranks_B=torch.tensor([rank for d in documents for rank in self._ranks[d.row]]))
