"""`burnish bench rl`: sampling, and steps of reinforcement learning, beside others'. Knows the kinds of work, their
prompts and their peers; runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.packing import require_fit
from burnish.models.sources import ALIAS, comes_of_gguf, resolve
from burnish.proof.bench.compare import WARMUP, Contest, Peer, Plan
from burnish.proof.bench.items import prompts, rows_for
from burnish.proof.bench.job import Item, Job
from burnish.proof.bench.settings import BF16, FP32, GENERATE, LLAMA, TRL, VLLM, Setting, first_tried
from burnish.proof.bench.training import require_trl
from burnish.records.files import located
from burnish.types import Progress

BATCH = 64
"""Prompts of a rollout, where nobody says."""
GROUP = 8
"""Answers to a prompt."""
SMALL, LARGE = 32, 128
"""Answers that a peer writes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One row of the table."""

    says: str
    program: str
    per_step: float = 1.0
    """Prompts of a step, as a share of those that were asked for; 0: one."""
    answers: int = GROUP

    def prompts(self, asked: int) -> int:
        """Prompts of a step."""
        return max(1, round(asked * self.per_step))


WORKS: Mapping[str, Work] = {
    "rollout": Work(says="sampling, 8 answers a prompt", program="rollouts"),
    "rollout-alone": Work(says="sampling, one answer alone", program="rollouts", per_step=0, answers=1),
    "grpo-step": Work(says="GRPO step, 8 answers a prompt, KL", program="policies", per_step=1 / 16),
    "ppo-step": Work(says="PPO step of the same size", program="policies", per_step=1 / 16),
}


def contests(model: str, base: Path, data: Path | None, plan: Plan, progress: Progress) -> list[Contest]:
    """One for each kind of work; its batch is prompts, of which a step of learning has a sixteenth. Arguments and
    errors as `training.contests` has them.
    """
    names, batch = plan.names(list(WORKS)), plan.batch or BATCH
    if plan.peer and "grpo-step" in names:
        require_trl()
    steps = WARMUP + plan.rounds
    rows = rows_for(data, steps * batch)
    folder = resolve(model, base, progress)
    renderer = Renderer(Tokenizer.load(folder))
    found: list[Contest] = []
    for name in names:
        work = WORKS[name]
        per_step = work.prompts(batch)
        job = Job(
            work=name,
            model=str(folder.resolve()),
            steps=steps,
            per_step=per_step,
            micro_tokens=plan.micro_tokens,
            items=prompts(rows, renderer, steps * per_step, plan.max_length - plan.new_tokens),
            answers=work.answers,
            new_tokens=plan.new_tokens,
            source=_source(model, base),
            kernels=plan.kernels,
        )
        if work.program == "policies":
            require_fit([_fullest(item, job) for item in job.items], plan.micro_tokens)
        found.append(
            Contest(
                job=job,
                says=work.says,
                program=work.program,
                peers=peers(job) if plan.peer else [],
                step={"prompts": per_step, "answers": per_step * work.answers},
            )
        )
    return found


def _fullest(item: Item, job: Job) -> Document:
    """The largest tree that a prompt may become."""
    return Document(row=item.row, ids=item.ids, branches=[[0] * job.new_tokens] * job.answers)


def _source(model: str, base: Path) -> str:
    if not comes_of_gguf(model, base):
        return ""
    return model if model == ALIAS else str(located(model, base).resolve())


def peers(job: Job) -> list[Peer]:
    """What a job's work is compared with."""
    match job.work:
        case "grpo-step":
            return [Peer(name=TRL, program="grpo", settings=[str(each) for each in first_tried()])]
        case "ppo-step":
            return [Peer(name="grpo", program="policies", settings=["grpo-step"])]
        case _:
            return [_generate(job), *_llama(job), *_vllm()]


def _generate(job: Job) -> Peer:
    """Number formats in a small batch, then a large one."""
    small, large = (min(count, job.per_step * job.answers) for count in (SMALL, LARGE))

    def further(best: str) -> Sequence[str]:
        return [str(replace(Setting.named(best), batch=large))] if large > small else []

    settings = [str(Setting(numbers, batch=small)) for numbers in (FP32, BF16)]
    return Peer(name=GENERATE, program="generate", settings=settings, further=further)


def _llama(job: Job) -> list[Peer]:
    """Where it is installed, and the model comes of a file that it reads."""
    if not job.source or find_spec("llama_cpp") is None:
        return []
    counts = sorted({min(count, job.per_step * job.answers) for count in (SMALL, LARGE)})
    return [Peer(name=LLAMA, program="llama", settings=[str(Setting(BF16, batch=count)) for count in counts])]


def _vllm() -> list[Peer]:
    """Where it is installed."""
    if find_spec("vllm") is None:
        return []
    return [Peer(name=VLLM, program="vllm", settings=[str(Setting(numbers)) for numbers in (FP32, BF16)])]
