"""What a frozen reference said of every target of a data set: computed once, kept on the disk, put into batches.

The reference reads the packs that training reads in its first pass. So at step 0, where policy and reference are the
same weights, their log-probabilities are the same numbers, and in later passes they differ by rounding at most.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from burnish.batches import Batch
from burnish.models import weights
from burnish.models.forward import Trainable
from burnish.records import durable
from burnish.train.feeds import DatasetFeed, Feed, Work
from burnish.train.objectives import predicted
from burnish.types import Progress, Silent

Logprobs = Mapping[str, Tensor]
"""Name of a document -> log-probabilities of its targets, fp32, in nats."""
_FILE = "logprobs.safetensors"


class ReferencedFeed:
    """A feed whose batches carry the reference's log-probabilities, as the extra ref_logprobs_N."""

    def __init__(self, feed: Feed, reference: Logprobs) -> None:
        self._feed = feed
        self._reference = reference

    def next(self, step: int) -> Work:
        work = self._feed.next(step)
        learned, measured = ([self._with_reference(batch) for batch in part] for part in (work.batches, work.measured))
        return replace(work, batches=learned, measured=measured)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return self._feed.state()

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._feed.load(values, tensors)

    def _with_reference(self, batch: Batch) -> Batch:
        return batch.with_extra(ref_logprobs_N=torch.cat([self._reference[row] for row in batch.rows]))


def reference_logprobs(
    module: Trainable,
    feed: DatasetFeed,
    folder: Path,
    *,
    save_every: int,
    progress: Progress | None = None,
    label: str = "reference",
) -> Logprobs:
    """Those of every document of a feed, read from `folder` as far as they lie there, else computed and written there.

    `folder` belongs to this module, with the weights and the type they are in, and to this feed (`DatasetFeed.digest`);
    the caller names it so. Every `save_every` steps a part is sealed: a kill costs no more.
    """
    progress = progress or Silent()
    known = _read(folder)
    if known.keys() >= feed.rows:
        return known
    progress.start(label, feed.steps_per_pass)
    for start in range(0, feed.steps_per_pass, save_every):
        steps = range(start, min(start + save_every, feed.steps_per_pass))
        fresh: dict[str, Tensor] = {}
        for step in steps:
            work = feed.next(step)
            for batch in (*work.batches, *work.measured):
                if not known.keys() >= set(batch.rows):
                    fresh = dict(_by_document(module, batch)) | fresh  # the first pass's, where a step reaches further
            progress.advance()
        fresh = {row: logprobs for row, logprobs in fresh.items() if row not in known}
        if fresh:
            with durable.folder(folder / f"steps-{start:08d}-{steps.stop:08d}") as aside:
                weights.write(aside / _FILE, fresh)
        known |= fresh
    progress.finish()
    return known


def _read(folder: Path) -> dict[str, Tensor]:
    """What lies there whole; a damaged part is removed, to be computed again."""
    durable.sweep(folder)
    found: dict[str, Tensor] = {}
    for part in sorted(folder.glob("steps-*")):
        if durable.whole(part):
            found |= load_file(part / _FILE)
        else:
            shutil.rmtree(part)
    return found


@torch.no_grad()
def _by_document(module: Trainable, batch: Batch) -> Iterator[tuple[str, Tensor]]:
    """Targets of a document stand together in a batch, in the documents' order."""
    module.eval()
    logprobs_N = predicted(module(batch))
    counts = torch.bincount(batch.prompt_B[batch.answer_N], minlength=len(batch.rows)).tolist()
    return zip(batch.rows, (part.clone() for part in logprobs_N.split(counts)), strict=True)
