"""Our side: a job done as a stage does it, with the same functions and nothing tuned. Run as a program, with a job's
file.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from burnish.models.arithmetic import settle
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype
from burnish.models.lora import adapt
from burnish.proof.bench import floor
from burnish.proof.bench.job import SEED, Job, read_job
from burnish.proof.bench.turns import Ended, Step, Turns, peak_mb, settled, turns
from burnish.proof.bench.works import WORKS, Work
from burnish.train.feeds import DatasetFeed, Feed
from burnish.train.loop import FitConfig, fit
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.references import ReferencedFeed, reference_logprobs


class TurnLog:
    """A metrics log that tells of each step and holds the loop until the next is asked for."""

    def __init__(self, told: Turns, made: Callable[[int, float, float, Mapping[str, float]], Step]) -> None:
        """`made` of number, seconds, loss and metrics of a step."""
        self._turns = told
        self._made = made

    def log(self, *, step: int, seconds: float, tokens: int, loss: float, **metrics: float) -> None:
        self._turns.done(self._made(step, seconds + settled(), loss, metrics))

    def rewind(self, step: int) -> None:
        pass


def train(job: Job, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory and what the floor is made of."""
    work = WORKS[job.work]
    settle(kernels=job.kernels)
    torch.manual_seed(SEED)
    module = load_trainable(Path(job.model), dtype=pick_dtype("auto"), lm=not work.score, score=work.score)
    if work.lora is not None:
        adapt(module, work.lora, seed=SEED)
    documents = [item.document for item in job.items]
    ranks = [item.ranks for item in job.items] if work.answers else None
    dataset = DatasetFeed(documents, per_step=job.per_step, micro_tokens=job.micro_tokens, seed=SEED, ranks=ranks)
    feed, before = _referenced(module, dataset, work)

    def made(step: int, seconds: float, loss: float, metrics: Mapping[str, float]) -> Step:
        return Step(seconds=seconds + before, tokens=job.useful(step), loss=loss)

    optimizer = Optimizer(module, OptimConfig(lr=work.lr, steps=job.steps, schedule="constant"))
    with suppress(Ended):
        told.ready()
        fit(
            module,
            feed,
            work.objective(),
            optimizer,
            FitConfig(steps=job.steps, seed=SEED),
            log=TurnLog(told, made),
        )
    peak = peak_mb()
    told.tell({"peak_mb": peak, **_floor(job, work, module, dataset)})


def _referenced(module: Trainable, feed: DatasetFeed, work: Work) -> tuple[Feed, float]:
    """The feed, with what the reference said where the work has one, and the seconds that it took for each step."""
    if not work.referenced:
        return feed, 0.0
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        said = reference_logprobs(module, feed, Path(folder) / "references", save_every=50)
        return ReferencedFeed(feed, said), (time.perf_counter() - began) / feed.steps_per_pass


def _floor(job: Job, work: Work, module: Trainable, feed: DatasetFeed) -> dict[str, Any]:
    """The floor of each step, in seconds, and what it follows from."""
    sizes = floor.sizes_of(module)
    packs = feed.next(0).batches
    rows = round(sum(batch.tokens for batch in packs) / len(packs))
    learned = round(sum(batch.target_N.numel() for batch in packs) / len(packs))
    machine = floor.measure(sizes, rows, min(learned, module.chunk), next(module.backbone.parameters()))
    operations = [
        floor.training_operations(sizes, [item.document for item in job.rows(step)], work.passes)
        for step in range(job.steps)
    ]
    return {
        "floor_seconds": [machine.seconds(each, sizes.trained) for each in operations],
        "gflops": machine.operations / 1e9,
        "gbytes": machine.bandwidth / 1e9,
    }


if __name__ == "__main__":
    with turns() as mine:
        train(read_job(Path(sys.argv[1])), mine)
