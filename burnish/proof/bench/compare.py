"""`burnish bench train`: our training and TRL's in turn, on the same model and rows. Knows sides, rounds and trials;
computes nothing itself.

Each side is a process of its own, and makes a step while the others wait: a machine that slows down slows all of them.
A peer's setting is chosen by trial, one step after one to warm up; the process that won goes on with the timed rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.packing import require_fit
from burnish.errors import ConfigError, MachineError, Problem, nearest
from burnish.models.load import resolve
from burnish.proof.bench.items import items, rows_for
from burnish.proof.bench.job import Job, write_job
from burnish.proof.bench.report import Row, Run
from burnish.proof.bench.settings import MICRO_ROWS, TRAINER, TRL, Setting, first_tried
from burnish.proof.bench.side import Side
from burnish.proof.bench.works import WORKS
from burnish.types import Progress

WARMUP = 2
"""Steps before the timed ones; of a peer's, the second is its trial."""
DROPPED = 1.15
"""A setting whose first step takes so many times that of the best one so far is tried no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be timed."""

    works: Sequence[str]
    batch: int
    """Rows of a step."""
    rounds: int
    """Timed steps of each side."""
    max_length: int
    """Longer rows (tokens) are left out."""
    micro_tokens: int
    """Token budget of our micro-batches."""
    peer: bool
    """Whether TRL is timed too."""


def compare(model: str, base: Path, data: Path | None, plan: Plan, progress: Progress) -> list[Row]:
    """A row for each kind of work. `base` is what relative paths of models are relative to; without `data` the rows are
    our own.

    Raises: ConfigError for unknown work, DataError for unusable data, ModelError for no model, MachineError where TRL
    is asked for and missing, or a side's process ends early.
    """
    unknown = [name for name in plan.works if name not in WORKS]
    if unknown:
        raise ConfigError(*(Problem("--works", f'"{name}"', nearest(name, list(WORKS))) for name in unknown))
    if plan.peer and find_spec("trl") is None:
        mend = "Try: pip install 'burnish[bench]', or time burnish alone with --no-peer."
        raise MachineError(Problem("trl", "not installed, so that there is nothing to compare with", mend))
    if plan.peer and plan.batch > MICRO_ROWS and plan.batch % MICRO_ROWS:
        fair = plan.batch // MICRO_ROWS * MICRO_ROWS
        said = f"{plan.batch}, of which TRL would make micro-batches smaller than its {MICRO_ROWS} rows"
        raise ConfigError(Problem("--batch", said, f"Try --batch {fair}."))
    steps = WARMUP + plan.rounds
    rows = rows_for(data, steps * plan.batch)
    folder = resolve(model, base, progress)
    renderer = Renderer(Tokenizer.load(folder))
    jobs = [
        Job(
            work=name,
            model=str(folder.resolve()),
            steps=steps,
            per_step=(per_step := WORKS[name].rows(plan.batch)),
            micro_tokens=plan.micro_tokens,
            items=items(rows, renderer, WORKS[name].answers, steps * per_step, plan.max_length),
        )
        for name in plan.works
    ]
    for job in jobs:
        require_fit([item.document for item in job.items], plan.micro_tokens)
    progress.start("bench train", len(jobs))
    found: list[Row] = []
    for job in jobs:
        with tempfile.TemporaryDirectory() as scratch:
            found.append(_Comparison(job, plan, Path(scratch), progress).row())
        progress.advance(1)
    progress.finish()
    return found


