"""kill -9 at any moment: the same command continues, and ends with the same weights, figures and judgements to the bit.

A kill waits for its stage to begin (its folder changes), then strikes after a random part of the stage's usual time, or
as soon as something is being written aside there. The model has dropout, and answers are sampled.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny import burnish, project

from burnish.label import service
from burnish.pipeline.recipe import STAGES
from burnish.records.durable import digest_file, digest_folder
from burnish.store import queries
from burnish.store.session import open_store

RESULTS = STAGES[:-1]
"""Stages whose output holds no time of day; of the release, the weights are compared."""
SAMPLED = ("distill", "rft", "online_dpo", "ppo", "grpo")
LEARNING = ("sft", "reward", "dpo", "kto", *SAMPLED)


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.proof)])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, kills: int, adapters: bool) -> None:
    folder = project(tmp_path / "tiny", adapters=adapters)
    whole = folder / "whole"
    assert burnish(*command(folder, whole)).returncode == 0
    wanted, usual = fingerprint(whole), seconds(whole)
    chance, struck, runs = random.Random(kills), Counter[str](), 0
    while struck.total() < kills:
        run = folder / f"killed-{runs}"
        runs += 1
        for stage in targets(chance, kills - struck.total()):
            if strike(folder, run, stage, aimed=chance.random() < 0.5, after=chance.uniform(0, usual[stage])):
                struck[stage] += 1
        last = burnish(*command(folder, run))
        assert last.returncode == 0, last.stderr
        assert fingerprint(run) == wanted, f"after kills in {dict(struck)}"
    print(f"{struck.total()} kills in {runs} runs: " + ", ".join(f"{name} {struck[name]}" for name in STAGES))


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.proof)])
def test_rollouts_and_controllers_survive_kills(tmp_path: Path, kills: int) -> None:
    """In the stages whose checkpoints hold answers that are still to be learned, and the weight of a KL. So many in
    each; what comes before them is done once."""
    folder = project(tmp_path / "tiny")
    whole, before = folder / "whole", folder / "before"
    assert burnish(*command(folder, whole)).returncode == 0
    assert burnish(*command(folder, before), "--until", "kto").returncode == 0
    wanted, usual = fingerprint(whole), seconds(whole)
    chance, struck, runs = random.Random(3), Counter[str](), 0
    while any(struck[stage] < kills for stage in SAMPLED):
        run = shutil.copytree(before, folder / f"killed-{runs}")
        runs += 1
        for stage in SAMPLED:
            for place in range(min(4, kills - struck[stage])):
                after = chance.uniform(0, usual[stage])
                struck[stage] += strike(folder, run, stage, aimed=place % 2 == 0, after=after)
        assert burnish(*command(folder, run)).returncode == 0
        assert fingerprint(run) == wanted, f"after kills in {dict(struck)}"
    print(f"{struck.total()} kills in {runs} runs: " + ", ".join(f"{name} {struck[name]}" for name in SAMPLED))


def command(folder: Path, run: Path) -> tuple[str | Path, ...]:
    return "run", folder / "recipe.yaml", "--out", run


def targets(chance: random.Random, left: int) -> list[str]:
    """Stages to strike in one run, in the run's order: a stage that is done is not begun again."""
    drawn = STAGES[: min(left, len(STAGES))]
    again = chance.choices(LEARNING, k=max(0, min(left - len(drawn), 3)))
    return sorted([*drawn, *again], key=STAGES.index)


def strike(folder: Path, run: Path, stage: str, *, aimed: bool, after: float) -> bool:
    """Start the command and kill it in this stage; False where it ended before (it is whole then)."""
    began = time.time_ns()
    with subprocess.Popen(
        [sys.executable, "-m", "burnish", *map(str, command(folder, run))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as working:
        while not begun(run, stage, began):
            if working.poll() is not None:
                return False
            time.sleep(0.001)
        until = time.monotonic() + after
        while time.monotonic() < until and not (aimed and saving(run, stage)):
            time.sleep(0.0005)
        working.kill()
        return working.wait() == -9


def begun(run: Path, stage: str, since: int) -> bool:
    """Whether this process has touched the stage's folder, or what will become it."""
    return any(changed(path) > since for path in (run / stage, run / stage / "key.json", run / f".tmp-{stage}"))


def saving(run: Path, stage: str) -> bool:
    return (run / f".tmp-{stage}").exists() or any((run / stage).glob("**/.tmp-*"))


def changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def fingerprint(run: Path) -> dict[str, Any]:
    """All that must come out the same."""
    return {
        "outputs": {stage: record(run, stage)["output"] for stage in RESULTS},
        "release": digest_file(run / "release" / "model.safetensors"),
        "metrics": {stage: metrics(run / stage / "metrics.jsonl") for stage in LEARNING},
        "samples": {stage: digest_file(run / stage / "samples.jsonl") for stage in SAMPLED},
        "adapters": {str(path.relative_to(run)): digest_folder(path) for path in run.glob("**/adapter")},
        "judgements": judgements(run / "preferences.db"),
    }


def record(run: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / stage / "stage.json").read_text())
    return found


def seconds(run: Path) -> dict[str, float]:
    """How long each stage took; the release's record lies beside it."""
    found = {stage: float(record(run, stage)["seconds"]) for stage in RESULTS}
    return found | {"release": float(json.loads((run / "release.json").read_text())["seconds"])}


def metrics(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def judgements(database: Path) -> list[tuple[str, str, tuple[int, ...] | None]]:
    store = open_store(database)
    (campaign,) = service.campaigns(store)
    with store.reading() as session:
        found = [(said.id, said.annotator, said.ranks) for said in queries.judgements(session, campaign.id)]
    store.close()
    return found
