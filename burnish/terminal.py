"""How work and its results look in a terminal: progress, one line a stage, errors. Knows text and widths; runs nothing.

Progress goes to the error stream, results to the output: `burnish … --json | jq` works. Where the error stream is no
terminal, or NO_COLOR or CI is set, progress is plain lines, one every ten seconds at most, and never a carriage return.
A reader who goes away stops no work.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from burnish.errors import BurnishError, MachineError, Problem, plain
from burnish.release.clauses import duration

EVERY = 10.0
"""Seconds between plain lines."""
REDRAW = 0.1
"""Seconds between redraws of the status line."""
BAR = 24
CLEAR = "\r\x1b[2K"
"""Takes a line away from a terminal."""


def attach() -> None:
    """A stream closed before we began leads nowhere: else the next file that is opened would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (open as long as the process)


def flush() -> None:
    """What was printed goes out, as far as somebody reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _hush(stream)


def say(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """A line of what is going on, at once. Where nobody can read it any more, work goes on in silence."""
    out = stream or sys.stdout
    try:
        print(text, file=out, end=end, flush=True)
    except OSError:
        _hush(out)


def _hush(stream: TextIO) -> None:
    """What is said on a stream from here on goes nowhere, and so does what stands in its buffer."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:  # a stream of a test's own has no number
        os.dup2(nowhere.fileno(), stream.fileno())


def progress(stream: TextIO | None = None) -> Meter:
    """A status line in a terminal, plain lines elsewhere."""
    out = stream or sys.stderr
    return Meter(stream=out, live=_lively(out))


def marker(stream: TextIO | None = None) -> Callable[[str], str]:
    """What sets a piece of text off from the rest: colour in a terminal, brackets elsewhere."""
    return _green if _lively(stream or sys.stdout) else "[{}]".format


def _lively(stream: TextIO) -> bool:
    calm = bool(os.environ.get("NO_COLOR") or os.environ.get("CI") or os.environ.get("TERM") == "dumb")
    return stream.isatty() and not calm


def _green(text: str) -> str:
    """Line by line: a pager that is given one line of the text still colours it."""
    return "\n".join(f"\x1b[32m{line}\x1b[0m" for line in text.split("\n"))


@dataclass(slots=True, kw_only=True)
class _Task:
    label: str
    total: int
    began: float
    done: int = 0
    note: str = ""

    def line(self, now: float, bar: bool) -> str:
        spent = now - self.began
        share = min(1.0, self.done / self.total) if self.total else 0.0
        left = f"{duration(spent / self.done * (self.total - self.done))} left" if 0 < self.done < self.total else ""
        drawn = f"{'━' * round(share * BAR):<{BAR}}" if bar else ""
        count = f"{self.done}/{self.total}" if self.total else f"{self.done}" if self.done else ""
        return "  ".join(part for part in (self.label, drawn, count, left, plain(self.note, 80)) if part)


@dataclass(slots=True, kw_only=True)
class Meter:
    """A `Progress`. Work may begin inside work: the innermost is shown."""

    stream: TextIO
    live: bool
    _tasks: list[_Task] = field(default_factory=list[_Task])
    _shown: float = 0.0

    def start(self, label: str, total: int) -> None:
        self._tasks.append(_Task(label=plain(label, 60), total=total, began=time.monotonic()))
        self._show(REDRAW if self.live else EVERY)

    def advance(self, done: int = 1, note: str = "") -> None:
        if self._tasks:
            task = self._tasks[-1]
            task.done, task.note = task.done + done, note or task.note
            self._show(REDRAW if self.live else EVERY)

    def finish(self, note: str = "") -> None:
        if not self._tasks:
            return
        task = self._tasks.pop()
        task.note = note or task.note
        if self.live:
            self.clear()
        elif time.monotonic() - task.began > EVERY:
            spent = duration(time.monotonic() - task.began)
            say(f"{task.label}  done in {spent}  {plain(note, 80)}".rstrip(), self.stream)

    def clear(self) -> None:
        """Take the status line away, so that a result can be printed."""
        if self.live:
            say(CLEAR, self.stream, end="")

    def _show(self, every: float) -> None:
        now = time.monotonic()
        if now - self._shown < every:
            return
        self._shown = now
        around = " › ".join(task.label for task in self._tasks[:-1])
        line = " › ".join(part for part in (around, self._tasks[-1].line(now, bar=self.live)) if part)
        if self.live:
            say(f"{CLEAR}{line[: max(20, self._width() - 1)]}", self.stream, end="")
        else:
            say(line, self.stream)

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self.stream.fileno()).columns
        except OSError:  # it was closed meanwhile
            return 80


def converse(say: Callable[[str], str]) -> None:
    """Lines in, answers out, until an empty line or the end of the input."""
    print("An empty line ends the conversation.", file=sys.stderr)
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if not text:
            return
        print("\n".join(plain(line, 10_000) for line in say(text).split("\n")))


def columns(rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned columns: numbers to the right, all else to the left."""
    told = [[plain(cell, 60) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in told) for place in range(len(told[0]))]
    right = [all(re.fullmatch(r"[\d.]+", row[place]) for row in told[1:]) for place in range(len(widths))]
    return "\n".join(
        "  ".join(
            f"{cell:{'>' if side else '<'}{width}}" for cell, width, side in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in told
    )


def shown(value: Any, text: str, as_json: bool) -> str:
    """JSON for programs, or text for people."""
    return json.dumps(value, indent=1, ensure_ascii=False) if as_json else text


def emit(value: Any, text: str, as_json: bool) -> None:
    """A command's result. Raises MachineError where it cannot be written; who reads no further wants no more of it."""
    try:
        print(shown(value, text, as_json), flush=True)
    except BrokenPipeError:
        _hush(sys.stdout)
    except OSError as error:
        _hush(sys.stdout)
        raise MachineError(Problem("output", f"cannot be written ({error.strerror})", "Send it elsewhere.")) from error


def fail(error: BurnishError, tail: str, as_json: bool) -> int:
    """Say what is wrong, and how to mend it. Returns the exit code."""
    text = shown({**error.as_json(), "state": tail}, f"{error}\n{tail}; exit {error.exit_code}", as_json)
    say(text, sys.stdout if as_json else sys.stderr)
    return error.exit_code
