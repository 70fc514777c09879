"""Ours and a peer's in turn, on the same model and rows. Knows sides, rounds and trials; computes nothing itself, and
knows no kind of work.

Each side is a process of its own, and makes a step while the others wait: a machine that slows down slows all of them.
A peer's setting is chosen by trial, one step after one to warm up; the process that won goes on with the timed rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, Problem, nearest
from burnish.proof.bench.job import Job, write_job
from burnish.proof.bench.report import Row, Run
from burnish.proof.bench.side import Side
from burnish.types import Progress

WARMUP = 2
"""Steps before the timed ones; of a peer's, the second is its trial."""
DROPPED = 1.15
"""A setting whose first step is so many times slower than that of the best one so far is tried no further."""


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


def compare(title: str, contests: Sequence[Contest], rounds: int, progress: Progress) -> list[Row]:
    """A row for each contest, of so many timed steps of each side.

    Raises: MachineError where a side's process ends early.
    """
    progress.start(title, len(contests))
    found: list[Row] = []
    for contest in contests:
        with tempfile.TemporaryDirectory() as scratch:
            found.append(_Comparison(contest, rounds, Path(scratch), progress).row())
        progress.advance(1)
    progress.finish()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """The best setting of a peer so far, and the process that has it."""

    setting: str
    side: Side
    rates: dict[str, float]
    """Useful tokens a second of each setting tried."""


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
        self._progress.start(contest.job.work, tries + WARMUP + self._rounds * (1 + len(peers)))
        with ExitStack() as stack:
            ours = stack.enter_context(self._side(contest.program))
            ours.ready()
            for _ in range(WARMUP):
                self._step(ours, "ours")
            tried = {peer.name: self._tried(peer, stack) for peer in peers}
            for _ in range(self._rounds):
                self._step(ours, "ours")
                for name, peer in tried.items():
                    self._step(peer.side, name)
            said = ours.end()
            runs = {name: _run(peer.side, peer.side.end(), peer) for name, peer in tried.items()}
        self._progress.finish()
        shares = [least / step.seconds for least, step in zip(said["floor_seconds"], ours.made, strict=True)]
        return Row(
            work=contest.job.work,
            says=contest.says,
            ours=_run(ours, said, None),
            peers=runs,
            floor_shares=shares[WARMUP:],
            machine={name: round(said[name], 1) for name in ("gflops", "gbytes")},
            step={**contest.step, "useful_tokens": ours.made[WARMUP].tokens},
        )

    def _tried(self, peer: Peer, stack: ExitStack) -> _Tried:
        """A peer at its best."""
        best: _Tried | None = None
        for setting in peer.settings:
            best = self._better(best, peer, setting, stack)
        assert best is not None
        for setting in peer.further(best.setting):
            best = self._better(best, peer, setting, stack)
        return best

    def _better(self, best: _Tried | None, peer: Peer, setting: str, stack: ExitStack) -> _Tried:
        """Of the best so far and a new setting; the other one's process is ended."""
        side = stack.enter_context(self._side(peer.program, peer.name, setting))
        side.ready()
        first = self._step(side, f"{peer.name}, {setting}")
        if best is not None and DROPPED * first < best.side.made[0].rate:
            side.stop()
            self._progress.advance(WARMUP - 1)
            return replace(best, rates={**best.rates, setting: first})
        second = self._step(side, f"{peer.name}, {setting}")
        rates = {**(best.rates if best else {}), setting: second}
        if best is not None and second <= best.side.made[1].rate:
            side.stop()
            return replace(best, rates=rates)
        if best is not None:
            best.side.stop()
        return _Tried(setting=setting, side=side, rates=rates)

    def _side(self, program: str, *arguments: str) -> Side:
        log = self._scratch / f"{'-'.join([program, *arguments])}.log"
        return Side(f"burnish.proof.bench.{program}", [str(self._file), *arguments], log)

    def _step(self, side: Side, label: str) -> float:
        """Useful tokens a second."""
        self._progress.advance(0, label)
        made = side.step()
        self._progress.advance(1, label)
        return made.rate


def _run(side: Side, said: dict[str, Any], tried: _Tried | None) -> Run:
    return Run(
        steps=side.made[WARMUP:],
        peak_mb=said["peak_mb"],
        setting=tried.setting if tried else "",
        tried=tried.rates if tried else {},
    )
