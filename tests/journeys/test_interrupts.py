"""Ctrl-C and a polite end: their exit codes, and that the same command goes on. Readers who go away end nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tiny import burnish, project


def test_an_ended_run_continues(tmp_path: Path) -> None:
    folder = project(tmp_path / "tiny")
    command = ["run", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--until", "sft"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        ended, said = end_in_training(command, number)
        assert ended == code
        assert "the same command continues" in said
        assert "Traceback" not in said
    assert burnish(*command).returncode == 0


def end_in_training(command: list[str], number: int) -> tuple[int, str]:
    """Exit code and last words of a run that gets a signal when its training begins."""
    with subprocess.Popen(
        [sys.executable, "-m", "burnish", *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell hands on "ignore"
    ) as working:
        assert working.stderr is not None
        assert "sft: training" in working.stderr.readline()
        working.send_signal(number)
        said = working.stderr.read()
        return working.wait(60), said


def test_a_run_needs_no_reader(tmp_path: Path) -> None:
    folder = project(tmp_path / "tiny")
    command = ["run", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--until", "sft"]
    reader, left = os.pipe()
    os.close(reader)
    with open(left, "wb") as left, open("/dev/full", "wb") as full:
        assert unread(command, stdout=left, stderr=left) == 0
        assert (folder / "run/sft/model/model.safetensors").is_file()
        assert (folder / "run/report.html").is_file()
        assert unread(command, stdout=full, stderr=full) == 0
        assert unread([*command, "--json"], stdout=full) == 0
        assert unread(command, preexec_fn=lambda: os.closerange(0, 3)) == 0


def unread(command: list[str], **streams: Any) -> int:
    """The exit code of a command whose streams lead somewhere else."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "burnish", *command], env=environment, check=False, **streams
    ).returncode
