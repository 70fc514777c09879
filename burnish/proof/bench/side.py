"""The handle of a side that works in its own process. Knows processes and the lines exchanged; knows no trainer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

from burnish.errors import MachineError, Problem
from burnish.models.arithmetic import threads
from burnish.proof.bench.turns import END, STEP, Step


class Killed(MachineError):
    """A side's process was ended by a signal: by the system, where memory ran out, or since nobody waits any longer."""


class Side:
    """A process that makes one step at a time. As a context it is gone when the context ends, however that is."""

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        """`module` is run as a program. Its errors, and what its libraries print, go to `log`. Returns at once."""
        self._name = " ".join([module.rpartition(".")[2], *arguments[1:]])
        self._log = log
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads()), "TOKENIZERS_PARALLELISM": "false"}
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self.made: list[Step] = []

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def ready(self) -> None:
        """Wait until all is loaded."""
        self._heard()

    def step(self, patience: float | None = None) -> Step:
        """Have it make the next step, and wait for it, with `patience` so many seconds at most. Raises MachineError
        where the process ended instead, and Killed where it was ended."""
        self._say(STEP)
        waiting = Timer(patience, self._process.kill) if patience else None
        if waiting:
            waiting.start()
        try:
            self.made.append(Step(**self._heard()))
        finally:
            if waiting:
                waiting.cancel()
        return self.made[-1]

    def end(self) -> dict[str, Any]:
        """Its last words: peak memory, and of ours the floor."""
        self._say(END)
        return self._heard()

    def stop(self) -> None:
        """End the process, wherever it is."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # it was gone already, and something was left to be said
                stream.close()
        self._process.kill()
        self._process.wait()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        return json.loads(line)

    def _gone(self) -> MachineError:
        code = self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = f"killed by signal {-code}" if code < 0 else f"exit {code}"
        mend = "Where memory ran out: a smaller --batch or --max-length. Without peers: --no-peer."
        problem = Problem(self._name, f"ended before its work did ({reason}): {(lines or ['?'])[-1]}", mend)
        return Killed(problem) if code < 0 else MachineError(problem)
