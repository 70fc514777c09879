"""The stage graph: what is done is skipped, what is half done continues, what changed is rerun, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import Killed, graph, outputs, project, ran, run, steps

from burnish.errors import ConfigError, DataError, MachineError
from burnish.pipeline.graph import GRAPH, Step, check, execute
from burnish.pipeline.key import contents, stage_key
from burnish.pipeline.recipe import STAGES, Sft
from burnish.pipeline.recipe_file import load_recipe
from burnish.pipeline.status import status
from burnish.records.durable import verify
from burnish.types import Silent

ALL = ["sft", "collect", "reward", "evaluate", "gate"]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return project(tmp_path / "project")


def test_the_graph_has_a_stage_for_each_section_and_needs_only_earlier_ones() -> None:
    assert tuple(stage.name for stage in GRAPH) == STAGES
    for place, stage in enumerate(GRAPH):
        assert set(stage.needs) <= set(STAGES[:place])


def test_everything_runs_once_and_then_nothing(tiny: Path) -> None:
    first = run(tiny)
    assert ran(first) == ALL
    again = run(tiny)
    assert ran(again) == []
    assert outputs(again) == outputs(first)


def test_a_record_says_what_was_done(tiny: Path) -> None:
    found = {step.record.stage: step.record for step in run(tiny)}
    record = json.loads((tiny / "run/collect/stage.json").read_text())
    assert record["inputs"] == {"sft": found["sft"].output}
    assert record["settings"]["k"] == 2
    assert record["key"] == found["collect"].key
    assert (tiny / "run/gate.json").is_file(), "a sealed stage's record lies beside it"
    verify(tiny / "run/gate")


def test_a_changed_setting_reruns_what_depends_on_it_and_nothing_else(tiny: Path) -> None:
    run(tiny)
    assert ran(run(tiny, "collect.overlap=2")) == ["collect", "reward"]
    assert ran(run(tiny, "collect.overlap=2", "reward.lr=1e-5")) == ["reward"]
    assert ran(run(tiny, "collect.overlap=2", "reward.lr=1e-5", "sft.lr=1e-5")) == ALL


def test_a_setting_that_cannot_change_a_result_reruns_nothing(tiny: Path) -> None:
    run(tiny)
    elsewhere = "collect.store=postgresql://ines@localhost/labels"  # these stand-in stages open no database
    assert ran(run(tiny, "sft.save_every=7", "sft.spike=10.0", elsewhere)) == []


def test_a_setting_that_asks_for_nothing_is_no_part_of_a_key(tiny: Path) -> None:
    """A new setting whose default is null leaves every finished stage done; one that is set does not."""
    recipe, stage = load_recipe(tiny / "recipe.yaml"), graph()[0]
    before = stage_key(recipe, stage, contents(recipe, tiny, stage), {})

    class Later(Sft):
        new: int | None = None

    later = recipe.model_copy(update={"sft": Later(data="rows.jsonl")})
    assert stage_key(later, stage, contents(later, tiny, stage), {}) == before
    asked = recipe.model_copy(update={"sft": Later(data="rows.jsonl", new=1)})
    assert stage_key(asked, stage, contents(asked, tiny, stage), {}) != before
    assert ran(run(tiny, until="sft")) == ["sft"]
    assert ran(run(tiny, "sft.ema=0.9", until="sft")) == ["sft"]


def test_a_setting_with_a_new_meaning_reruns_stages_that_have_it_set(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burnish.pipeline.key.MEANINGS", {})
    run(tiny, until="sft")
    run(tiny, "sft.weight_decay=0.1", until="sft")
    monkeypatch.undo()
    assert ran(run(tiny, until="sft")) == []
    assert ran(run(tiny, "sft.weight_decay=0.1", until="sft")) == ["sft"]


def test_stages_that_read_a_gguf_file_rerun_as_it_is_read_whole(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(model: str) -> str:
        recipe, stage = load_recipe(tiny / "recipe.yaml", (f"model={model}",)), graph()[0]
        return stage_key(recipe, stage, contents(recipe, tiny, stage), {})

    (tiny / "model.GGUF").write_bytes(b"GGUF")
    found = [keys("smollm2-135m"), keys("model.GGUF")]
    monkeypatch.setattr("burnish.pipeline.key._GGUF", {})
    assert [keys("smollm2-135m") == found[0], keys("model.GGUF") == found[1]] == [True, False]


def test_a_stage_that_reads_facts_reruns_where_they_are_others(tiny: Path) -> None:
    """A reward model that is measured anew is made anew, to the same bits: what judges it must not stand."""
    reading = [replace(stage, facts=("reward",)) if stage.name == "gate" else stage for stage in graph()]
    assert {stage.name for stage in GRAPH if stage.facts} == {"gate", "release"}

    def run(tiny: Path) -> list[Step]:
        recipe = load_recipe(tiny / "recipe.yaml")
        return list(execute(recipe, tiny, tiny / "run", Silent(), graph=reading))

    run(tiny)
    path = tiny / "run" / "reward" / "stage.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps(before | {"facts": {"accuracy": 0.5}}))
    assert ran(run(tiny)) == ["gate"]
    assert ran(run(tiny)) == []
    path.write_text(json.dumps(before))
    assert ran(run(tiny)) == [], "the first verdict is taken back"


def test_documents_to_evaluate_on_count_by_what_they_hold(tiny: Path) -> None:
    evaluated = ("sft.eval_every=5", "sft.eval_data=held.jsonl")
    (tiny / "held.jsonl").write_text((tiny / "rows.jsonl").read_text())
    run(tiny, *evaluated, until="sft")
    assert ran(run(tiny, *evaluated, until="sft")) == []
    (tiny / "held.jsonl").write_text((tiny / "rows.jsonl").read_text() * 2)
    assert ran(run(tiny, *evaluated, until="sft")) == ["sft"]


def test_going_back_to_an_old_setting_costs_nothing(tiny: Path) -> None:
    first = run(tiny)
    run(tiny, "sft.lr=1e-5")
    back = run(tiny)
    assert ran(back) == []
    assert outputs(back) == outputs(first)
    assert ran(run(tiny, "sft.lr=1e-5")) == [], "and forth"
    verify(tiny / "run/gate")


def test_the_seed_matters_where_it_is_used(tiny: Path) -> None:
    run(tiny)
    assert "sft" in ran(run(tiny, "seed=4"))


def test_changed_data_rerun_and_a_renamed_file_does_not(tiny: Path) -> None:
    run(tiny)
    (tiny / "rows.jsonl").rename(tiny / "lines.jsonl")
    renamed = ["sft.data=lines.jsonl", "collect.prompts=lines.jsonl", "evaluate.cases=[lines.jsonl]"]
    assert ran(run(tiny, *renamed)) == []
    with (tiny / "lines.jsonl").open("a") as file:
        file.write('{"messages": [{"role": "user", "content": "More"}]}\n')
    assert ran(run(tiny, *renamed)) == ALL


def test_a_moved_project_is_still_done(tiny: Path) -> None:
    run(tiny)
    moved = tiny.rename(tiny.parent / "elsewhere")
    assert ran(run(moved)) == []


@pytest.mark.parametrize("victim", ALL)
def test_a_stage_that_was_killed_continues_and_ends_the_same(tiny: Path, victim: str) -> None:
    whole = outputs(run(project(tiny.parent / "whole")))
    (tiny / "kill").write_text(victim)
    with pytest.raises(Killed):
        run(tiny)
    (tiny / "kill").unlink()
    rest = run(tiny)
    assert ran(rest) == ALL[ALL.index(victim) :]
    assert outputs(rest) == whole
    record = next(step.record for step in rest if step.record.stage == victim)
    if victim != "gate":
        assert record.facts == {"resumed": True}, "its own folder was left to it"
        assert record.resumed


def test_what_a_killed_stage_left_is_not_mixed_with_another_setting(tiny: Path) -> None:
    (tiny / "kill").write_text("sft")
    with pytest.raises(Killed):
        run(tiny)
    (tiny / "kill").unlink()
    other = run(tiny, "sft.lr=1e-5", until="sft")
    assert other[0].record.facts == {"resumed": False}
    back = run(tiny, until="sft")
    assert back[0].record.facts == {"resumed": True}, "and it is still there for the old one"


def test_leftovers_of_an_interrupted_write_are_swept(tiny: Path) -> None:
    run(tiny, until="sft")
    for leftover in (tiny / "run/.tmp-x", tiny / "run/collect/.tmp-y"):
        leftover.mkdir(parents=True)
    run(tiny)
    assert not list((tiny / "run").rglob(".tmp-*"))


DAMAGE = {
    "no manifest": lambda model: (model / "manifest.json").unlink(),
    "no weights": lambda model: (model / "weights").unlink(),
    "nothing": lambda model: (model / "manifest.json").write_text(""),
    "a list": lambda model: (model / "manifest.json").write_text("[]"),
    "no mapping": lambda model: (model / "manifest.json").write_text('{"files": []}'),
    "no text": lambda model: (model / "manifest.json").write_bytes(b"\xff"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_output_is_made_again(tiny: Path, damage: str) -> None:
    first = run(tiny)
    DAMAGE[damage](tiny / "run/sft/model")
    assert status(tiny / "run", graph())["stages"][0]["state"] == "stale"
    again = run(tiny)
    assert ran(again) == ["sft"], "the same bytes come out, so that nothing else reruns"
    assert outputs(again) == outputs(first)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_environment_is_written_again(tiny: Path, text: str) -> None:
    run(tiny, until="sft")
    written = (tiny / "run/env.json").read_text()
    (tiny / "run/env.json").write_text(text)
    run(tiny, until="sft")
    assert (tiny / "run/env.json").read_text() == written


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_mark_says_what_to_remove(tiny: Path, text: str) -> None:
    run(tiny, until="sft")
    (tiny / "run/sft/key.json").write_text(text)
    (tiny / "run/sft/stage.json").unlink()
    with pytest.raises(ConfigError, match=r"key\.json: is damaged.* Remove .*/run/sft and run the same command"):
        run(tiny)


def test_until_stops_there(tiny: Path) -> None:
    assert ran(run(tiny, until="collect")) == ["sft", "collect"]
    assert ran(run(tiny)) == ["reward", "evaluate", "gate"]


def test_another_recipe_is_refused_and_nothing_changes(tiny: Path) -> None:
    run(tiny, until="sft")
    before = (tiny / "run/recipe.yaml").read_bytes()
    with pytest.raises(ConfigError, match='holds the run "tiny", not "other"'):
        run(tiny, "name=other")
    assert (tiny / "run/recipe.yaml").read_bytes() == before


@pytest.mark.parametrize("strange", ["thesis.txt", "recipe.yaml"])
def test_a_folder_that_holds_something_else_is_refused(tiny: Path, strange: str) -> None:
    (tiny / "run").mkdir()
    (tiny / "run" / strange).write_text("name: tiny\nmodel: x\nsft: {data: y}\n")
    with pytest.raises(ConfigError):
        run(tiny)
    assert [path.name for path in (tiny / "run").iterdir()] == [strange]


def test_a_strange_stage_folder_is_refused(tiny: Path) -> None:
    run(tiny, until="sft")
    (tiny / "run/collect").mkdir()
    (tiny / "run/collect/mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="no run of burnish left there"):
        run(tiny)


def test_a_file_in_a_stage_s_place_is_refused(tiny: Path) -> None:
    run(tiny, until="sft")
    (tiny / "run/collect").write_text("mine")
    with pytest.raises(ConfigError, match="is a file that no run of burnish left there"):
        run(tiny)


def test_two_processes_never_write_the_same_run(tiny: Path) -> None:
    working = steps(tiny)
    next(working)
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; import stand_ins\n"
    )
    code += f"stand_ins.run(Path({str(tiny)!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MachineError" in other.stderr
    assert "is writing this run" in other.stderr
    assert [step.record.stage for step in working] == ALL[1:]


def test_the_lock_names_who_holds_it(tiny: Path) -> None:
    working = steps(tiny)
    next(working)
    with pytest.raises(MachineError, match=str(os.getpid())):
        run(tiny)
    working.close()
    assert ran(run(tiny)) == ALL[1:], "and is free when the work stops"


def test_check_reads_every_file_and_writes_nothing(tiny: Path) -> None:
    recipe = load_recipe(tiny / "recipe.yaml")
    (tiny / "rows.jsonl").write_text('{"messages": []}\n{"prompt": 3}\n')
    with pytest.raises(DataError) as caught:
        check(recipe, tiny, tiny / "run", graph=graph())
    assert len(caught.value.problems) >= 2
    assert not (tiny / "run").exists()


def test_check_names_what_is_left(tiny: Path) -> None:
    (tiny / "rows.jsonl").write_text('{"prompt": "Hi", "completion": "Hello."}\n')
    recipe = load_recipe(tiny / "recipe.yaml")
    assert check(recipe, tiny, tiny / "run", graph=graph()) == ALL
    run(tiny)
    assert check(recipe, tiny, tiny / "run", graph=graph()) == []
    changed = load_recipe(tiny / "recipe.yaml", ["reward.lr=1e-5"])
    assert check(changed, tiny, tiny / "run", graph=graph()) == ["reward", "evaluate", "gate"]


def test_status_tells_done_begun_stale_and_to_do(tiny: Path) -> None:
    run(tiny, until="reward")
    states = {each["stage"]: each["state"] for each in status(tiny / "run", graph())["stages"]}
    assert states == {"sft": "done", "collect": "done", "reward": "done", "evaluate": "to do", "gate": "to do"}
    (tiny / "kill").write_text("collect")
    with pytest.raises(Killed):
        run(tiny, "sft.lr=1e-5")
    states = {each["stage"]: each["state"] for each in status(tiny / "run", graph())["stages"]}
    assert states == {"sft": "done", "collect": "begun", "reward": "stale", "evaluate": "to do", "gate": "to do"}