class _Comparison:
    """One kind of work."""

    def __init__(self, job: Job, plan: Plan, scratch: Path, progress: Progress) -> None:
        self._job = job
        self._plan = plan
        self._scratch = scratch
        self._progress = progress
        self._file = scratch / "job.json"
        write_job(self._file, job)

    def row(self) -> Row:
        libraries = _libraries(self._job.work) if self._plan.peer else ()
        tries = sum(WARMUP * len(self._settings(library)) for library in libraries)
        self._progress.start(self._job.work, tries + WARMUP + self._plan.rounds * (1 + len(libraries)))
        with ExitStack() as stack:
            ours = stack.enter_context(self._side("ours"))
            ours.ready()
            for _ in range(WARMUP):
                self._step(ours, "ours")
            peers = {library: self._tried(library, stack) for library in libraries}
            for _ in range(self._plan.rounds):
                self._step(ours, "ours")
                for library, peer in peers.items():
                    self._step(peer.side, library)
            said = ours.end()
            runs = {library: self._run(peer.side, peer.side.end(), peer) for library, peer in peers.items()}
        self._progress.finish()
        shares = [least / step.seconds for least, step in zip(said["floor_seconds"], ours.made, strict=True)]
        return Row(
            work=self._job.work,
            ours=self._run(ours, said, None),
            peer=runs.get(TRL),
            trainer=runs.get(TRAINER),
            floor_shares=shares[WARMUP:],
            machine={"gflops": round(said["gflops"], 1), "gbytes": round(said["gbytes"], 1)},
            step={"rows": self._job.per_step, "useful_tokens": self._job.useful(WARMUP)},
        )

    def _settings(self, library: str) -> list[Setting]:
        """All that may be tried."""
        first = first_tried(library)
        return [*first, replace(first[0], packed=True)] if self._packs(library) else list(first)

    def _packs(self, library: str) -> bool:
        return library == TRL and not WORKS[self._job.work].answers

    def _tried(self, library: str, stack: ExitStack) -> _Tried:
        """A library at its best: number formats first, then packing with the best of them."""
        best: _Tried | None = None
        for setting in first_tried(library):
            best = self._better(best, library, setting, stack)
        assert best is not None
        if self._packs(library):
            best = self._better(best, library, replace(best.setting, packed=True), stack)
        return best

    def _better(self, best: _Tried | None, library: str, setting: Setting, stack: ExitStack) -> _Tried:
        """Of the best so far and a new setting; the other one's process is ended."""
        side = stack.enter_context(self._side("peer", library, str(setting)))
        side.ready()
        first = self._step(side, f"{library}, {setting}")
        if best is not None and first > DROPPED * best.side.made[0].seconds:
            side.stop()
            self._progress.advance(WARMUP - 1)
            return replace(best, rates={**best.rates, str(setting): self._job.useful(0) / first})
        second = self._step(side, f"{library}, {setting}")
        rates = {**(best.rates if best else {}), str(setting): self._job.useful(1) / second}
        if best is not None and second >= best.side.made[1].seconds:
            side.stop()
            return replace(best, rates=rates)
        if best is not None:
            best.side.stop()
        return _Tried(setting=setting, side=side, rates=rates)

    def _side(self, program: str, *arguments: str) -> Side:
        log = self._scratch / f"{'-'.join([program, *arguments])}.log"
        return Side(f"burnish.proof.bench.{program}", [str(self._file), *arguments], log)

    def _step(self, side: Side, label: str) -> float:
        """Seconds."""
        self._progress.advance(0, label)
        made = side.step()
        self._progress.advance(1, label)
        return made.seconds

    def _run(self, side: Side, said: dict[str, Any], tried: _Tried | None) -> Run:
        timed = list(enumerate(side.made))[WARMUP:]
        return Run(
            rates=[self._job.useful(number) / step.seconds for number, step in timed],
            losses=[step.loss for _, step in timed],
            peak_mb=said["peak_mb"],
            setting=str(tried.setting) if tried else "",
            tried=tried.rates if tried else {},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """The best setting of a library so far, and the process that has it."""

    setting: Setting
    side: Side
    rates: dict[str, float]
    """Useful tokens a second of each setting tried."""


def _libraries(work: str) -> Sequence[str]:
    """TRL always; for the plainest of works the trainer that TRL's are made of, too."""
    return (TRL, TRAINER) if work == "sft" else (TRL,)
