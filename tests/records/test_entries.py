"""What a campaign asks about, from the forms in which prompts and answers come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.errors import DataError
from burnish.records.entries import read_entries, read_gold
from burnish.types import Critique

HELLO = [{"role": "user", "content": "Hello?"}]
FORMS = {
    "plain": {"prompt": "Hello?", "completions": ["Hi.", "Go away."]},
    "sampled": {
        "messages": HELLO,
        "completions": [{"text": "Hi.", "stop": "eos"}, {"text": "Go away.", "stop": "eos"}],
    },
    "trl": {"prompt": HELLO, "chosen": [{"role": "assistant", "content": "Hi."}], "rejected": "Go away."},
    "hh": {"chosen": "\n\nHuman: Hello?\n\nAssistant: Hi.", "rejected": "\n\nHuman: Hello?\n\nAssistant: Go away."},
    "ranked": {"prompt": "Hello?", "completions": ["Hi.", "Go away."], "ranks": [1, 2]},
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_the_same_texts_are_the_same_entry_in_every_form(tmp_path: Path, form: str):
    ((found,), problems) = read_entries(write(tmp_path / "rows.jsonl", FORMS[form]))
    ((plain,), _) = read_entries(write(tmp_path / "plain.jsonl", FORMS["plain"]))
    assert problems == []
    assert found.completions == ("Hi.", "Go away.")
    assert [message.as_json() for message in found.prompt.messages] == HELLO
    assert found.prompt.id == plain.prompt.id
    assert found.votes == ()


def test_ids_models_and_other_columns_are_kept(tmp_path: Path):
    row = {**FORMS["plain"], "id": "p1", "models": ["a", "b"], "language": "en", "meta": {"region": "EU"}}
    ((found,), _) = read_entries(write(tmp_path / "rows.jsonl", row))
    assert found.prompt.id == "p1"
    assert found.models == ("a", "b")
    assert found.prompt.meta == {"language": "en", "region": "EU"}


def test_all_unfit_rows_are_told_with_line_and_column(tmp_path: Path):
    rows = (
        FORMS["plain"],
        {"prompt": "Hello?", "completions": ["Hi."]},
        {"completions": ["Hi.", "Ho."]},
        {"prompt": "Hello?", "completions": ["Hi.", 3]},
        {"prompt": "Hello?", "completions": ["Hi.", "Ho."], "models": ["a"]},
        {"prompt": "Hello?", "completions": ["Hi.", "Hi."]},
    )
    entries, problems = read_entries(write(tmp_path / "rows.jsonl", *rows))
    assert len(entries) == 1
    assert [problem.where.split(":", 1)[1] for problem in problems] == ["2:22", "3:1", "4:45", "5:53", "6:22"]
    assert problems[0].mend.startswith("Sample more")


def test_other_texts_under_an_id_are_refused_and_the_same_are_one(tmp_path: Path):
    row = {**FORMS["plain"], "id": "p1"}
    entries, problems = read_entries(write(tmp_path / "rows.jsonl", row, row, {**row, "completions": ["Hi.", "Ho."]}))
    assert len(entries) == 1
    (problem,) = problems
    assert ":3:" in problem.where
    assert ":1:1 already" in problem.found


def test_gold_knows_the_right_order(tmp_path: Path):
    row = {**FORMS["ranked"], "ranks": [2, 1], "why": "It is a test."}
    ((found,), _) = read_gold(write(tmp_path / "gold.jsonl", row))
    assert found.prompt.meta == {"why": "It is a test.", "gold": [2, 1]}


def test_gold_without_an_order_is_refused(tmp_path: Path):
    entries, problems = read_gold(write(tmp_path / "gold.jsonl", FORMS["plain"]))
    assert entries == []
    assert '"ranks" is missing' in problems[0].found


LABELLED = {"prompt": "Hello?", "completion": "Hi.", "label": True}


def test_gold_knows_which_answers_are_good(tmp_path: Path):
    bad = {"prompt": HELLO, "completion": "Go away.", "label": False, "why": "It is rude."}
    flawed = {**bad, "prompt": "Bye?", "critiques": ["It is kind."], "critiques_right": False}
    found, problems = read_gold(write(tmp_path / "gold.jsonl", LABELLED, bad, flawed), single=True)
    assert problems == []
    assert [each.completions for each in found] == [("Hi.",), ("Go away.",), ("Go away.",)]
    rude = {"why": "It is rude.", "gold": [2, 1]}
    assert [dict(each.prompt.meta) for each in found] == [{"gold": [1, 2]}, rude, rude]
    assert found[2].critiques == (Critique(text="It is kind.", model="unknown", right=False),)
    ((asked,), _) = read_entries(write(tmp_path / "rows.jsonl", {"prompt": "Hello?", "completions": ["Hi."]}), 1)
    assert asked.prompt.id == found[0].prompt.id


@pytest.mark.parametrize("form", ["trl", "hh", "ranked"])
def test_gold_of_another_kind_of_campaign_is_told_as_that(tmp_path: Path, form: str):
    path = write(tmp_path / "gold.jsonl", LABELLED, FORMS[form])
    ((of_labels,), (of_rankings,)) = (read_gold(path, single=single)[1] for single in (True, False))
    assert of_labels.where.endswith("gold.jsonl:2:1")
    assert "orders answers, and this campaign has single ones" in of_labels.found
    assert '"label", which is true for a good answer' in of_labels.mend
    assert of_rankings.where.endswith("gold.jsonl:1:43")
    assert "calls a single answer good or bad, and this campaign orders answers" in of_rankings.found
    assert "--kind good_bad" in of_rankings.mend


def test_a_slip_in_a_label_is_told_as_a_slip(tmp_path: Path):
    rows = ({"prompt": "Hello?", "completion": "Hi."}, {**LABELLED, "label": 1}, {**FORMS["trl"], "label": "x"})
    _, problems = read_gold(write(tmp_path / "gold.jsonl", *rows), single=True)
    assert [each.found.split(" is ")[1].split(" ")[0] for each in problems] == ["missing", "a", "missing"]
    found, problems = read_gold(write(tmp_path / "pairs.jsonl", rows[2]))
    assert (found[0].prompt.meta, problems) == ({"label": "x", "gold": [1, 2]}, [])  # a column of somebody's


def test_an_empty_file_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="0 rows"):
        read_entries(write(tmp_path / "rows.jsonl"))


def test_critiques_come_with_rows_of_every_form(tmp_path: Path):
    said = {"critiques": [None, " It is off. "], "critiques_right": False, "critic": "m"}
    rows = [
        {"prompt": "A?", "completions": ["Yes.", "No."], "gold": [1, 2], **said},
        {"prompt": "B?", "completions": ["Yes.", "No."], "ranks": [1, 2], **said},
        {"prompt": "C?", "chosen": "Yes.", "rejected": "No.", **said},
        {"prompt": "D?", "completions": ["Yes.", "No."], "critiques": ["a", "b"], "critiques_right": [True, None]},
        {"prompt": "E?", "completions": ["Yes.", "No."], "critiques": [None, None]},
    ]
    found, problems = read_entries(write(tmp_path / "rows.jsonl", *rows))
    assert problems == []
    planted = (None, Critique(text="It is off.", model="m", right=False))
    both = (Critique(text="a", model="unknown", right=True), Critique(text="b", model="unknown"))
    assert [each.critiques for each in found] == [planted, planted, planted, both, ()]
    assert [dict(each.prompt.meta) for each in found] == [{"gold": [1, 2]}, {}, {}, {}, {}]
    known, problems = read_gold(write(tmp_path / "gold.jsonl", rows[1]))
    assert (known[0].critiques, known[0].prompt.meta, problems) == (planted, {"gold": [1, 2]}, [])


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"critiques": ["a"]}, "1 critiques and 2 completions"),
        ({"critiques": "a"}, '"critiques" is text; a list is wanted'),
        ({"critiques": ["a", 1]}, "is a number; text is wanted"),
        ({"critiques": ["a", " "]}, "a critique is empty"),
        ({"critiques": ["a", "b"], "critiques_right": "no"}, "true, false, or a list of 2 of them is wanted"),
        ({"critiques": ["a", "b"], "critiques_right": [True]}, "true, false, or a list of 2 of them is wanted"),
        ({"critiques": ["a", "b"], "critic": 7}, '"critic" is a number; text is wanted'),
        ({"critiques_right": True}, '"critiques_right" says it of no "critiques"'),
    ],
)
@pytest.mark.parametrize("ranks", [{}, {"ranks": [1, 2]}])
def test_unfit_critiques_are_told_with_their_place(tmp_path: Path, said: dict[str, object], found: str, ranks: object):
    path = write(tmp_path / "rows.jsonl", {"prompt": "A?", "completions": ["Yes.", "No."], **said, **dict(ranks)})
    _, (problem,) = read_entries(path)
    assert found in problem.found
    assert problem.where.startswith(f"{path}:1:")
