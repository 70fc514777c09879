"""Ctrl-C and a polite end: their exit codes, and that the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import burnish, project


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_ended_run_continues(tmp_path: Path, number: int, code: int) -> None:
    folder = project(tmp_path / "tiny")
    command = ["run", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--until", "sft"]
    working = subprocess.Popen(
        [sys.executable, "-m", "burnish.cli", *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert working.stderr is not None
    assert "sft: training" in working.stderr.readline()
    working.send_signal(number)
    said = working.stderr.read()
    assert working.wait(60) == code
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert burnish(*command).returncode == 0
