"""Which verbs several processes do together: all that train, and no other."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys

from burnish import cli
from burnish.torchrun import TRAINING

PROGRAM = """
import os, sys
from burnish import torchrun
from burnish.train.messages import world

followed = []
torchrun.follow = lambda: followed.append(world())
torchrun.shared = torchrun.leave = lambda *_: None
verb, rank = sys.argv[1], os.environ["RANK"]

def code_of(argv):
    assert rank == "0" and argv == [verb], "the others have no command line of their own"
    assert world() == 1 or "TORCHELASTIC_USE_AGENT_STORE" not in os.environ, "what it starts would meet nobody there"
    print(verb, world(), flush=True)
    return 0

def admit(error, argv):
    raise error

sys.exit(torchrun.take_part([verb], code_of, admit))
"""


def met(verb: str) -> str:
    """What the first of two processes says of a verb, and of how many they are."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, verb],
            env={**os.environ, **place, "RANK": str(rank), "TORCHELASTIC_USE_AGENT_STORE": "False"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [each.communicate(timeout=120)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    return "".join(said).strip()


def test_two_processes_meet_for_what_trains() -> None:
    assert met("rounds") == "rounds 2"
    assert met("status") == "status 1"


def test_every_verb_that_does_stages_is_done_by_all() -> None:
    """Found in what each verb calls: the narrator's stages, rounds, or the study of gold rewards."""
    working = ("_work(", "loop.rounds(", "publish(")
    found = {
        each.name or each.callback.__name__
        for each in cli.app.registered_commands
        if each.callback and any(call in inspect.getsource(each.callback) for call in working)
    }
    assert found == set(TRAINING)
