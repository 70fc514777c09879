"""The whole loop through the command line, on a tiny model: what `make demo` promises, in seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny import burnish, project, said

from burnish.pipeline.recipe import STAGES
from burnish.records.durable import MANIFEST, digest_file, verify
from burnish.store import queries
from burnish.store.session import open_store


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; the tests below leave it as they find it."""
    folder = project(tmp_path_factory.mktemp("tiny"))
    found = burnish("run", folder / "recipe.yaml", "--out", folder / "run")
    assert found.returncode == 0, found.stderr
    last = found.stdout.strip().splitlines()[-1]
    assert last == f"Talk to it: burnish chat {folder / 'run' / 'release'}"
    return folder / "run"


def again(demo: Path, *overrides: str) -> dict[str, Any]:
    sets = [part for each in overrides for part in ("--set", each)]
    found = burnish("run", demo.parent / "recipe.yaml", "--out", demo, "--json", *sets)
    assert found.returncode == 0, found.stderr
    return said(found)


def test_it_leaves_a_report_and_a_release(demo: Path) -> None:
    assert (demo / "report.html").read_text().startswith("<!doctype html>")
    for name in ("config.json", "model.safetensors", "README.md", "evidence.json"):
        assert (demo / "release" / name).is_file()
    assert not (demo / "release" / "heads.safetensors").exists()
    assert not list(demo.rglob("checkpoints"))
    assert not list(demo.rglob(".tmp-*"))


def test_every_member_of_the_reward_ensemble_is_sealed_with_the_first(demo: Path) -> None:
    model = demo / "reward" / "model"
    verify(model)
    first, second = (digest_file(folder / "model.safetensors") for folder in (model, model / "member-02"))
    assert first != second
    assert "member-02/normalisation.json" in (model / MANIFEST).read_text()


def test_the_next_round_asks_first_what_the_ensemble_disputes(demo: Path, tmp_path: Path) -> None:
    """The same answers are sampled again, so that the order is that of the reward stage's own table."""
    told = [json.loads(line) for line in (demo / "reward" / "disagreement.jsonl").read_text().splitlines()]
    disputes = {row["prompt_id"]: row["disagreement"] for row in told}
    assert len(told) >= 8
    assert list(disputes.values()) == sorted(disputes.values(), reverse=True)
    copy = shutil.copytree(demo.parent, tmp_path / "copy")
    settings = (f"collect.disputed_by={demo / 'reward' / 'model'}", "collect.ask=10", "collect.held_out=0.5")
    sets = [part for each in settings for part in ("--set", each)]
    found = burnish("run", copy / "recipe.yaml", "--out", copy / "run", "--until", "collect", "--json", *sets)
    assert found.returncode == 0, found.stderr
    store = open_store(copy / "run" / "preferences.db")
    with store.reading() as session:
        latest = queries.campaigns(session)[-1]
        items = sorted(queries.items(session, latest.id), key=lambda item: item.id)
    store.close()
    asked = [disputes[item.prompt.id] for item in items if item.prompt.id in disputes]
    assert len(items) == 10
    assert asked == sorted(asked, reverse=True)
    assert len(asked) >= 6


def test_status_lists_every_stage_as_done(demo: Path) -> None:
    found = said(burnish("status", demo, "--json"))
    assert {each["stage"]: each["state"] for each in found["stages"]} == dict.fromkeys(STAGES, "done")
    assert found["done"] is True


def test_every_model_is_measured_on_the_text_too(demo: Path) -> None:
    found = json.loads((demo / "evaluate" / "evaluation.json").read_text())["suites"]["text_nll"]["figures"]
    assert {"base", "sft", "ppo", "ppo-sft"} <= found.keys()
    assert all(0 < found[model]["value"] < 20 for model in ("base", "sft", "ppo"))


def test_every_model_is_scored_by_the_reward_model_that_nobody_was_paid_by(demo: Path) -> None:
    found = json.loads((demo / "evaluate" / "evaluation.json").read_text())["suites"]["held_out_reward"]["figures"]
    assert {"base", "sft", "ppo", "ppo-sft"} <= found.keys()
    assert found["ppo"]["low"] <= found["ppo"]["value"] <= found["ppo"]["high"]


def test_again_does_nothing_quickly_and_without_torch(demo: Path) -> None:
    began = time.monotonic()
    found = again(demo)
    assert time.monotonic() - began < 30  # seconds of a busy machine; a stage that is done again takes longer
    assert not any(stage["ran"] for stage in found["stages"].values())
    assert without_torch("run", demo.parent / "recipe.yaml", "--out", demo) == 0


