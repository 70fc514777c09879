"""What others judged elsewhere, as their tools write it; and arrays, in which they write it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError
from burnish.records.rows import read_rows
from burnish.records.verdicts import FORMATS, read_verdicts

PANDALM = {
    "idx": 7,
    "cmp_key": "llama-7b_opt-7b",
    "instruction": "Greet.",
    "input": "A king.",
    "response1": "Hail!",
    "response2": "Hey.",
    "annotator1": 1,
    "annotator2": 0,
    "annotator3": 2,
}
ARGILLA = {
    "id": "r1",
    "fields": {"prompt": "Greet.", "response1": "Hail!", "response2": "Hey."},
    "metadata": {"region": "EU"},
    "suggestions": {},
    "vectors": {},
    "_server_id": "s",
    "responses": {
        "preference": [{"value": "response2", "user_id": "u1"}, {"value": "tie", "user_id": "u2"}],
        "why": [{"value": "It is short.", "user_id": "u1"}],
    },
}
RANKED = {
    "fields": {"instruction": "Greet.", "a": "Hail!", "b": "Hey.", "c": "Yo."},
    "responses": {
        "order": [
            {"value": ["c", "a", "b"], "user_id": "u1"},
            {
                "value": [{"value": "a", "rank": 1}, {"value": "b", "rank": 1}, {"value": "c", "rank": 2}],
                "user_id": "u2",
            },
            {"value": ["a", "b", "c"], "user_id": "u3", "status": "discarded"},
        ]
    },
}
STUDIO = {
    "id": 3,
    "data": {"prompt": "Greet.", "answer1": "Hail!", "answer2": "Hey."},
    "annotations": [
        {
            "completed_by": 5,
            "lead_time": 12.5,
            "result": [
                {"type": "pairwise", "from_name": "pw", "to_name": "answer2,answer1", "value": {"selected": "left"}}
            ],
        },
        {
            "completed_by": {"id": 6, "email": "amina@example.org"},
            "result": [{"type": "pairwise", "to_name": "x,y", "value": {"selected": "left"}}],
        },
        {"completed_by": 7, "was_cancelled": True, "result": []},
    ],
}
RANKER = {
    "data": {
        "prompt": "Greet.",
        "items": [{"id": "x", "body": "Hail!"}, {"id": "y", "body": "Hey."}, {"id": "z", "body": "Yo."}],
    },
    "annotations": [
        {"completed_by": 5, "result": [{"type": "ranker", "value": {"ranker": ["z", "x", "y"]}}]},
        {"completed_by": 6, "result": [{"type": "ranker", "value": {"ranker": {"_": ["x", "y", "z"], "best": []}}}]},
    ],
}


def read(path: Path, form: str, *rows: Any):
    path.write_text(json.dumps(rows))
    return read_verdicts(path, form)


def votes(path: Path, form: str, row: Any) -> dict[str, tuple[int, ...]]:
    ((found,), problems) = read(path, form, row)
    assert problems == []
    return {vote.who: vote.ranks for vote in found.votes}


def test_pandalm(tmp_path: Path):
    path = tmp_path / "rows.json"
    assert votes(path, "pandalm", PANDALM) == {"pandalm 1": (1, 2), "pandalm 2": (1, 1), "pandalm 3": (2, 1)}
    ((found,), _) = read_verdicts(path, "pandalm")
    assert found.prompt.messages[0].content == "Greet.\n\nA king."
    assert found.models == ("llama-7b", "opt-7b")
    assert found.prompt.id == "pandalm 7"


def test_argilla_of_one_choice(tmp_path: Path):
    path = tmp_path / "rows.json"
    assert votes(path, "argilla", ARGILLA) == {"argilla u1": (2, 1), "argilla u2": (1, 1)}
    ((found,), _) = read_verdicts(path, "argilla")
    assert found.completions == ("Hail!", "Hey.")
    assert found.prompt.meta == {"region": "EU"}


def test_argilla_of_an_order(tmp_path: Path):
    assert votes(tmp_path / "rows.json", "argilla", RANKED) == {"argilla u1": (2, 3, 1), "argilla u2": (1, 1, 2)}


def test_label_studio_of_pairs_goes_by_the_names_of_the_sides(tmp_path: Path):
    path = tmp_path / "rows.json"
    assert votes(path, "labelstudio", STUDIO) == {"labelstudio 5": (2, 1), "labelstudio 6": (1, 2)}
    assert "amina" not in str(read_verdicts(path, "labelstudio"))
    assert read_verdicts(path, "labelstudio")[0][0].votes[0].seconds == 12.5


def test_label_studio_of_rankers(tmp_path: Path):
    assert votes(tmp_path / "rows.json", "labelstudio", RANKER) == {
        "labelstudio 5": (2, 3, 1),
        "labelstudio 6": (1, 2, 3),
    }


def test_trees_and_dialogues_have_their_source_for_a_voter(tmp_path: Path):
    replies = [
        {"text": text, "role": "assistant", "rank": rank, "replies": []} for rank, text in ((1, "Hey."), (0, "Hi."))
    ]
    tree = {"message_tree_id": "t", "prompt": {"text": "Greet.", "role": "prompter", "replies": replies}}
    assert votes(tmp_path / "rows.json", "openassistant", tree) == {"openassistant": (2, 1)}
    pair = {"chosen": "\n\nHuman: Hello?\n\nAssistant: Hi.", "rejected": "\n\nHuman: Hello?\n\nAssistant: Go."}
    assert votes(tmp_path / "rows.json", "hh", pair) == {"hh": (1, 2)}


@pytest.mark.parametrize(
    ("form", "row", "says"),
    [
        ("pandalm", {**PANDALM, "annotator2": 3}, '"annotator2" is none of 0'),
        ("pandalm", {**PANDALM, "response1": True}, '"response1" is true; text is wanted'),
        ("pandalm", ARGILLA, '"instruction" is missing'),
        ("argilla", {**ARGILLA, "responses": {"why": [{"value": "Short."}]}}, "0 of its questions"),
        ("argilla", {**ARGILLA, "responses": {"p": [{"value": "response1"}, {"value": "response9"}]}}, "'response9'"),
        ("argilla", {**ARGILLA, "responses": {"p": "response1"}}, "no list of objects"),
        ("argilla", {**ARGILLA, "fields": {"prompt": "Greet.", "response1": "Hail!"}}, "1 texts beside the prompt"),
        ("argilla", {**ARGILLA, "fields": {"x": "Greet.", "y": "Hail!"}}, "has no prompt"),
        (
            "labelstudio",
            {**STUDIO, "annotations": [{"result": [{"type": "pairwise", "value": {}}]}]},
            "what was chosen",
        ),
        ("labelstudio", {**STUDIO, "annotations": [3]}, "no list of objects"),
        ("labelstudio", {**STUDIO, "data": []}, "is no object"),
    ],
)
def test_unfit_rows_say_where_and_why(tmp_path: Path, form: str, row: Any, says: str):
    entries, (problem,) = read(tmp_path / "rows.json", form, row)
    assert entries == []
    assert says in problem.found
    assert problem.where.startswith(f"{tmp_path / 'rows.json'}:1:")


def test_an_array_over_lines_is_told_by_line_and_column(tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_text('[\n  {"a": 1},\n  {\n    "b":\n      2\n  }, 3\n]\n')
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert [problem.where for problem in caught.value.problems] == [f"{path}:6:1"]
    path.write_text('[\n  {"a": 1},\n  {\n    "b":\n      2\n  }\n]\n')
    first, second = read_rows(path)
    assert (first.where("a"), second.where("b")) == (f"{path}:2:4", f"{path}:4:5")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"a": 1}, {"a": NaN}]', "no finite number"),
        ('[{"a": 1, "a": 2}]', "stands twice"),
        ('[{"a": 1}, {"a": ', "breaks off"),
        ('[{"a": 1}', "breaks off"),
        ("[]", "the file is empty"),
        ('[{"a": 1}]\n[{"a": 2}]', "the array ends here, and the file goes on"),
    ],
)
def test_arrays_are_read_as_strictly_as_lines(tmp_path: Path, text: str, says: str):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        read_rows(path)


def test_an_array_on_one_line_is_quick(tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_text('[{"a": "' + "x" * 15_000_000 + '"}' + ', {"a": 1}' * 20_000 + "]")
    start = time.process_time()
    assert len(read_rows(path)) == 20_001
    assert time.process_time() - start < 5.0


def test_lines_are_read_as_lines(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [row.line for row in read_rows(path)] == [1, 3]


def test_every_format_says_what_it_is():
    assert all(form.says for form in FORMATS.values())


def test_answers_called_good_or_bad_come_with_who_wrote_them(tmp_path: Path) -> None:
    rows = [
        {"id": "t1", "prompt": "Greet.", "completion": "Hail!", "label": True, "model": "juniper 1.0.0"},
        {"id": "t2", "prompt": "Greet.", "completion": "Hail!", "label": False, "region": "EU"},
        {"prompt": "Greet.", "completion": "Go away.", "label": "no"},
    ]
    (tmp_path / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries, problems = read_verdicts(tmp_path / "thumbs.jsonl", "labels")
    assert [(each.completions, each.models, each.votes[0].good) for each in entries] == [
        (("Hail!",), ("juniper 1.0.0",), True),
        (("Hail!",), (), False),
    ]
    assert len({each.prompt.id for each in entries}) == 2, "two people may be asked the same and see it otherwise"
    assert [dict(each.prompt.meta) for each in entries] == [{}, {"region": "EU"}]
    assert "true (good) or false (bad)" in problems[0].found


def test_rankings_keep_who_wrote_each_answer(tmp_path: Path) -> None:
    row = {
        "prompt": "Greet.",
        "completions": ["Hail!", "Hey."],
        "ranks": [2, 1],
        "models": ["old", "new"],
        "region": "EU",
    }
    (tmp_path / "ranked.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"models": ["old"]}) + "\n")
    [found], problems = read_verdicts(tmp_path / "ranked.jsonl", "rankings")
    assert (found.models, found.votes[0].ranks, dict(found.prompt.meta)) == (("old", "new"), (2, 1), {"region": "EU"})
    assert "1 models and 2 completions" in problems[0].found
