"""`burnish bench train`: training beside TRL's. Knows the kinds of work, their rows and their peers; runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.packing import require_fit
from burnish.errors import ConfigError, MachineError, Problem
from burnish.models.sources import resolve
from burnish.proof.bench.compare import WARMUP, Contest, Peer, Plan
from burnish.proof.bench.items import items, rows_for
from burnish.proof.bench.job import Job
from burnish.proof.bench.settings import MICRO_ROWS, TRAINER, TRL, Setting, first_tried
from burnish.proof.bench.works import WORKS
from burnish.types import Progress

BATCH = 8
"""Rows of a step, where nobody says."""


def require_trl() -> None:
    """Raises MachineError where there is no TRL."""
    if find_spec("trl") is None:
        mend = "Try: pip install 'burnish[bench]', or time burnish alone with --no-peer."
        raise MachineError(Problem("trl", "not installed, so that there is nothing to compare with", mend))


def contests(model: str, base: Path, data: Path | None, plan: Plan, progress: Progress) -> list[Contest]:
    """One for each kind of work. `base` is what relative paths of models are relative to; without `data` the rows are
    our own.

    Raises: ConfigError for unknown work, DataError for unusable data, ModelError for no model, MachineError where TRL
    is asked for and missing.
    """
    names, batch = plan.names(list(WORKS)), plan.batch or BATCH
    if plan.peer:
        require_trl()
    if plan.peer and batch > MICRO_ROWS and batch % MICRO_ROWS:
        fair = batch // MICRO_ROWS * MICRO_ROWS
        said = f"{batch}, of which TRL would make micro-batches smaller than its {MICRO_ROWS} rows"
        raise ConfigError(Problem("--batch", said, f"Try --batch {fair}."))
    steps = WARMUP + plan.rounds
    rows = rows_for(data, steps * batch)
    folder = resolve(model, base, progress)
    renderer = Renderer(Tokenizer.load(folder))
    found: list[Contest] = []
    for name in names:
        work = WORKS[name]
        per_step = work.rows(batch)
        job = Job(
            work=name,
            model=str(folder.resolve()),
            steps=steps,
            per_step=per_step,
            micro_tokens=plan.micro_tokens,
            items=items(rows, renderer, work.answers, steps * per_step, plan.max_length),
            kernels=plan.kernels,
        )
        require_fit([item.document for item in job.items], plan.micro_tokens)
        peers = _peers(name) if plan.peer else []
        found.append(Contest(job=job, says=work.says, program="ours", peers=peers, step={"rows": per_step}))
    return found


def _peers(work: str) -> list[Peer]:
    """TRL always; for the plainest of works the trainer that TRL's are made of, too."""
    libraries = (TRL, TRAINER) if work == "sft" else (TRL,)
    return [
        Peer(
            name=library,
            program="peer",
            settings=[str(each) for each in first_tried()],
            further=_packed if library == TRL and not WORKS[work].answers else lambda best: (),
        )
        for library in libraries
    ]


def _packed(best: str) -> Sequence[str]:
    return [str(replace(Setting.named(best), packed=True))]
