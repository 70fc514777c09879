"""What both sides of a comparison are told: one file of token ids, the same for both. Knows documents and JSON; knows
no model and no trainer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from burnish.batches import Document
from burnish.data.order import rows_of_step
from burnish.records import durable
from burnish.types import KernelName

SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A row: a conversation, or a prompt with ranked answers, as token ids."""

    row: str
    ids: list[int]
    weights: list[float] | None = None
    """Of a conversation: which tokens are learned."""
    branches: list[list[int]]
    ranks: list[int]
    """1 is best."""

    @property
    def document(self) -> Document:
        return Document(row=self.row, ids=self.ids, weights=self.weights, branches=self.branches)

    @property
    def labels(self) -> list[int]:
        """A conversation's token ids, and -100 where nothing is learned."""
        weights = self.weights or [0.0] * len(self.ids)
        return [token if weight else -100 for token, weight in zip(self.ids, weights, strict=True)]

    def pairs(self) -> list[tuple[list[int], list[int]]]:
        """Every (better, worse) pair of answers: what a trainer of pairs is given of a ranking."""
        placed = sorted(zip(self.ranks, self.branches, strict=True), key=lambda each: each[0])
        return [(better, worse) for (low, better), (high, worse) in combinations(placed, 2) if low < high]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One kind of work on one model: `steps` steps of `per_step` rows each, in an order that is fixed."""

    work: str
    model: str
    """A folder."""
    steps: int
    per_step: int
    micro_tokens: int
    """Token budget of our micro-batches."""
    items: list[Item]
    answers: int = 0
    """To be sampled to each row, which is a prompt then."""
    new_tokens: int = 0
    """Most of such an answer."""
    source: str = ""
    """The model by the name that was asked for, where it comes of a GGUF file."""
    kernels: KernelName = "auto"
    """By which our side computes."""

    def rows(self, step: int) -> list[Item]:
        """The rows of a step, as `burnish.train.feeds.DatasetFeed` takes them."""
        return [self.items[row] for row in rows_of_step(step, len(self.items), self.per_step, SEED)]

    def useful(self, step: int) -> int:
        """Tokens of a step as the rows are given: a prompt counts for each of its answers."""
        return sum(item.document.spelled_out for item in self.rows(step))


def write_job(path: Path, job: Job) -> None:
    durable.write_json(path, asdict(job))


def read_job(path: Path) -> Job:
    found: dict[str, Any] = json.loads(path.read_bytes())
    rows: Sequence[dict[str, Any]] = found.pop("items")
    return Job(items=[Item(**row) for row in rows], **found)
