"""From a command line to the exit code of the process: signals, ranks, errors. Knows no verb."""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import typer

from burnish.cli import app
from burnish.errors import BurnishError, ConfigError, Problem, Terminated, out_of_memory
from burnish.terminal import attach, fail, flush, say

INTERRUPTED, TERMINATED = 130, 143
UNTOUCHED = "nothing was written"
WHOLE = "nothing was left half written"


def main() -> NoReturn:
    """Run a command line and leave with its exit code; every error is one that DESIGN's table names."""
    attach()
    signal.signal(signal.SIGTERM, _terminated)
    code = _done(sys.argv[1:])
    flush()
    sys.exit(code)


def _done(argv: list[str]) -> int:
    """Alone, or with the other processes of torchrun."""
    if {"RANK", "MASTER_ADDR"} <= os.environ.keys() and os.environ.get("WORLD_SIZE", "1") != "1":
        from burnish.crash import admit
        from burnish.torchrun import take_part

        return take_part(argv, code_of, admit)
    return code_of(argv)


def code_of(argv: list[str]) -> int:
    """Do what a command line says; its exit code."""
    try:
        _require_text(argv)
        return _told(app(argv, standalone_mode=False) or 0)
    except BurnishError as error:
        return fail(error, UNTOUCHED, "--json" in argv)
    except typer.TyperException as error:
        found, _, hint = error.format_message().partition(". ")
        problem = Problem("burnish", found.rstrip("."), hint or "Run: burnish --help")
        return fail(ConfigError(problem), UNTOUCHED, "--json" in argv)
    except (KeyboardInterrupt, typer.Abort):
        return _told(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (the last place where our own bugs can be caught)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # whatever path of the user's it was
            problem = Problem(str(error.filename), "is longer than a path can be", "Choose a shorter one.")
            return fail(ConfigError(problem), UNTOUCHED, "--json" in argv)
        if short := out_of_memory(error):
            return fail(short, WHOLE, "--json" in argv)
        from burnish.crash import admit

        return admit(error, argv)


def _require_text(argv: list[str]) -> None:
    """No name can be written into a recipe, a record or a page that is not UTF-8. Raises ConfigError."""
    for before, word in zip(["", *argv], argv, strict=False):
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            where = f"{before} {word}" if before.startswith("-") else word
            raise ConfigError(Problem(where, "is not UTF-8", "Write it, or rename the file, in UTF-8."))


def _told(code: int) -> int:
    """Typer turns an interrupt into its exit code, without a word."""
    if code == INTERRUPTED:
        say("\ninterrupted; the same command continues", sys.stderr)
    return code


def _terminated(_number: int, _frame: FrameType | None) -> Any:
    say("\nterminated; the same command continues", sys.stderr)
    raise Terminated(TERMINATED)


if __name__ == "__main__":
    main()
