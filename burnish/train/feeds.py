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
from burnish.errors import DataError, Problem
from burnish.records.durable import digest_value


@dataclass(frozen=True, slots=True)
class Work:
    """The micro-batches of one optimiser step, and figures of their making."""

    batches: list[Batch]
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    measured: list[Batch] = field(default_factory=list[Batch])
    """What an objective's `prepare` reads before the step; nothing is learned from it."""
    appended: int = 0
    """How many of the batches, the last ones, are learned beside the feed's own. On one rank, `grad_norm/own` is the
    gradient's norm without them."""
    fillers: list[Batch] = field(default_factory=list[Batch])
    """Learned with weight 0, so that a rank passes the model as often as the others."""
    measured_fillers: list[Batch] = field(default_factory=list[Batch])
    """Passed for the same reason, and not measured."""


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
        strengths: Sequence[Sequence[float]] | None = None,
        desirable: Sequence[Sequence[bool]] | None = None,
        measured: Sequence[Document] = (),
        spread: int = 1,
    ) -> None:
        """`ranks`: for each document the ranks of its answers (1 is best); they become the extra ranks_B.

        `strengths`: how good each answer is called, by whose differences pairs are kept apart; extra strength_B.
        `desirable`: whether its answers are good ones; extra desirable_B. `measured`: for each document one that is
        measured at every step that learns it (`Work.measured`). `spread`: micro-batches are as many for each of so many
        ranks, and nearly equal, where there are documents enough.
        """
        self._documents = documents
        self._labels = {
            name: {d.row: each for d, each in zip(documents, labels, strict=True)}
            for name, labels in (("ranks_B", ranks), ("strength_B", strengths), ("desirable_B", desirable))
            if labels is not None
        }
        self._measured = measured
        self._per_step = per_step
        self._micro_tokens = micro_tokens
        self._seed = seed
        self._spread = spread

    @property
    def rows(self) -> set[str]:
        """Names of the documents."""
        return {document.row for document in (*self._documents, *self._measured)}

    @property
    def steps_per_pass(self) -> int:
        """Steps after which every document was there once; the last may reach into the next pass."""
        return -(-len(self._documents) // self._per_step)

    def digest(self) -> str:
        """SHA-256 of the documents and of all that decides in which micro-batches they lie."""
        documents = [
            [d.row, list(d.ids), d.weights, [list(branch) for branch in d.branches], d.branch_weights]
            for d in (*self._documents, *self._measured)
        ]
        return digest_value([documents, self._per_step, self._micro_tokens, self._seed, self._spread])

    def next(self, step: int) -> Work:
        rows = rows_of_step(step, len(self._documents), self._per_step, self._seed)
        learned, measured = (
            best_fit([each[row] for row in rows] if each else [], self._micro_tokens, self._spread)
            for each in (self._documents, self._measured)
        )
        return Work([self._batch(part) for part in learned], measured=[pack(part) for part in measured])

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {}

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        pass

    def _batch(self, documents: list[Document]) -> Batch:
        labels = {
            name: torch.tensor([label for d in documents for label in by_row[d.row]])
            for name, by_row in self._labels.items()
        }
        return pack(documents).with_extra(**labels)


def mismatched(documents: Sequence[Document], longest: int | None = None) -> list[Document]:
    """For each document its prompt with the first answer of the next document that has another prompt.

    They belong to the documents, not to a batch: whatever is measured on them is the same for every cut into
    micro-batches, and what a reference said of them can be kept. With `longest`, an answer is cut where the two would
    be more tokens than that: no row of the user's is to blame. Raises DataError where all prompts are the same.
    """
    found: list[Document] = []
    for place, document in enumerate(documents):
        following = (documents[(place + ahead) % len(documents)] for ahead in range(1, len(documents)))
        other = next((each for each in following if list(each.ids) != list(document.ids)), None)
        if other is None:
            raise DataError(Problem(document.row, "every row has the same prompt", "Give rows with different prompts."))
        answer = other.branches[0] if longest is None else other.branches[0][: max(1, longest - len(document.ids))]
        found.append(Document(row=f"{document.row} mismatched", ids=document.ids, branches=[answer]))
    return found