def without_torch(*arguments: str | Path) -> int:
    """The exit code of a command, in a process that fails where torch was imported."""
    code = "import sys; from burnish.__main__ import code_of; sys.exit(code_of(sys.argv[1:]) or 'torch' in sys.modules)"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_a_changed_setting_reruns_ppo_and_what_follows(demo: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(demo.parent, tmp_path / "copy") / "run"
    found = again(copy, "ppo.kl_coef=0.1")
    ran = {name for name, stage in found["stages"].items() if stage["ran"]}
    assert {"ppo", "evaluate", "release"} <= ran <= {"ppo", "evaluate", "gate", "release"}, "gate, if figures changed"
    back = again(copy)
    assert not any(stage["ran"] for stage in back["stages"].values())
    original = said(burnish("status", demo, "--json"))["stages"]
    assert {s["stage"]: s["output"] for s in original} == {n: s["output"] for n, s in back["stages"].items()}


def test_a_critic_of_its_own_is_not_sealed_with_the_policy(demo: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(demo.parent, tmp_path / "copy")
    found = burnish("run", copy / "recipe.yaml", "--out", copy / "run", "--until", "ppo", "--set", "ppo.critic=reward")
    assert found.returncode == 0, found.stderr
    sealed = {path.name for path in (copy / "run" / "ppo" / "model").iterdir()}
    assert "model.safetensors" in sealed
    assert "heads.safetensors" not in sealed
    rows = [json.loads(line) for line in (copy / "run" / "ppo" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["objective/kl"] == 0.0
    assert all(row["loss/value_avg"] > 0 for row in rows)


def test_lineage_leads_to_judgements_in_the_database(demo: Path) -> None:
    found = said(burnish("lineage", demo / "release", "--json"))
    assert found["broken"] == []
    ids = found["judgements"]["ids"]
    assert len(ids) == 16 * 2, "16 prompts, two annotators each"
    store = open_store(demo / "preferences.db")
    with store.reading() as session:
        assert queries.exists(session, ids) == set(ids)
    store.close()
    assert found["release"]["weights"]["model.safetensors"] == verify(demo / "grpo" / "model")["model.safetensors"]


def test_a_flipped_byte_is_refused(demo: Path, tmp_path: Path) -> None:
    assert burnish("verify", demo / "release").returncode == 0
    copy = shutil.copytree(demo / "release", tmp_path / "release")
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    found = burnish("verify", copy, "--json")
    assert found.returncode == 2
    assert said(found)["problems"][0]["found"] == "changed since it was written"
    assert burnish("chat", copy, "--once", "Hello").returncode == 2


def test_the_release_answers(demo: Path) -> None:
    found = burnish("chat", demo / "release", "--once", "Hello", "--max-new-tokens", "4", "--json")
    assert found.returncode == 0, found.stderr
    assert set(said(found)) == {"model", "prompt", "answer"}


def test_samples_are_written_as_rows(demo: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    prompts = demo.parent / "prompts.jsonl"
    found = burnish("sample", demo / "release", "--prompts", prompts, "--n", "2", "--max-new-tokens", "3", "--out", out)
    assert found.returncode == 0, found.stderr
    assert len(out.read_text().splitlines()) == 16


def test_more_layers_than_the_model_has_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    folder = project(tmp_path / "project", cases=4)
    wrong = ("--set", "ppo.unfrozen_layers=9", "--set", "reward.layers=3")
    found = burnish("run", folder / "recipe.yaml", "--out", folder / "run", *wrong)
    assert found.returncode == 2
    assert "reward.layers: 3, but" in found.stderr
    assert "ppo.unfrozen_layers: 9, but" in found.stderr
    assert not (folder / "run" / "sft" / "metrics.jsonl").exists()


def test_a_verdict_of_no_is_exit_4_with_a_report_and_no_release(demo: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(demo.parent, tmp_path / "copy") / "run"
    strict = "gate.thresholds=[{figure: words.grpo, at_least: 1000}]"
    found = burnish("run", copy.parent / "recipe.yaml", "--out", copy, "--set", strict)
    assert found.returncode == 4
    assert "words.grpo should be at least 1000" in found.stderr
    assert "report.html" in found.stderr
    assert not (copy / "release.json").exists()


def test_a_tiny_evaluation_is_inconclusive(demo: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(demo.parent, tmp_path / "copy") / "run"
    found = burnish("run", copy.parent / "recipe.yaml", "--out", copy, "--set", "evaluate.limit=20")
    assert found.returncode == 5
    assert "too few cases" in found.stderr
