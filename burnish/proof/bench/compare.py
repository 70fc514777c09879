"""Ours and a peer's in turn, on the same model and rows. Knows sides, rounds and trials; computes nothing itself, and
knows no kind of work.

Each side is a process of its own, and makes a step while the others wait: a machine that slows down slows all of them.
A peer's setting is chosen by trial, one step after one to warm up. One trial at a time: large processes that wait for
each other would have to fit into memory together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, MachineError, Problem, nearest
from burnish.proof.bench.job import Job, write_job
from burnish.proof.bench.report import Row, Run
from burnish.proof.bench.side import Killed, Side
from burnish.proof.bench.turns import Step
from burnish.types import KernelName, Progress

WARMUP = 2
"""Steps before the timed ones; of a peer's, the second is its trial."""
DROPPED = 1.15
"""A setting whose first step is so many times slower than that of the best one so far is tried no further."""
PATIENCE, LEAST = 2.0, 20.0
"""A first step may take so many times what the best setting's took, and so many seconds anyway: bfloat16 takes up to a
hundred times as long as fp32 on a processor that has no instructions for it, and cannot be the best then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be timed."""

    works: str | None
    """With commas; None: all that there are."""
    batch: int | None
    """Rows or prompts of a step; None: as many as is usual for the kind of work."""
    rounds: int
    """Timed steps of each side."""
    max_length: int
    """Longer rows (tokens, answers included) are left out."""
    micro_tokens: int
    """Token budget of our micro-batches."""
    new_tokens: int
    """Most of a sampled answer."""
    peer: bool
    """Whether others are timed too."""
    kernels: KernelName = "auto"
    """By which our side computes."""

    def names(self, known: Sequence[str]) -> list[str]:
        """The kinds of work. Raises ConfigError, naming every one that there is not."""
        names = [name.strip() for name in self.works.split(",")] if self.works else list(known)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(*(Problem("--works", f'"{name}"', nearest(name, list(known))) for name in unknown))
        return names


def _nothing(best: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What is compared with."""

    name: str
    """In messages, and before its figures in JSON where it is not the first."""
    program: str
    """A module of this package. It is given the job's file, the peer's name and a setting."""
    settings: Sequence[str]
    """All are tried."""
    further: Callable[[str], Sequence[str]] = _nothing
    """Others to be tried when the best of them is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One kind of work, and who does it."""

    job: Job
    says: str
    """What the work is, in a table."""
    program: str
    """Ours: a module of this package, given the job's file."""
    peers: Sequence[Peer]
    """The first is the one that the ratio is of."""
    step: Mapping[str, float]
    """What a step is made of, for the report."""


def compare(title: str, contests: Sequence[Contest], rounds: int, progress: Progress) -> Iterator[Row]:
    """A row for each contest as soon as it is known, of so many timed steps of each side.

    Raises: MachineError where a side's process ends early.
    """
    progress.start(title, len(contests))
    for contest in contests:
        with tempfile.TemporaryDirectory() as scratch:
            yield _Comparison(contest, rounds, Path(scratch), progress).row()
        progress.advance(1)
    progress.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What came of a peer's trials."""

    setting: str
    """The fastest."""
    rates: Mapping[str, float | None]
    """Useful tokens a second of each setting; None where it was ended: memory was short, or its first step took too
    long."""


class _Comparison:
    """One contest."""

    def __init__(self, contest: Contest, rounds: int, scratch: Path, progress: Progress) -> None:
        self._contest = contest
        self._rounds = rounds
        self._scratch = scratch
        self._progress = progress
        self._file = scratch / "job.json"
        write_job(self._file, contest.job)

    def row(self) -> Row:
        contest, peers = self._contest, self._contest.peers
        tries = WARMUP * sum(len(peer.settings) + len(peer.further(peer.settings[0])) for peer in peers)
        self._progress.start(contest.job.work, tries + (WARMUP + self._rounds) * (1 + len(peers)))
        with ExitStack() as stack:
            ours = stack.enter_context(self._side(contest.program))
            ours.ready()
            for _ in range(WARMUP):
                self._step(ours, "ours")
            tried = {peer.name: self._tried(peer) for peer in peers}
            sides = {peer.name: self._warm(stack, peer, tried[peer.name].setting) for peer in peers}
            for _ in range(self._rounds):
                self._step(ours, "ours")
                for name, side in sides.items():
                    self._step(side, name)
            said = ours.end()
            runs = {name: _run(side, side.end(), tried[name]) for name, side in sides.items()}
        self._progress.finish()
        shares = [least / step.seconds for least, step in zip(said["floor_seconds"], ours.made, strict=True)]
        return Row(
            work=contest.job.work,
            says=contest.says,
            ours=_run(ours, said, None),
            peers=runs,
            floor_shares=shares[WARMUP:],
            machine={name: round(said[name], 1) for name in ("gflops", "gbytes")},
            kernels=contest.job.kernels,
            step={**contest.step, "useful_tokens": ours.made[WARMUP].tokens},
        )

    def _tried(self, peer: Peer) -> _Tried:
        """A peer's settings by trial."""
        made: dict[str, Step | None] = {}
        for setting in peer.settings:
            made[setting] = self._trial(peer, setting, made)
        for setting in peer.further(_fastest(peer, made)):
            made[setting] = self._trial(peer, setting, made)
        rates = {setting: step.rate if step else None for setting, step in made.items()}
        return _Tried(setting=_fastest(peer, made), rates=rates)

    def _trial(self, peer: Peer, setting: str, before: Mapping[str, Step | None]) -> Step | None:
        """The second step; the first where that is far behind the best before."""
        label = f"{peer.name}, {setting}"
        best = max((step for step in before.values() if step), key=lambda step: step.rate, default=None)
        patience = max(LEAST, PATIENCE * best.seconds) if best else None
        try:
            with self._side(peer.program, peer.name, setting) as side:
                side.ready()
                first = self._step(side, label, patience)
                if best and DROPPED * first.rate < best.rate:
                    self._progress.advance(WARMUP - 1)
                    return first
                return self._step(side, label)
        except Killed:
            return None

    def _warm(self, stack: ExitStack, peer: Peer, setting: str) -> Side:
        """A process of the peer's with that setting, warmed up."""
        side = stack.enter_context(self._side(peer.program, peer.name, setting))
        side.ready()
        for _ in range(WARMUP):
            self._step(side, peer.name)
        return side

    def _side(self, program: str, *arguments: str) -> Side:
        log = self._scratch / f"{'-'.join([program, *arguments])}.log"
        return Side(f"burnish.proof.bench.{program}", [str(self._file), *arguments], log)

    def _step(self, side: Side, label: str, patience: float | None = None) -> Step:
        self._progress.advance(0, label)
        made = side.step(patience)
        self._progress.advance(1, label)
        return made


def _fastest(peer: Peer, tried: Mapping[str, Step | None]) -> str:
    made = {setting: step.rate for setting, step in tried.items() if step}
    if not made:
        mend = "Where memory ran out: a smaller --batch or --max-length. Without peers: --no-peer."
        raise MachineError(Problem(peer.name, "the system ended it in every setting that was tried", mend))
    return max(made, key=made.__getitem__)


def _run(side: Side, said: dict[str, Any], tried: _Tried | None) -> Run:
    return Run(
        steps=side.made[WARMUP:],
        peak_mb=said["peak_mb"],
        setting=tried.setting if tried else "",
        tried=tried.rates if tried else {},
    )
