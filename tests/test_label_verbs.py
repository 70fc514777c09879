"""The verbs of `burnish label`, from a file to an export, as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from burnish import label_verbs
from burnish.__main__ import code_of
from burnish.label import service
from burnish.label.export import FORMS
from burnish.records.verdicts import FORMATS
from burnish.store.details import Asks
from burnish.store.kinds import KINDS
from burnish.store.session import open_store

ROWS = [{"id": f"p{number}", "prompt": f"Question {number}", "completions": ["Yes.", "No."]} for number in range(3)]
PANDALM = [
    {
        "idx": number,
        "instruction": "Greet.",
        "response1": "Hail!",
        "response2": f"Hey {number}.",
        "annotator1": 1,
        "annotator2": 1 + number % 2,
    }
    for number in range(4)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "panda.json").write_text(json.dumps(PANDALM))
    (tmp_path / "gold.jsonl").write_text(
        '{"prompt": "Is 1 more than 2?", "completions": ["Yes.", "No."], "ranks": [2, 1]}\n'
    )
    return tmp_path


@pytest.fixture
def told(here: Path, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> Any:
        assert code_of(["label", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_the_literals_are_those_of_the_tables():
    assert set(get_args(label_verbs.Source)) == set(FORMATS)
    assert set(get_args(label_verbs.Form)) == set(FORMS)
    assert set(get_args(label_verbs.Kind)) == set(KINDS)


def test_other_kinds_of_campaigns_ask_for_more(told: Any, here: Path):
    (here / "single.jsonl").write_text('{"prompt": "Alone", "completions": ["Yes."]}\n')
    told("new", "good", "--from", "single.jsonl", "--kind", "good_bad", "--rationale")
    told("new", "graded", "--from", "rows.jsonl", "--kind", "scale", "--axes", "helpful, honest", "--edits")
    told("new", "strong", "--from", "rows.jsonl", "--strength")
    store = open_store(here / "preferences.db")
    good, graded, strong = service.campaigns(store)
    store.close()
    assert (good.kind, good.asks) == ("good_bad", Asks(rationale=True))
    assert good.question == "Is the answer good?"
    assert (graded.kind, graded.asks) == ("scale", Asks(axes=("helpful", "honest"), edits=True))
    assert (strong.kind, strong.asks) == ("pairwise", Asks(strength=True))
    assert code_of(["label", "new", "none", "--from", "rows.jsonl", "--kind", "scale"]) == 2


def test_a_campaign_is_made_once(told: Any):
    first = told("new", "one", "--from", "rows.jsonl", "--gold", "gold.jsonl", "--overlap", "2")
    assert (first["items"], first["new_items"], first["gold"], first["left_out"]) == (4, 4, 1, 0)
    assert told("new", "one", "--from", "rows.jsonl", "--gold", "gold.jsonl", "--overlap", "2")["new_items"] == 0
    (campaign,) = told("status")["campaigns"]
    assert (campaign["campaign"], campaign["kind"], campaign["wanted"]) == ("one", "pairwise", 6)


def test_single_answers_have_gold_of_their_own_form(told: Any, here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "single.jsonl").write_text('{"prompt": "Alone", "completions": ["Yes."]}\n')
    (here / "labels.jsonl").write_text('{"prompt": "Is 1 more than 2?", "completion": "Yes.", "label": false}\n')
    asked = ("new", "good", "--from", "single.jsonl", "--kind", "good_bad", "--gold")
    for new in (2, 0):
        found = told(*asked, "labels.jsonl")
        assert (found["items"], found["new_items"], found["gold"]) == (2, new, 1)
    assert code_of(["label", *asked, "gold.jsonl"]) == 2
    assert "gold.jsonl:1:1: it orders answers, and this campaign has single ones" in capsys.readouterr().err
    assert code_of(["label", "new", "one", "--from", "rows.jsonl", "--gold", "labels.jsonl"]) == 2
    assert "this campaign orders answers. Give rankings, or" in capsys.readouterr().err


def test_what_was_judged_elsewhere_comes_in_and_goes_out(told: Any, here: Path, capsys: pytest.CaptureFixture[str]):
    assert told("import", "pandalm", "panda.json", "--campaign", "panda")["new_judgements"] == 8
    assert told("import", "pandalm", "panda.json", "--campaign", "panda")["new_judgements"] == 0
    found = told("status", "panda")
    assert found["agreeing"]["value"] == 0.5
    assert [each["kind"] for each in found["done"]] == ["imported", "imported"]
    assert code_of(["label", "status", "panda"]) == 0
    text = capsys.readouterr().out
    assert "pandalm 1  imported       4" in text
    assert "first shown wins     nothing to tell it by" in text
    assert told("export", "panda", "--as", "preference", "--out", "out")["rows"] == {"train": 2, "heldout": 0}
    assert len((here / "out" / "train.jsonl").read_text().splitlines()) == 2
    assert told("about", "pandalm 1")["account"]["kind"] == "imported"


def test_critiques_are_shown_and_measured(told: Any, here: Path, capsys: pytest.CaptureFixture[str]):
    row = {**ROWS[0], "gold": [1, 2], "critiques": [None, "It is no answer."], "critiques_right": True, "critic": "me"}
    (here / "known.jsonl").write_text(json.dumps(row) + "\n")
    told("new", "one", "--from", "known.jsonl")
    found = told("assistance", "one")
    assert (found["show"], found["share"], found["critiques"], found["reports"]) == ("none", 0.5, {"me": 1}, [])
    assert told("assistance", "one", "--show", "after")["show"] == "after"
    found = told("assistance", "one", "--share", "0.25")
    assert (found["show"], found["share"]) == ("after", 0.25)
    assert code_of(["label", "assistance", "one"]) == 0
    text = capsys.readouterr().out
    assert "one: critiques: 1 by me; shown: after, with 25% of tasks" in text
    assert "there is nothing to conclude" in text


def test_what_comes_first_is_said(told: Any, capsys: pytest.CaptureFixture[str]):
    told("new", "one", "--from", "rows.jsonl")
    found = told("suggest", "one", "--budget", "2")
    assert (found["by"], found["chosen"], found["of"]) == ("chance", 2, 3)
    assert code_of(["label", "suggest", "one", "--budget", "2"]) == 0
    assert "one: 2 of 3 come first, all by chance" in capsys.readouterr().out


def test_people_and_backups_need_no_name_of_a_database(told: Any, here: Path):
    told("new", "one", "--from", "rows.jsonl")
    assert told("invite", "--role", "manager")["link"].startswith("http://127.0.0.1:8600/join?once=")
    reach = ["--host", "0.0.0.0", "--certificate", "c.pem", "--key", "k.pem", "--called", "a.example", "--called", "b"]
    assert told("invite", *reach)["link"].startswith("https://a.example:8600/join?once=")
    assert code_of(["label", "invite", "--host", "0.0.0.0"]) == 2
    assert told("backup", "--out", "copy.db")["lines"] > 0
    store = open_store(here / "copy.db")
    assert service.campaigns(store)[0].name == "one"
    store.close()


def test_unfit_rows_stop_it_unless_they_may_be_dropped(told: Any, here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "mixed.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"prompt": "Alone", "completions": ["Yes."]}\n')
    assert code_of(["label", "new", "one", "--from", "mixed.jsonl"]) == 2
    err = capsys.readouterr().err
    assert "mixed.jsonl:2:21: fewer than two completions." in err
    assert not (here / "preferences.db").exists()
    assert told("new", "one", "--from", "mixed.jsonl", "--drop-bad")["left_out"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status"], "there is no preference database"),
        (["new", "one", "--from", "nowhere.jsonl"], "there is no such file"),
        (["import", "csv", "panda.json", "--campaign", "x"], "'csv' is not one of"),
        (["import", "argilla", "panda.json", "--campaign", "x"], '"fields" is missing'),
    ],
)
def test_wrong_commands_are_exit_2(here: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]):
    assert code_of(["label", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_live_campaign_needs_two_models_that_are_addresses(told: Any, here: Path, capsys: pytest.CaptureFixture[str]):
    here.joinpath("prompts.jsonl").write_text('{"prompt": "Hail!"}\n{"prompt": "Hello!"}\n')
    models = [f"http://127.0.0.1:9/v1#{name}" for name in ("ape", "bee")]
    assert code_of(["label", "chat", "arena", "--model", models[0]]) == 2
    assert "two answer each message" in capsys.readouterr().err
    assert code_of(["label", "chat", "arena", "--model", models[0], "--model", "smollm2-135m"]) == 2
    assert not (here / "preferences.db").exists()
    asked = ["chat", "arena", "--model", models[0], "--model", models[1], "--openings", "prompts.jsonl", "--strength"]
    for _ in range(2):
        found = told(*asked)
    assert (found["models"], found["openings"]) == (dict(zip(("ape", "bee"), models, strict=True)), ["Hail!", "Hello!"])
    assert code_of(["label", *asked, "--temperature", "0.5"]) == 2
    assert code_of(["label", "new", "arena", "--from", "rows.jsonl"]) == 2
    (campaign,) = told("status")["campaigns"]
    assert (campaign["kind"], campaign["items"]) == ("pairwise", 0)
