"""A recipe that has rankings and no reward model: sft, dpo, evaluate, gate, release."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import burnish, project, said

from burnish.records.durable import digest_folder, verify

RECIPE = """\
name: tiny
model: model
seed: 5
dtype: float32
sft: {data: conversations.jsonl, batch_size: 8, lr: 1e-3, max_length: 1024, micro_tokens: 4096}
dpo:
  rankings: rankings.jsonl
  held_out: 0.3
  epochs: 3
  batch_size: 4
  lr: 1e-3
  max_length: 1024
  micro_tokens: 4096
  save_every: 2
evaluate:
  cases: [cases.jsonl]
  rubric: shop.yaml
  sampling: {temperature: 0.0, max_new_tokens: 8}
gate: {thresholds: [{figure: ended_with_eos.dpo, at_least: 0}]}
release: {name: tiny-dpo, license: mit, purpose: Nothing but a test.}
"""
ANSWERS = ("Yes.", "I will look that up for you.", "No idea!")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project(tmp_path_factory.mktemp("dpo"))
    (folder / "recipe.yaml").write_text(RECIPE)
    prompts = [json.loads(line) for line in (folder / "prompts.jsonl").read_text("utf-8").splitlines()]
    rows = [
        {"prompt": row["messages"], "completions": [*ANSWERS[n % 2 :], *ANSWERS[: n % 2]], "ranks": ranks(n)}
        for n, row in enumerate(prompts)
    ]
    (folder / "rankings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = burnish("run", folder / "recipe.yaml", "--out", folder / "run")
    assert found.returncode == 0, found.stderr
    return folder / "run"


def ranks(n: int) -> list[int]:
    """The short answer is best, the other two are even; their order turns with the row."""
    return [1, 2, 2] if n % 2 == 0 else [2, 2, 1]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "dpo" / "metrics.jsonl").read_text().splitlines()]


def test_it_starts_at_ln_2_and_learns(run: Path) -> None:
    rows = metrics(run)
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[0]["rewards/margins"] == 0
    assert rows[-1]["loss"] < rows[0]["loss"]
    facts = json.loads((run / "dpo" / "stage.json").read_text())["facts"]
    assert facts["accuracy"]["value"] > 0.9
    assert facts["accuracy"]["n"] + facts["train_prompts"] == 16
    assert facts["train_pairs"] == 2 * facts["train_prompts"]


def test_its_model_is_evaluated_and_released(run: Path) -> None:
    assert json.loads((run / "evaluate" / "evaluation.json").read_text())["models"] == ["base", "sft", "dpo"]
    weights = verify(run / "dpo" / "model")["model.safetensors"]
    assert verify(run / "release")["model.safetensors"] == weights
    found = said(burnish("lineage", run / "release", "--json"))
    assert found["broken"] == []
    assert found["release"]["from"] == "dpo"
    page = (run / "report.html").read_text()
    assert "Direct preference optimisation" in page
    assert "Where DPO does worst" in page
    assert "DPO against SFT" in (run / "release" / "README.md").read_text()


def test_another_beta_reads_what_the_reference_said(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run.parent, tmp_path / "copy") / "run"
    before = {path: path.stat().st_mtime_ns for path in (copy / ".references").rglob("*")}
    assert len(before) > 3
    command = ("run", copy.parent / "recipe.yaml", "--out", copy, "--until", "dpo", "--json")
    found = burnish(*command, "--set", "dpo.beta=0.3")
    assert found.returncode == 0, found.stderr
    assert {name for name, stage in said(found)["stages"].items() if stage["ran"]} == {"dpo"}
    assert {path: path.stat().st_mtime_ns for path in (copy / ".references").rglob("*")} == before
    assert metrics(copy)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert burnish(*command).returncode == 0
    assert digest_folder(copy / "dpo" / "model") == digest_folder(run / "dpo" / "model")


@pytest.mark.parametrize("loss", ["ipo", "simpo", "orpo"])
def test_other_losses_run(run: Path, tmp_path: Path, loss: str) -> None:
    copy = shutil.copytree(run.parent, tmp_path / "copy") / "run"
    found = burnish(
        "run", copy.parent / "recipe.yaml", "--out", copy, "--until", "dpo", "--set", f"dpo.loss={loss}", "--json"
    )
    assert found.returncode == 0, found.stderr
    rows = metrics(copy)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert said(found)["stages"]["dpo"]["facts"]["loss"] == loss


def test_rankings_that_order_nothing_are_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run.parent, tmp_path / "copy")
    rows = [json.loads(line) for line in (copy / "rankings.jsonl").read_text().splitlines()]
    (copy / "rankings.jsonl").write_text("".join(json.dumps(row | {"ranks": [1, 1, 1]}) + "\n" for row in rows))
    found = burnish("run", copy / "recipe.yaml", "--out", copy / "run", "--until", "dpo")
    assert found.returncode == 2
    assert "puts two answers in order" in found.stderr
