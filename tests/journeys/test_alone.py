"""A stage by its own verb: the same run folder as a recipe's, from options."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tiny import burnish, project, said

SMALL = ("batch_size=8", "max_length=1024", "micro_tokens=4096")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project(tmp_path_factory.mktemp("alone"), cases=4)
    rows = [
        {"prompt": f"Where is order {n}?", "chosen": f"Order {n} left us today.", "rejected": "No idea."}
        for n in range(12)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def small(stage: str) -> list[str]:
    return [word for setting in SMALL for word in ("--set", f"{stage}.{setting}")]


def test_sft_alone_continues_and_does_nothing_twice(place: Path) -> None:
    command = ("sft", "--model", place / "model", "--data", place / "conversations.jsonl", "--out", place / "tuned")
    first = burnish(*command, *small("sft"), "--json")
    assert first.returncode == 0, first.stderr
    assert said(first)["stages"]["sft"]["ran"] is True
    assert (place / "tuned" / "sft" / "model" / "model.safetensors").is_file()
    assert (place / "tuned" / "report.html").is_file()
    again = burnish(*command, *small("sft"), "--json")
    assert said(again)["stages"]["sft"]["ran"] is False
    [stage] = said(burnish("status", place / "tuned", "--json"))["stages"]
    assert (stage["stage"], stage["state"]) == ("sft", "done")


def test_a_reward_model_alone_is_measured(place: Path) -> None:
    command = ("reward", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "scored")
    found = burnish(*command, *small("reward"), "--set", "reward.folds=2", "--json")
    assert found.returncode == 0, found.stderr
    assert {"accuracy", "length_rule", "shuffled"} <= said(found)["stages"]["reward"]["facts"].keys()


def test_dpo_alone_starts_at_ln_2(place: Path) -> None:
    command = ("dpo", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "preferred")
    found = burnish(*command, *small("dpo"), "--set", "dpo.lora={}", "--json")
    assert found.returncode == 0, found.stderr
    assert said(found)["stages"]["dpo"]["facts"]["loss_first"] == pytest.approx(math.log(2), abs=1e-2)
    assert (place / "preferred" / "dpo" / "adapter" / "adapter_model.safetensors").is_file()


def test_problems_name_the_option(place: Path) -> None:
    found = burnish("sft", "--model", place / "model", "--data", place / "none.jsonl", "--out", place / "x")
    assert found.returncode == 2
    assert found.stderr.startswith("--data: ")
    assert "does not exist" in found.stderr
    assert not (place / "x").exists()
    named = burnish("sft", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "a b")
    assert named.returncode == 2
    assert "--out" in named.stderr
