"""kill -9 at any moment: the same command continues, and ends with the same weights, figures and judgements to the bit,
by way of the same checkpoints.

Of a stage's kills every other one strikes in the middle of a save, and the others after a random part of its usual time
(`mortal`). The model has dropout, and answers are sampled.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import mortal
import pytest
from tiny import project

from burnish.label import service
from burnish.pipeline.recipe import STAGES
from burnish.records.durable import digest_file, digest_folder
from burnish.store import queries
from burnish.store.session import open_store

RESULTS = STAGES[:-1]
"""Stages whose output holds no time of day; of the release, the weights are compared."""
SAMPLED = ("distill", "rft", "online_dpo", "ppo", "grpo")
LEARNING = ("sft", "reward", "dpo", "kto", *SAMPLED)
AT_ONCE = 4
"""Kills of one stage in one run: a stage that is done is not begun again."""
Work = Callable[..., int]
"""Does the recipe beside a run folder, and dies where it is told to. Returns the exit code."""


@pytest.fixture(scope="module")
def work() -> Iterator[Work]:
    """By two parents in turn, whose sets of strings have other orders."""
    with ExitStack() as stack:
        parents = cycle([stack.enter_context(parent(seed)) for seed in "12"])

        def done(run: Path, stage: str = "", when: str = "", amount: float = 0.0) -> int:
            one = next(parents)
            assert one.stdin is not None
            assert one.stdout is not None
            command = ["run", f"{run.parent / 'recipe.yaml'}", "--out", f"{run}"]
            one.stdin.write(json.dumps([f"{log(run)}", f"{run}", stage, when, amount, command]) + "\n")
            one.stdin.flush()
            return int(one.stdout.readline())

        yield done


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.proof)])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, work: Work, kills: int, adapters: bool) -> None:
    """So many kills in each stage that learns, and in every run one in each other stage."""
    folder = project(tmp_path / "tiny", adapters=adapters)
    whole = folder / "whole"
    assert work(whole) == 0, words(whole)
    wanted, kept = fingerprint(whole), checkpoints(whole)
    usual = {each["stage"]: each for each in lines(whole, "stage")}
    assert {name.split("/")[0] for name in kept} == set(LEARNING)
    chance, left, died, runs = random.Random(kills), dict.fromkeys(LEARNING, kills), Counter[str](), 0
    while any(left.values()):
        run = folder / f"killed-{runs}"
        runs += 1
        for stage in STAGES:
            strikes = min(AT_ONCE, left.get(stage, 1))
            for number in range(strikes):
                when = "moment" if number % 2 else "save"
                left_to_do = 0.9 * usual[stage][when] * (strikes - number) / strikes
                assert work(run, stage, when, chance.uniform(0, left_to_do)) == -9, words(run)
            if stage in left:
                left[stage] -= strikes
        assert work(run) == 0, words(run)
        assert fingerprint(run) == wanted
        assert checkpoints(run) == kept
        died.update(f"{each['died']}, {each['when']}" for each in lines(run, "died"))
    print(f"{died.total()} kills in {runs} runs: {dict(sorted(died.items()))}")
    assert all(died[f"{stage}, save"] for stage in ("sft", "reward", "dpo", "ppo", "grpo"))
    if kills > 2:  # one moment of two may be that of the stage's record
        assert all(died[f"{stage}, {when}"] for stage in LEARNING for when in ("moment", "save"))


def parent(seed: str) -> subprocess.Popen[str]:
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": seed}
    return subprocess.Popen(
        [sys.executable, mortal.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def log(run: Path) -> Path:
    return run.with_suffix(".log")


def words(run: Path) -> str:
    """What its last process said."""
    return Path(f"{log(run)}.txt").read_text()


def lines(run: Path, about: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [json.loads(line) for line in log(run).read_text().splitlines()]
    return [each for each in found if about in each]


def checkpoints(run: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of every file of every checkpoint: weights and moments, feed, averages, guard; step and states. Where a
    step was made again, so was its checkpoint, and with the same bytes."""
    found: dict[str, dict[str, str]] = {}
    for each in lines(run, "checkpoint"):
        assert found.setdefault(each["checkpoint"], each["files"]) == each["files"], each["checkpoint"]
    return found


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
