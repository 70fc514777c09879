"""What a user is told when something is wrong: where, what was found, and one mend that works when pasted.

Every error that a user can cause is a `BurnishError` holding one or more `Problem`s: a reader collects all problems of
a file before it raises, so that nobody mends a file line by line. Each class is also the standard error that it
specialises, carries the exit code of DESIGN's table, and survives pickling. Anything else that reaches the command line
is our own bug.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from logging import Logger
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
SHOWN = 20
"""How many problems of one error are printed; the rest are counted."""


def plain(text: object, limit: int = 200) -> str:
    """User text made safe for a terminal: control characters, line breaks and lone surrogates escaped, cut at `limit`
    characters."""
    escaped = _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def nearest(wrong: str, known: list[str], cutoff: float = 0.6) -> str:
    """A mend for a misspelt name: the closest known one, or the list of them where none is as like it as `cutoff`."""
    close = get_close_matches(wrong, known, n=1, cutoff=cutoff)
    return f'Did you mean "{close[0]}"?' if close else f"Known here: {', '.join(sorted(known))}."


@cache
def warn_once(log: Logger, said: str) -> None:
    """A warning that a process need not repeat for every model that it loads."""
    log.warning("%s", said)


class Said(str):
    """A sentence that knows its text and what stands in the text's places, `%(name)s`: a string that a page can say in
    another language too. Numbers are written whole, with thousands set apart; a tuple is a list."""

    __slots__ = ("text", "values")
    text: str
    values: Mapping[str, object]

    def __new__(cls, text: str, /, **values: object) -> Said:
        made = super().__new__(cls, text % {name: _filled(value) for name, value in values.items()})
        made.text, made.values = text, values
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        return (self.text,), dict(self.values)  # for pickle, which an error between processes goes through


def _filled(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_filled, value))  # pyright: ignore[reportUnknownArgumentType]
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    where: str
    """`file:line:column`, a key path of a recipe, a field of a request, or a tensor's name."""
    found: str
    """What was found and what was wanted, as one clause without a full stop."""
    mend: str = ""
    """A whole sentence with a mend that works when pasted."""

    def __str__(self) -> str:
        place = f"{plain(self.where, 400)}: " if self.where else ""
        return f"{place}{plain(self.found, 400)}. {self.mend}".rstrip()

    def as_json(self) -> dict[str, str]:
        return {"where": plain(self.where, 400), "found": plain(self.found, 400), "mend": self.mend}


class BurnishError(Exception):
    """The root of the tree; its children say whose fault it is."""

    exit_code = 1

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(Problem("", p) if isinstance(p, str) else p for p in problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more of {len(self.problems)} problems")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "count": len(self.problems),
            "problems": [problem.as_json() for problem in self.problems],
        }


class ConfigError(BurnishError, ValueError):
    """A recipe, a setting or a command line that cannot be meant."""

    exit_code = 2


class DataError(BurnishError, ValueError):
    """A data file that does not hold what it should."""

    exit_code = 2


class ModelError(BurnishError, ValueError):
    """A model, tokenizer, adapter or checkpoint that is missing, damaged, or would run code."""

    exit_code = 2


class StoreError(BurnishError, RuntimeError):
    """The preference database refuses: a stale write, an unknown task, a label that does not fit its question."""

    exit_code = 2


class MachineError(BurnishError, RuntimeError):
    """The machine: disk, memory, permission, port, a missing service."""

    exit_code = 3


def out_of_memory(error: Exception) -> MachineError | None:
    """What is to be told where memory was too short: Python's, the system's, or torch's, which says so in many ways.
    None: the error means something else."""
    told = str(error).partition("\n")[0]
    by_kind = any(kind.__name__ in ("MemoryError", "OutOfMemoryError") for kind in type(error).__mro__)
    by_number = isinstance(error, OSError) and error.errno == errno.ENOMEM
    by_words = isinstance(error, RuntimeError) and any(
        words in told for words in ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
    )
    if not (by_kind or by_number or by_words):
        return None
    mend = "docs/guide/machines.md has what takes less: a smaller micro_tokens first, in a stage that has one."
    return MachineError(Problem("memory", f"too short ({told or type(error).__name__})", mend))


class TrainingError(BurnishError, ArithmeticError):
    """Training stopped before an update that would have spoilt weights: a loss or gradient not finite, or a spike."""

    exit_code = 4


class VerdictError(BurnishError, RuntimeError):
    """A verdict was no, or the evidence for it is stale or missing."""

    exit_code = 4


class InconclusiveError(BurnishError, RuntimeError):
    """There is not enough evidence to say yes or no."""

    exit_code = 5


class WaitingError(BurnishError, RuntimeError):
    """People must act first; the same command continues."""

    exit_code = 6


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM). No other code's `sys.exit` is this one."""
