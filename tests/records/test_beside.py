"""Columns beside the turns that a model was to see: refused, or said to be harmless."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError, Problem
from burnish.records.entries import read_entries
from burnish.records.formats import read_examples, read_labelled, read_prompts, read_rankings
from burnish.types import Message

HI, HELLO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
RULE = Message(role="system", content="Be kind.")
CONVERSATION = {"messages": [HI, HELLO]}
Reader = Callable[[Path], Any]


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refused(reader: Reader, path: Path) -> Problem:
    with pytest.raises(DataError) as caught:
        reader(path)
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("reader", "row"),
    [
        (read_examples, CONVERSATION),
        (read_examples, {"prompt": "Hi", "completion": "Hello."}),
        (read_prompts, {"prompt": "Hi"}),
        (read_prompts, {"prompt": [HI]}),
        (read_rankings, {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"}),
        (read_rankings, {"chosen": [HI, HELLO], "rejected": [HI, {**HELLO, "content": "What?"}]}),
        (read_rankings, {"prompt": "Hi", "completions": ["Hello.", "What?"], "ranks": [1, 2]}),
    ],
)
@pytest.mark.parametrize("column", ["system", "system_prompt"])
def test_a_system_prompt_in_a_column_is_refused_with_a_line_that_puts_it_first(
    tmp_path: Path, reader: Reader, row: dict[str, Any], column: str
) -> None:
    problem = refused(reader, written(tmp_path, {**row, column: "Be kind.", "x": 1}))
    assert problem.found == f'"{column}" stands beside the turns, and no model would see it'
    line = problem.mend.removeprefix("If the system says it: ").removesuffix(" Else rename it.")
    subprocess.run(["bash", "-c", line], check=True)
    [found] = reader(tmp_path / "rows.mended.jsonl")
    messages = found.prompt.messages if reader is read_rankings else found.messages
    assert messages[:2] == (RULE, Message(role="user", content="Hi"))
    assert (found.prompt if reader is read_rankings else found).meta == {"x": 1}


def test_every_reader_looks_beside(tmp_path: Path) -> None:
    labelled = {"prompt": "Hi", "completion": "Hello.", "label": True, "system": "Be kind."}
    assert "no model would see it" in refused(read_labelled, written(tmp_path, labelled)).found
    asked = written(tmp_path, {"prompt": "Hi", "completions": ["a", "b"], "system": "Be kind."})
    assert "no model would see it" in read_entries(asked)[1][0].found


def test_what_stands_in_the_turns_already_may_stand_beside_them(tmp_path: Path) -> None:
    rule = {"role": "system", "content": "Be kind.\n"}
    [found] = read_examples(written(tmp_path, {"messages": [rule, HI, HELLO], "system": "Be kind."}))
    assert len(found.messages) == 3
    problem = refused(read_examples, written(tmp_path, {"messages": [rule, HI, HELLO], "system": "Be rude."}))
    assert "something else than the system's turn" in problem.found


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("images", ["cat.png"], '"images" holds pictures'),
        ("history", [["How?", "So."]], '"history" holds earlier turns'),
        ("chat_template_kwargs", {"custom_instructions": "Be kind."}, 'says "custom_instructions"'),
    ],
)
def test_what_no_model_is_shown_is_refused(tmp_path: Path, column: str, value: Any, found: str) -> None:
    problem = refused(read_examples, written(tmp_path, {**CONVERSATION, column: value}))
    assert found in problem.found
    assert f"{problem.where}".startswith(f"{tmp_path / 'rows.jsonl'}:1:")
    assert problem.mend


@pytest.mark.parametrize("value", [[{"name": "search"}], '[{"name": "search"}]'])
@pytest.mark.parametrize(
    ("reader", "row"),
    [
        (read_prompts, {"prompt": "Hi"}),
        (read_rankings, {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"}),
        (read_labelled, {"prompt": "Hi", "completion": "Hello.", "label": True}),
    ],
)
def test_tools_are_shown_by_sft_alone(tmp_path: Path, reader: Reader, row: dict[str, Any], value: Any) -> None:
    problem = refused(reader, written(tmp_path, {**row, "tools": value}))
    assert problem.found == '"tools" holds tools that the model may call, and sft alone learns calls of tools so far'


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tools", []),
        ("tools", "[]"),
        ("tools", None),
        ("images", []),
        ("history", []),
        ("history", "I told you."),
        ("system", ""),
        ("system", 3),
        ("chat_template_kwargs", {"enable_thinking": False, "python_tools": None}),
    ],
)
def test_what_says_nothing_is_kept_as_any_column_is(tmp_path: Path, column: str, value: Any) -> None:
    [found] = read_examples(written(tmp_path, {**CONVERSATION, column: value}))
    assert found.meta == {column: value}
