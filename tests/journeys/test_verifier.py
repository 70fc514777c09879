"""Reinforcement learning from a rule alone, on a task whose ceiling is known."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
from tiny import burnish

from burnish.models.tiny import write_tiny

RECIPE = """\
name: digit
model: model
seed: 1
dtype: float32
sft: {data: conversations.jsonl, epochs: 6, batch_size: 10, lr: 3e-3, schedule: linear, max_length: 128}
grpo:
  prompts: prompts.jsonl
  rewards: [{exact: {column: answer}}]
  loss: dr_grpo
  iterations: 150
  prompts_per_iteration: 12
  num_generations: 8
  lr: LR
  max_new_tokens: 3SAMPLER
evaluate: {cases: [cases.jsonl], rewards: [{exact: {column: answer}}], sampling: {temperature: 0, max_new_tokens: 3}}
"""

VLLM = pytest.param(
    *("\n  vllm: {cache_gib: 0.5}", 128, "3e-4"),  # it has no heads as narrow as those of a model 64 wide
    marks=pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make vllm"),
    id="vllm",
)


def project(folder: Path, sampler: str, width: int, lr: str) -> Path:
    """A recipe, three files that share no question, and a model that reads bytes."""
    chance = Random(0)
    names, things = ["Ada", "Ben", "Cleo", "Dev", "Ema", "Finn", "Gita", "Hugo"], ["pens", "cups", "keys", "hats"]
    drawn = [(chance.choice(names), chance.randint(0, 9), chance.choice(things)) for _ in range(2000)]
    asked = {f"{name} has {digit} {thing}.": digit for name, digit, thing in drawn}
    rows = [{"prompt": prompt, "answer": digit} for prompt, digit in asked.items()]
    chance.shuffle(rows)
    told = [{"prompt": row["prompt"], "completion": str(row["answer"])} for row in rows[:100]]
    cases = [{"id": str(number), **row} for number, row in enumerate(rows[220:])]
    for name, part in (("conversations", told), ("prompts", rows[100:220]), ("cases", cases)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    write_tiny(folder / "model", width=width)
    (folder / "recipe.yaml").write_text(RECIPE.replace("LR", lr).replace("SAMPLER", sampler))
    return folder


@pytest.mark.proof
@pytest.mark.parametrize(("sampler", "width", "lr"), [pytest.param("", 64, "1e-3", id="own"), VLLM])
def test_a_verifier_takes_a_policy_to_the_ceiling_of_its_task(
    tmp_path: Path, sampler: str, width: int, lr: str
) -> None:
    folder = project(tmp_path, sampler, width, lr)
    found = burnish("run", folder / "recipe.yaml", "--out", folder / "run", timeout=1200)
    assert found.returncode == 0, found.stderr
    figures = json.loads((folder / "run" / "evaluate" / "evaluation.json").read_text())["suites"]["exact"]["figures"]
    print({name: figure["value"] for name, figure in figures.items()})
    assert figures["sft"]["value"] < 0.95, "there is something left to learn"
    assert figures["grpo"]["value"] >= 0.97
    assert figures["grpo-sft"]["low"] > 0
