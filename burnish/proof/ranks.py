"""Measures of a step that two processes share. The second process is made here, and speaks on the loopback alone; it is
this module too. Judges nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist

from burnish.errors import BurnishError, MachineError, Problem
from burnish.models.blueprint import blueprint, built
from burnish.proof.law import Measured
from burnish.proof.methods import ALL
from burnish.proof.step import one_step
from burnish.proof.subject import Subject, Trial
from burnish.train.messages import join, leave, partings, shared
from burnish.train.parallel import Kind, joined

HOST = "127.0.0.1"
_PATIENCE = timedelta(minutes=10)
_INTERFACE = "GLOO_SOCKET_IFNAME"


def two(subject: Subject, kind: Kind) -> Measured:
    """The step of one process, and that of two, which have all of the weights each (ddp), or half of them (fsdp).

    On the CPU wherever the model is: nccl refuses two processes on one GPU.
    """
    trial = subject.trial("sft")
    place = trial.module.device
    trial.module.to("cpu")
    try:
        with second_process():
            return Measured(apart(trial, "sft", kind), "" if place.type == "cpu" else "on the CPU")
    finally:
        trial.module.to(place)


def apart(trial: Trial, method: str, kind: Kind) -> dict[str, float]:
    """Differences of loss and gradient. There are three micro-batches: one rank has none beside the other's second."""
    first, second, *others = ([document] for document in trial.documents)
    batches = [trial.batch(part) for part in (first, second, [each for part in others for each in part]) if part]
    alone = trial.step(*batches)
    shared([method, kind, blueprint(trial.module)])
    measured = trial.measured(batches)
    return one_step(trial.module, trial.method.objective, batches, measured, joined(kind)).apart(alone)


@contextmanager
def second_process() -> Generator[None]:
    """A second rank, which takes part in every step inside (`apart`)."""
    with socket.create_server((HOST, 0)) as free:
        place = f"tcp://{HOST}:{free.getsockname()[1]}"
    before = os.environ.get(_INTERFACE)
    os.environ[_INTERFACE] = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // 2))}
    command = [sys.executable, "-P", "-m", "burnish.proof.ranks", place]
    with subprocess.Popen(command, env={**os.environ, **threads}, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            if not other.stdout.readline():
                raise MachineError(Problem("second rank", f"ended before it began (exit {other.wait()})"))
            with partings():
                join(place, 0, 2, _PATIENCE)
                yield
                shared(None)
                leave()
        except BaseException:
            other.kill()
            raise
        finally:
            if before is None:
                del os.environ[_INTERFACE]
            else:
                os.environ[_INTERFACE] = before
            if dist.is_initialized():
                dist.destroy_process_group()


def _follow(place: str) -> None:
    """The second rank's part. What goes wrong is said by the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    with suppress(BurnishError), partings():
        join(place, 1, 2, _PATIENCE)
        while (told := shared(None)[0]) is not None:
            method, kind, plan = told
            one_step(built(plan), ALL[method].objective, [], ranks=joined(kind))
        leave()


if __name__ == "__main__":
    _follow(sys.argv[1])
