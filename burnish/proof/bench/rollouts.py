"""Our side of sampling: a job's prompts answered by a stage's engine. Run as a program, with a job's file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from burnish.chat.tokenizer import Tokenizer
from burnish.models.arithmetic import settle
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype
from burnish.proof.bench import floor
from burnish.proof.bench.job import Job, read_job
from burnish.proof.bench.turns import Ended, Step, Turns, peak_mb, turns
from burnish.rollout.engine import Engine
from burnish.train.collection import Sampler
from burnish.types import Sampling

Groups = Sequence[tuple[int, Sequence[int]]]
"""Of each prompt of a step, its tokens and those of its answers."""


def answer(job: Job, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory and what the floor is made of."""
    settle(kernels=job.kernels)
    module = load_trainable(Path(job.model), dtype=pick_dtype("auto"))
    engine = Engine(module, end_ids=Tokenizer.load(Path(job.model)).end_ids)
    made = sampled(engine, job, told)
    peak = peak_mb()
    rates = Rates(module, job)
    told.tell(
        {
            "peak_mb": peak,
            "floor_seconds": [rates.sampling(groups) for groups in made],
            "gflops": rates.answers / 1e9,
            "gbytes": rates.machine.bandwidth / 1e9,
        }
    )


def sampled(sampler: Sampler, job: Job, told: Turns) -> list[Groups]:
    """All answers of each step, for as long as steps are asked for."""
    made: list[Groups] = []
    with suppress(Ended):
        told.ready()
        for step in range(job.steps):
            prompts = [item.ids for item in job.rows(step)]
            began = time.perf_counter()
            said = sampler.generate(prompts, Sampling(max_new_tokens=job.new_tokens, seed=step), job.answers)
            seconds = time.perf_counter() - began
            made.append([(len(ids), [len(a.ids) for a in row]) for ids, row in zip(prompts, said, strict=True)])
            told.done(Step(seconds=seconds, tokens=sum(sum(lengths) for _, lengths in made[-1])))
    return made


class Rates:
    """What this machine can do at the shapes of a job."""

    def __init__(self, module: Trainable, job: Job) -> None:
        like = next(module.backbone.parameters())
        self.sizes = floor.sizes_of(module)
        self._width = like.element_size()
        tokens = min(job.micro_tokens, sum(len(item.ids) for item in job.rows(0)))
        self.machine = floor.measure(self.sizes, tokens, 0, like)
        self.prompts = floor.operations_rate(self.sizes, tokens, 0, like, backward=False)
        at_once = job.per_step * job.answers
        self.answers = floor.operations_rate(self.sizes, at_once, at_once, like, backward=False)

    def sampling(self, groups: Groups) -> float:
        """Seconds that it takes at least: each step is bound by products or by memory."""
        prompts = sum(floor.prefill_operations(self.sizes, prompt) for prompt, _ in groups) / self.prompts
        return prompts + sum(
            max(operations / self.answers, read / self.machine.bandwidth)
            for operations, read in floor.decoding(self.sizes, groups, self._width)
        )


if __name__ == "__main__":
    with turns() as mine:
        answer(read_job(Path(sys.argv[1])), mine)
