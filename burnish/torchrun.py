"""One of the processes that torchrun started: the first does what the command line says, the others help it train.

Knows signals and exit codes, and which verbs train. The first one speaks and fails for all.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from burnish.errors import BurnishError, MachineError, out_of_memory
from burnish.pipeline.training import follow
from burnish.terminal import fail, flush
from burnish.train.messages import join, leave, partings, shared

_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""By this torchrun tells a process to meet the others in a store that it keeps itself. A program that a process starts
(vLLM) would look for its own there, and wait."""
TRAINING = (
    "run",
    "rounds",
    "gold",
    "sft",
    "reward",
    "dpo",
    "orpo",
    "kto",
    "distill",
    "rft",
    "online-dpo",
    "ppo",
    "grpo",
)
"""Verbs to which several processes are of use."""


def take_part(
    argv: list[str], code_of: Callable[[list[str]], int], admit: Callable[[Exception, list[str]], int]
) -> int:
    """The exit code of this process. When the first ends otherwise than well, the others see that it has gone.

    `code_of` does what a command line says. What an other raises beside BurnishError, and not for want of memory, is a
    bug of our own: `admit` says so.
    """
    first = os.environ["RANK"] == "0"
    if not argv or argv[0] not in TRAINING:
        return code_of(argv) if first else 0
    try:
        join()
        os.environ.pop(_AGENT_STORE, None)
        code = code_of(argv) if first else _following()
    except SystemExit as terminated:
        code = int(terminated.code or 0)
    except Exception as error:  # noqa: BLE001 (here alone can those of a process that has no command line be caught)
        short = out_of_memory(error)
        code = fail(short, "this process leaves the others", "--json" in argv) if short else admit(error, argv)
    if code or not first:
        flush()
        os._exit(code)  # torch's threads may abort a process that others have left, and its exit code with it
    with suppress(MachineError), partings():  # all is done: an other that has gone meanwhile changes nothing
        shared(None)
        leave()
    return code


def _following() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process: the first one decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(BurnishError):  # the first one has said it
        follow()
    return 0
