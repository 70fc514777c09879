"""What led to what over several runs: what a stage read is recorded, and followed to the run that made it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from stand_ins import outputs, project, ran, run

from burnish.pipeline.lineage import as_text, lineage
from burnish.pipeline.report import write_report
from burnish.records.durable import digest_file, write_json

SFT, REWARD = "../../tuned/run/sft/model", "../../judged/run/reward/model"
POLICY = """\
name: policy
model: ../tuned/run/sft/model
ppo:
  prompts: rows.jsonl
  rewards: [{model: {folder: ../judged/run/reward/model}}, {rubric: {file: shop.yaml}, weight: 0.5}]
"""
LOST = ["judged/run: 2 of 2 judgements are not in judged/run/preferences.db"]
"""The stand-in of collect invents them."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs: sft alone; collect and reward from its model; ppo from both."""
    monkeypatch.chdir(tmp_path)
    run(project(tmp_path / "tuned"), until="sft")
    run(project(tmp_path / "judged"), "model=../tuned/run/sft/model", "sft=null", "gate=null", until="reward")
    (project(tmp_path / "policy") / "recipe.yaml").write_text(POLICY)
    (tmp_path / "policy" / "shop.yaml").write_text("{}")
    run(tmp_path / "policy")
    return tmp_path


def record(place: Path, stage: str) -> Path:
    return place / stage / "stage.json"


def test_a_record_says_what_was_read_beside_stages(place: Path) -> None:
    tuned, judged = (
        outputs(run(place / "tuned", until="sft")),
        json.loads(record(place, "judged/run/reward").read_text()),
    )
    assert json.loads(record(place, "policy/run/ppo").read_text())["sources"] == [
        {"setting": "ppo.prompts", "name": "../rows.jsonl", "digest": digest_file(place / "policy" / "rows.jsonl")},
        {"setting": "ppo.rewards.0.model.folder", "name": REWARD, "digest": judged["output"]},
        {
            "setting": "ppo.rewards.1.rubric.file",
            "name": "../shop.yaml",
            "digest": digest_file(place / "policy" / "shop.yaml"),
        },
        {"setting": "model", "name": SFT, "digest": tuned["sft"]},
    ]
    sft = json.loads(record(place, "tuned/run/sft").read_text())["sources"]
    assert sft[-1] == {"setting": "model", "name": "nowhere/model", "digest": None}


def test_a_base_model_is_that_of_the_stage_that_starts_from_it(tmp_path: Path) -> None:
    found = {step.record.stage: step.record for step in run(project(tmp_path / "whole"))}
    named = {name: [source.setting for source in record.sources] for name, record in found.items()}
    assert named == {
        "sft": ["sft.data", "model"],
        "collect": ["collect.prompts"],
        "reward": [],
        "evaluate": ["evaluate.cases"],
        "gate": [],
    }


def test_it_leads_over_runs_to_the_judgements(place: Path) -> None:
    found = lineage(Path("policy/run"))
    assert {run: list(chain["stages"]) for run, chain in found["earlier"].items()} == {
        "judged/run": ["collect", "reward"],
        "tuned/run": ["sft"],
    }
    assert found["earlier"]["judged/run"]["judgements"]["ids"] == ["one", "two"]
    assert found["broken"] == LOST
    lines = as_text(found).splitlines()
    made = {stage: link["output"][:8] for each in found["earlier"].values() for stage, link in each["stages"].items()}
    ppo = next(line for line in lines if line.startswith("ppo"))
    assert f"paid by {REWARD} {made['reward']}" in ppo
    assert f"base {SFT} {made['sft']}" in ppo
    assert [line.split()[0] for line in lines] == [
        *("ppo", "in", "reward", "collect", "snapshot", "judgements"),
        *("in", "sft", "broken:"),
    ]


def test_a_run_that_holds_something_else_by_now_is_not_followed(place: Path) -> None:
    run(place / "tuned", "sft.lr=1e-5", until="sft")
    shutil.rmtree(place / "judged")
    found = lineage(Path("policy/run"))
    assert found["earlier"] == {}
    assert found["broken"] == [
        f"ppo read {REWARD}, which is gone",
        f"ppo read another {SFT} than the one that lies there",
    ]
    text = write_report(Path("policy/run")).read_text()
    assert all(each in text for each in ("What no longer holds", *found["broken"]))
    run(place / "tuned", until="sft")
    assert list(lineage(Path("policy/run"))["earlier"]) == ["tuned/run"], "and taken back it is"


def test_only_what_the_read_stage_rests_on_is_followed(place: Path) -> None:
    run(place / "judged", "model=../tuned/run/sft/model", "sft=null", "gate=null", "collect.overlap=2", until="collect")
    found = lineage(Path("policy/run"))
    assert list(found["earlier"]["judged/run"]["stages"]) == ["reward"], "its snapshot is another by now"
    assert found["broken"] == ["judged/run: reward read another collect than the one that lies here"]


def test_changed_data_are_told(place: Path) -> None:
    with (place / "policy" / "rows.jsonl").open("a") as file:
        file.write("\n")
    assert "ppo read another ../rows.jsonl than the one that lies there" in lineage(Path("policy/run"))["broken"]


def test_the_report_shows_earlier_runs(place: Path) -> None:
    text = write_report(Path("policy/run")).read_text()
    order = [
        text.index(f"<b>{title}</b>")
        for title in (
            "Tuned model of ../../tuned/run",
            "2 judgements of ../../judged/run",
            "Reward model of ../../judged/run",
            "Policy",
        )
    ]
    assert order == sorted(order)
    assert f"paid by {REWARD}" in text
    assert "What no longer holds" not in text


def test_a_run_from_before_sources_were_written_is_read(place: Path) -> None:
    path = record(place, "policy/run/ppo")
    before = json.loads(path.read_text())
    del before["sources"]
    write_json(path, before)
    assert ran(run(place / "policy")) == []
    found = lineage(Path("policy/run"))
    assert (found["broken"], found["earlier"]) == ([], {})
    assert "base model ../../tuned/run/sft/model" in write_report(Path("policy/run")).read_text()
