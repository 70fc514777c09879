"""A run's folder, its lock, and the log of its figures. Knows names and processes; no stage, no model.

The log grows by one JSON line a step. A kill can cut its last line, and steps after the last checkpoint are done again:
`rewind` removes both by shortening the file, which is atomic, so a reader never sees a step twice.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, DataError, MachineError, Problem, plain

LOCK = ".lock"
RECIPE = "recipe.yaml"
"""The resolved recipe: what marks a folder as a run."""


def models_of(run: Path) -> list[Path]:
    """The models that the stages of a run have made."""
    return sorted(run.glob("*/model"))


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Run:
        """A run that is there. Raises ConfigError where there is none."""
        if not (path / RECIPE).is_file():
            what = f"is no run: it has no {RECIPE}" if path.is_dir() else "is no run: there is no such folder"
            raise ConfigError(Problem(str(path), what, "Run: burnish run RECIPE --out FOLDER"))
        return cls(path)

    @classmethod
    def create(cls, path: Path) -> Run:
        """A new run, or the one that is there already. Raises ConfigError where the folder holds something else."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(
                Problem(str(path), "is a file; a run needs a folder", "Name another with --out.")
            ) from None
        except OSError as error:
            raise MachineError(
                Problem(str(path), f"cannot be made ({error.strerror})", "Choose another --out.")
            ) from error
        others = sorted(child.name for child in path.iterdir() if not child.name.startswith("."))
        if others and RECIPE not in others:
            found = f"holds something else than a run ({', '.join(others[:3])})"
            raise ConfigError(Problem(str(path), found, "Name an empty or new folder with --out."))
        return cls(path)

    @property
    def recipe(self) -> Path:
        return self.path / RECIPE

    def stage(self, name: str) -> Path:
        """The folder of a stage; nothing is made."""
        return self.path / name

    @contextmanager
    def lock(self) -> Generator[None, None, None]:
        """Hold the run alone. Raises MachineError naming the process that has it.

        The operating system gives the lock back when a process ends, however it ends: a dead one's is free at once.
        """
        handle = _lock_file(self.path)
        try:
            _take(self.path, handle)
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
            yield
        finally:
            os.close(handle)


class MetricsLog:
    """One stage's metrics.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mended = False

    def log(
        self, *, step: int, seconds: float, tokens: int, loss: float | None = None, **metrics: float | str | None
    ) -> None:
        """Add one line. A figure that is NaN or infinite is written as null: JSON has no such number."""
        if not self._mended:
            self._drop_torn_tail()
        row = {"step": step, "seconds": seconds, "tokens": tokens, "loss": loss, **metrics}
        text = json.dumps({name: _finite(value) for name, value in row.items()}, ensure_ascii=False, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                file.write(text.encode() + b"\n")
        except OSError as error:
            mend = "Make room, then run the same command: it continues."
            raise MachineError(Problem(str(self.path), f"cannot be written ({error.strerror})", mend)) from error

    def rewind(self, step: int) -> None:
        """Drop the lines of updates from `step` on: a resumed run makes them again."""
        if not self.path.exists():
            return
        keep = 0
        for line, row in self._lines():
            if row["step"] >= step:
                break
            keep += len(line)
        os.truncate(self.path, keep)
        self._mended = True

    def read(self) -> list[dict[str, Any]]:
        """Every whole line; [] where there is no log yet."""
        return [row for _, row in self._lines()] if self.path.exists() else []

    def _lines(self) -> Generator[tuple[bytes, dict[str, Any]], None, None]:
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(Problem(f"{self.path}:{number}", f"not a line of a log ({plain(error)})")) from error
            yield line, row

    def _drop_torn_tail(self) -> None:
        if self.path.exists():
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
        self._mended = True


def _lock_file(path: Path) -> int:
    try:
        return os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        found = f"cannot be written ({error.strerror})"
        raise MachineError(Problem(str(path), found, "Choose another folder with --out.")) from error


def _take(path: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _, host = (path / LOCK).read_text().strip().partition(" ")
        found = f"process {pid or 'unknown'} on {host or 'this machine'} is writing this run"
        mend = f"Wait for it, or end it (kill {pid}), then run the same command." if pid else "Wait for it."
        raise MachineError(Problem(str(path), found, mend)) from None
    except OSError as error:
        found = f"the file system gives no locks ({error.strerror})"
        raise MachineError(Problem(str(path), found, "Choose a folder on a local disk with --out.")) from error


def _finite(value: float | str | None) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
