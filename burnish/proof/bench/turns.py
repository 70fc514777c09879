"""One side of a comparison, in a process of its own: it makes a step when it is told to, and waits. Knows the lines
that are exchanged; knows no trainer.

A waiting side blocks on a read. Its threads sleep: OpenMP lets them spin for milliseconds after their last work, and
what follows takes seconds.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import torch

STEP, END = "step", "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a side says of one step."""

    seconds: float
    tokens: int
    """Useful ones: as rows are given, a prompt counted for each of its answers; of sampling those of the answers."""
    loss: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds of the parts of a step that has some."""

    @property
    def rate(self) -> float:
        """Useful tokens a second."""
        return self.tokens / self.seconds


def settled() -> float:
    """Wait until a GPU has done all that it was given, and say for how many seconds. A side that waits for its turn
    would do the rest of its step meanwhile, and nobody would have timed it."""
    began = time.perf_counter()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - began


class Ended(Exception):
    """There is no further step to make."""


class Turns:
    """Told to make steps on one stream, tells of them on another."""

    def __init__(self, told: TextIO, tells: TextIO) -> None:
        self._told = told
        self._tells = tells

    def ready(self) -> None:
        """All is loaded; wait for the first step."""
        self.tell({"ready": True})
        self._wait()

    def done(self, step: Step) -> None:
        """A step was made; wait for the next one. Raises Ended."""
        self.tell(asdict(step))
        self._wait()

    def tell(self, said: dict[str, Any]) -> None:
        self._tells.write(json.dumps(said) + "\n")
        self._tells.flush()

    def _wait(self) -> None:
        line = self._told.readline().strip()
        if line != STEP:
            raise Ended if line == END else SystemExit(0)  # the other end is gone, or has seen enough


@contextmanager
def turns() -> Generator[Turns]:
    """The process's own streams. Libraries print: their output goes where errors go."""
    with open(os.dup(1), "w", encoding="utf-8") as tells:
        os.dup2(2, 1)
        yield Turns(sys.stdin, tells)


def peak_mb() -> float:
    """The most memory that this process had in its hands, in megabytes (10⁶ bytes): of its GPU where it used one.

    Of main memory it is the kernel's own count for this program alone: what `getrusage` says may be the parent's.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.is_file():
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
