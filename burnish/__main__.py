"""From a command line to the exit code of the process: signals, ranks, errors. Knows no verb."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import typer

from burnish.cli import app
from burnish.errors import BurnishError, ConfigError, Problem, Terminated
from burnish.terminal import fail

INTERRUPTED, TERMINATED = 130, 143
UNTOUCHED = "nothing was written"


def main() -> NoReturn:
    """Run a command line and leave with its exit code; every error is one that DESIGN's table names."""
    signal.signal(signal.SIGTERM, _terminated)
    if {"RANK", "MASTER_ADDR"} <= os.environ.keys() and os.environ.get("WORLD_SIZE", "1") != "1":
        from burnish.crash import admit
        from burnish.torchrun import take_part

        sys.exit(take_part(sys.argv[1:], code_of, admit))
    sys.exit(code_of(sys.argv[1:]))


def code_of(argv: list[str]) -> int:
    """Do what a command line says; its exit code."""
    try:
        return _told(app(argv, standalone_mode=False) or 0)
    except BurnishError as error:
        return fail(error, UNTOUCHED, "--json" in argv)
    except typer.TyperException as error:
        found, _, hint = error.format_message().partition(". ")
        problem = Problem("burnish", found.rstrip("."), hint or "Run: burnish --help")
        return fail(ConfigError(problem), UNTOUCHED, "--json" in argv)
    except (KeyboardInterrupt, typer.Abort):
        return _told(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 (the last place where our own bugs can be caught)
        from burnish.crash import admit

        return admit(error, argv)


def _told(code: int) -> int:
    """Typer turns an interrupt into its exit code, without a word."""
    if code == INTERRUPTED:
        print("\ninterrupted; the same command continues", file=sys.stderr)
    return code


def _terminated(_number: int, _frame: FrameType | None) -> Any:
    print("\nterminated; the same command continues", file=sys.stderr)
    raise Terminated(TERMINATED)


if __name__ == "__main__":
    main()
