"""Several processes: they end where one would, go on after kill -9 in another number, and fail with one message."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import burnish, project

from burnish.runs import LOCK

SETTINGS = (
    *("batch_size=4", "epochs=3", "lr=1e-3", "max_length=1024", "micro_tokens=4096", "save_every=1"),
    *("weight_decay=0.1", "eval_every=2", "eval_share=0.2", "keep=best", "ema=0.9", "average_with_start=0.1"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout, whose draws depend on the rank."""
    return project(tmp_path_factory.mktemp("ranks") / "tiny", cases=4, dropout=0.0)


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    found = burnish(*command(place, "alone"))
    assert found.returncode == 0, found.stderr
    return place / "alone"


def command(place: Path, out: str, *settings: str) -> list[str]:
    chosen = ["dtype=float32", *(f"sft.{each}" for each in SETTINGS), *settings]
    words = ["sft", "--model", place / "model", "--data", place / "conversations.jsonl", "--out", place / out]
    return [*map(str, words), *(word for each in chosen for word in ("--set", each))]


def two(words: list[str], until: Callable[[], int] = lambda: 0) -> tuple[int, str]:
    """Exit code and error stream of two ranks; `until` names the process that is killed, once it knows."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    with subprocess.Popen(
        [*launcher, "--master-port", port, "-m", "burnish", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    ) as working:
        struck = 0
        while working.poll() is None and not struck:
            if struck := until():
                os.kill(struck, signal.SIGKILL)
            time.sleep(0.01)
        assert working.stderr is not None
        said = working.stderr.read()
        return working.wait(), said


def apart(one: Path, other: Path) -> float:
    """Distance of two runs' weights, as a share of how far the first one moved."""
    begun, trained, again = (
        torch.cat([tensor.flatten() for _, tensor in sorted(load_file(path).items())])
        for path in (
            one.parent / "model" / "model.safetensors",
            one / "sft" / "model" / "model.safetensors",
            other / "sft" / "model" / "model.safetensors",
        )
    )
    return float((again - trained).norm() / (trained - begun).norm())


def test_two_ranks_end_where_one_does(place: Path, alone: Path) -> None:
    code, said = two(command(place, "shared"))
    assert code == 0, said
    assert apart(alone, place / "shared") < 1e-2
    losses = [
        [
            row[name]
            for line in (run / "sft" / "metrics.jsonl").read_text().splitlines()
            for row in [json.loads(line)]
            for name in ("loss", "eval/loss")
            if row.get(name) is not None
        ]
        for run in (alone, place / "shared")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(losses[1]) >= 12


def test_a_killed_run_goes_on_with_shards(place: Path, alone: Path) -> None:
    """Checkpoints hold whole tensors: what two ranks began with whole weights, two go on with in halves."""
    run = place / "killed"

    def first_rank() -> int:
        saved = (run / "sft" / "checkpoints" / "step-00000003").exists()
        return int((run / LOCK).read_text().split()[0]) if saved else 0

    code, said = two(command(place, "killed"), until=first_rank)
    assert code != 0
    assert "bug" not in said
    assert not (run / "sft" / "stage.json").exists()
    code, said = two(command(place, "killed", "parallel=fsdp", "gradient_checkpointing=true"))
    assert code == 0, said
    assert json.loads((run / "sft" / "stage.json").read_text())["resumed"]
    assert apart(alone, run) < 1e-2


def test_one_message_for_all(place: Path) -> None:
    code, said = two(command(place, "wrong", "sft.warmup_steps=-1"))
    assert code != 0
    assert said.count("sft.warmup_steps is -1") == 1
    assert said.count("exit 2") == 1
    assert re.search(r"exitcode *: 2 ", said), "what torchrun tells of the first rank"
    assert not (place / "wrong").exists()
