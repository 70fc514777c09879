"""The documented columns, read into nouns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError
from burnish.records.formats import holds_rankings, read_examples, read_labelled, read_prompts, read_rankings
from burnish.types import Example, Labelled, Message, Prompt, Ranking

USER = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "Hello."}
WORSE = {"role": "assistant", "content": "What?"}
HI = Message(role="user", content="Hi")
HELLO = Message(role="assistant", content="Hello.")
REAL = Path(__file__).parents[3] / "shared/data/preferences/hh_rlhf_harmless"


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_examples_of_both_kinds(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": 7, "messages": [USER, SAID], "region": "EU"},
        {"prompt": "Hi", "completion": "Hello."},
        {"prompt": [USER], "completion": [SAID]},
    )
    assert read_examples(path) == [
        Example(id="7", messages=(HI, HELLO), meta={"id": 7, "region": "EU"}),
        Example(id="rows.jsonl:2", messages=(HI, HELLO)),
        Example(id="rows.jsonl:3", messages=(HI, HELLO)),
    ]


def test_prompts_of_both_kinds(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Region: EU."}
    path = written(tmp_path, {"messages": [system, USER], "meta": {"x": 1}, "y": 2}, {"prompt": "Hi"})
    assert read_prompts(path) == [
        Prompt(id="rows.jsonl:1", messages=(Message(role="system", content="Region: EU."), HI), meta={"x": 1, "y": 2}),
        Prompt(id="rows.jsonl:2", messages=(HI,), as_text=True),
    ]


def test_labelled_answers(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"prompt": "Hi", "completion": "Hello.", "label": True, "region": "EU"},
        {"prompt": [USER], "completion": [WORSE], "label": False, "prompt_id": 7},
        {"prompt": [USER], "completion": "Hey.", "label": False},
    )
    found = read_labelled(path)
    assert [(each.completion, each.desirable) for each in found] == [
        ("Hello.", True),
        ("What?", False),
        ("Hey.", False),
    ]
    assert found[1] == Labelled(prompt=Prompt(id="7", messages=(HI,)), completion="What?", desirable=False)
    assert found[0].prompt.id == found[2].prompt.id, "one prompt, one id"
    assert found[0].prompt.meta == {"region": "EU"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"},
        {"prompt": [USER], "chosen": [SAID], "rejected": [WORSE]},
        {"prompt": "Hi", "chosen": [USER, SAID], "rejected": [USER, WORSE]},
        {"chosen": [USER, SAID], "rejected": [USER, WORSE]},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"},
        {"prompt": "Hi", "completions": ["Hello.", "What?"], "ranks": [1, 2]},
    ],
)
def test_a_pair_in_every_spelling_is_one_ranking(tmp_path: Path, row: dict[str, Any]) -> None:
    (ranking,) = read_rankings(written(tmp_path, row))
    assert ranking.prompt.messages == (HI,)
    assert ranking.completions == ("Hello.", "What?")
    assert ranking.ranks == (1, 2)
    same = read_rankings(written(tmp_path, {"prompt": "Hi", "chosen": "x", "rejected": "y"}))[0]
    assert ranking.prompt.id == same.prompt.id  # so that a split by prompt keeps them together


def test_a_transcript_keeps_its_turns(tmp_path: Path) -> None:
    before = "\n\nHuman: a: Human: b\n\nline\n\nAssistant: c\n\nHuman: d"
    path = written(tmp_path, {"chosen": f"{before}\n\nAssistant: e", "rejected": f"{before}\n\nAssistant: f"})
    (ranking,) = read_rankings(path)
    assert [(turn.role, turn.content) for turn in ranking.prompt.messages] == [
        ("user", "a: Human: b\n\nline"),
        ("assistant", "c"),
        ("user", "d"),
    ]
    assert ranking.completions == ("e", "f")


def test_a_ranking_with_all_its_columns(tmp_path: Path) -> None:
    row = {
        "prompt_id": "p-1",
        "prompt": [USER, SAID, USER],
        "completions": ["a", "b", "", "a"],
        "ranks": [2, 1, 3, 2],
        "judgements": ["j1", "j2"],
        "meta": {"region": "MX"},
        "id": 5,
    }
    assert read_rankings(written(tmp_path, row)) == [
        Ranking(
            prompt=Prompt(id="p-1", messages=(HI, HELLO, HI), meta={"id": 5, "region": "MX"}),
            completions=("a", "b", "", "a"),
            ranks=(2, 1, 3, 2),
            judgements=("j1", "j2"),
        )
    ]


def test_drop_bad_returns_the_good_rows_and_says_what_was_dropped(tmp_path: Path) -> None:
    good = {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"}
    path = written(tmp_path, good, {**good, "chosen": ""}, good, {**good, "rejected": 3})
    rankings, dropped = read_rankings(path, drop_bad=True)
    assert len(rankings) == 2
    assert [problem.where for problem in dropped] == [f"{path}:2:18", f"{path}:4:38"]


def test_drop_bad_does_not_trust_a_damaged_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"})
    path.write_text(path.read_text() + '{"prompt": "Hi", "cho')
    with pytest.raises(DataError, match="truncated"):
        read_rankings(path, drop_bad=True)


TRANSCRIPT = "\n\nHuman: a\n\nAssistant: b\n\nHuman: Hi\n\nAssistant:"
SPOKEN = (Message(role="user", content="a"), Message(role="assistant", content="b"), HI)


@pytest.mark.parametrize("after", ["", " "])
def test_a_prompt_that_is_a_transcript_has_its_turns(tmp_path: Path, after: str) -> None:
    prompt = TRANSCRIPT + after
    [asked] = read_prompts(written(tmp_path, {"prompt": prompt}))
    assert (asked.messages, asked.as_text) == (SPOKEN, False)
    [pair] = read_rankings(written(tmp_path, {"prompt": prompt, "chosen": " Hello.", "rejected": " What?"}))
    assert (pair.prompt.messages, pair.prompt.as_text) == (SPOKEN, False)
    assert pair.completions == ("Hello.", "What?")
    row = {"prompt": prompt, "completions": [" Hello.", " What?"], "ranks": [1, 2]}
    assert read_rankings(written(tmp_path, row)) == [pair]
    [told] = read_examples(written(tmp_path, {"prompt": prompt, "completion": " Hello."}))
    assert told.messages == (*SPOKEN, HELLO)


def test_answers_that_are_whole_transcripts_are_the_last_turn_of_theirs(tmp_path: Path) -> None:
    whole = {"chosen": f"{TRANSCRIPT} Hello.", "rejected": f"{TRANSCRIPT} What?"}
    [pair] = read_rankings(written(tmp_path, {"prompt": TRANSCRIPT, **whole}))
    assert (pair.prompt.messages, pair.completions) == (SPOKEN, ("Hello.", "What?"))
    with pytest.raises(DataError, match='"chosen" holds 4 turns after the prompt'):
        read_rankings(written(tmp_path, {"prompt": "Hi", **whole}))


def test_a_transcript_that_was_answered_is_no_prompt(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the prompt ends with the assistant's turn"):
        read_prompts(written(tmp_path, {"prompt": f"{TRANSCRIPT} Hello."}))


@pytest.mark.parametrize("row", [{"messages": [USER, SAID]}, {"prompt": "Hi", "completion": "Hello."}])
def test_what_was_called_bad_is_not_learned(tmp_path: Path, row: dict[str, Any]) -> None:
    assert len(read_examples(written(tmp_path, {**row, "label": True}))) == 1
    with pytest.raises(DataError, match="the answer is called bad") as caught:
        read_examples(written(tmp_path, {**row, "label": True}, {**row, "label": False}))
    assert caught.value.problems[0].where.startswith(f"{tmp_path / 'rows.jsonl'}:2:")
    assert "kto" in caught.value.problems[0].mend


def test_labelled_conversations_end_with_the_answer(tmp_path: Path) -> None:
    good, bad = {"messages": [USER, SAID], "label": True}, {"messages": [USER, WORSE], "label": False, "x": 1}
    one, other = read_labelled(written(tmp_path, good, bad))
    same = read_labelled(written(tmp_path, {"prompt": [USER], "completion": [SAID], "label": True}, bad))[0]
    assert one == same
    assert (other.completion, other.desirable, other.prompt.meta) == ("What?", False, {"x": 1})
    with pytest.raises(DataError, match="nothing was said before the answer"):
        read_labelled(written(tmp_path, {"messages": [SAID], "label": True}))


def test_scores_of_both_sides_are_strengths_of_both(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?", "score_chosen": 8.5, "score_rejected": 6.0}
    path = written(tmp_path, row)
    assert read_rankings(path, strength="score_chosen")[0].strengths == (8.5, 6.0)
    path = written(tmp_path, {**row, "ahead": 2})
    assert read_rankings(path, strength="ahead")[0].strengths == (2.0, 0.0)


def test_rows_of_one_array_on_one_line_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = [{"prompt": "Hi", "completion": "Hello."}, {"prompt": "Hi", "completion": "Hello."}]
    path.write_text(json.dumps(rows))
    assert holds_rankings(path) is False
    assert [each.id for each in read_examples(path)] == ["rows.json:1:2", "rows.json:1:44"]
    path.write_text(json.dumps([{**row, "id": "same"} for row in rows]))
    with pytest.raises(DataError, match='"same" stands in line 1 already'):
        read_examples(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="the file is empty"):
        holds_rankings(path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the HH-RLHF sample is not on this machine")
def test_the_real_pairs_survive() -> None:
    rankings, dropped = read_rankings(REAL, drop_bad=True)
    assert len(rankings) + len(dropped) == 1847
    assert len(dropped) == 9  # 3 empty answers, 6 with a turn lost
    shorter = sum(len(ranking.completions[0]) < len(ranking.completions[1]) for ranking in rankings)
    assert 0.5 < shorter / len(rankings) < 0.6
    assert all(ranking.prompt.messages[-1].role == "user" for ranking in rankings)


@pytest.mark.parametrize(
    ("reader", "row"),
    [
        (read_examples, {"messages": [USER, {"role": "assistant", "content": "Hello.<|im_end|>\n"}]}),
        (read_examples, {"prompt": "Hi", "completion": "Hello.<|im_end|>"}),
        (read_rankings, {"prompt": "Hi", "chosen": "Hello.<|im_end|>", "rejected": "What?<|im_end|>"}),
        (read_rankings, {"prompt": "Hi", "completions": ["Hello.<|im_end|>", "What?"], "ranks": [1, 2]}),
    ],
)
def test_an_end_marker_is_not_learned_by_letters(
    tmp_path: Path, reader: Callable[[Path], Any], row: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=r"the answer ends with <\|im_end\|>"):
        reader(written(tmp_path, row))
