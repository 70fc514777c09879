"""A run's folder, its lock and its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from burnish.errors import ConfigError, DataError, MachineError
from burnish.runs import LOCK, RECIPE, MetricsLog, Run

HOLD = """
import sys, time
from pathlib import Path
from burnish.runs import Run
with Run(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_create_and_open(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "demo"
    with pytest.raises(ConfigError, match="there is no such folder"):
        Run.open(path)
    run = Run.create(path)
    assert run.stage("sft") == path / "sft"
    assert not run.stage("sft").exists()
    with pytest.raises(ConfigError, match=f"has no {RECIPE}"):
        Run.open(path)
    run.recipe.write_text("name: demo\n")
    (path / "sft").mkdir()
    assert Run.create(path) == Run.open(path) == run


def test_create_refuses_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match=r"holds something else than a run \(thesis.tex\)") as caught:
        Run.create(tmp_path)
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="a run needs a folder"):
        Run.create(tmp_path / "thesis.tex")
    with pytest.raises(ConfigError, match="a run needs a folder"):
        Run.create(tmp_path / "thesis.tex" / "demo")
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_an_interrupted_start_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    (tmp_path / ".tmp-recipe.yaml").touch()
    assert Run.create(tmp_path) == Run(tmp_path)


def test_lock_names_the_other_process_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    run = Run.create(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with (
                pytest.raises(MachineError, match=f"process {other.pid} on .* is writing this run") as caught,
                run.lock(),
            ):
                pass
            assert caught.value.exit_code == 3
            assert f"kill {other.pid}" in caught.value.problems[0].mend
        finally:
            other.send_signal(signal.SIGKILL)
    with run.lock():
        assert (tmp_path / LOCK).read_text().split()[0] == str(os.getpid())
        with pytest.raises(MachineError, match=f"process {os.getpid()}"), run.lock():
            pass
    with run.lock():
        pass


def test_lock_of_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be written"), Run(tmp_path / "gone").lock():
        pass


def filled(path: Path, steps: int) -> MetricsLog:
    log = MetricsLog(path)
    for step in range(1, steps + 1):
        log.log(step=step, seconds=0.5 * step, tokens=100, loss=1 / step, lr=1e-4, **{"objective/kl": 0.1})
    return log


def test_log_and_read(tmp_path: Path) -> None:
    log = filled(tmp_path / "sft" / "metrics.jsonl", 2)
    assert log.read() == [
        {"step": 1, "seconds": 0.5, "tokens": 100, "loss": 1.0, "lr": 1e-4, "objective/kl": 0.1},
        {"step": 2, "seconds": 1.0, "tokens": 100, "loss": 0.5, "lr": 1e-4, "objective/kl": 0.1},
    ]
    assert MetricsLog(tmp_path / "none").read() == []


def test_a_figure_that_is_not_finite_is_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.log(step=1, seconds=0, tokens=1, explained=float("nan"), ratio=float("-inf"), note="x")
    assert json.loads(log.path.read_bytes()) == {
        "step": 1, "seconds": 0, "tokens": 1, "loss": None, "explained": None, "ratio": None, "note": "x",
    }  # fmt: skip


def test_rewind_then_log_is_as_if_never_killed(tmp_path: Path) -> None:
    straight = filled(tmp_path / "a.jsonl", 9)
    killed = filled(tmp_path / "b.jsonl", 7)
    with open(killed.path, "ab") as file:
        file.write(b'{"step": 8, "sec')  # what a kill leaves
    again = MetricsLog(killed.path)
    again.rewind(6)
    assert [row["step"] for row in again.read()] == [1, 2, 3, 4, 5]
    for step in range(6, 10):
        again.log(step=step, seconds=0.5 * step, tokens=100, loss=1 / step, lr=1e-4, **{"objective/kl": 0.1})
    assert killed.path.read_bytes() == straight.path.read_bytes()


def test_rewind_to_the_start_and_without_a_log(tmp_path: Path) -> None:
    log = filled(tmp_path / "a.jsonl", 3)
    log.rewind(0)
    assert log.read() == []
    MetricsLog(tmp_path / "none").rewind(3)
    assert not (tmp_path / "none").exists()


def test_a_torn_line_is_dropped_by_readers_and_writers(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.jsonl", 2).path
    with open(path, "ab") as file:
        file.write(b'{"step": 3')
    log = MetricsLog(path)
    assert [row["step"] for row in log.read()] == [1, 2]
    log.log(step=3, seconds=1, tokens=1)
    assert [row["step"] for row in log.read()] == [1, 2, 3]


def test_a_foreign_line_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.jsonl", 1).path
    with open(path, "ab") as file:
        file.write(b"hello\n")
    with pytest.raises(DataError, match=r"a\.jsonl:2: not a line of a log"):
        MetricsLog(path).read()


def test_a_disk_that_refuses_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"cannot be written \(File exists\)") as caught:
        MetricsLog(tmp_path / "file" / "metrics.jsonl").log(step=1, seconds=0, tokens=0)
    assert caught.value.exit_code == 3
