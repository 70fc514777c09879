"""Rows in which the assistant calls tools: every form that data sets have, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError, Problem
from burnish.records.calls import names_of
from burnish.records.formats import read_examples
from burnish.types import Message, ToolCall

HI, HELLO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
F = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
G = {"name": "g", "parameters": {}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": [1, "ü"]}}}
RESULT = {"role": "tool", "content": "r", "name": "f", "tool_call_id": "1"}
READ = ToolCall(name="f", arguments={"x": [1, "ü"]}, id="1")


def calling(*calls: Any, **members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [*calls], **members}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def refused(path: Path) -> Problem:
    with pytest.raises(DataError) as caught:
        read_examples(path)
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    "call",
    [
        CALL,
        {**CALL, "function": {"name": "f", "arguments": '{"x": [1, "ü"]}'}},
        {"id": "1", "name": "f", "arguments": {"x": [1, "ü"]}},
        {"id": "1", "name": "f", "arguments": '{"x": [1, "ü"]}', "function": None},
    ],
)
@pytest.mark.parametrize("tools", [[F, G], json.dumps([F, G]), [json.dumps(F), G]])
@pytest.mark.parametrize("content", [None, "", "I look.", "missing"])
def test_calls_and_schemas_in_every_form(tmp_path: Path, call: Any, tools: Any, content: str | None) -> None:
    turn = calling(call, content=content)
    if content == "missing":
        del turn["content"]
    row = {"messages": [HI, turn, RESULT, {**HELLO, "tool_calls": []}], "tools": tools, "x": 1}
    [found] = read_examples(written(tmp_path, row))
    assert found.messages == (
        Message(role="user", content="Hi"),
        Message(role="assistant", content="I look." if content == "I look." else "", calls=(READ,)),
        Message(role="tool", content="r", name="f", call_id="1"),
        Message(role="assistant", content="Hello."),
    )
    assert found.tools == (F, G)
    assert names_of(found.tools) == ["f", "g"]
    assert found.meta == {"x": 1}


def test_the_last_turn_may_call_and_results_may_come_in_any_order(tmp_path: Path) -> None:
    other = {**CALL, "id": "2"}
    turns = [HI, calling(CALL, other), {**RESULT, "tool_call_id": "2"}, RESULT, calling(CALL)]
    [found] = read_examples(written(tmp_path, {"messages": turns}))
    assert [turn.call_id for turn in found.messages] == [None, None, "2", "1", None]
    assert found.messages[-1].calls == (READ,)
    assert found.tools == ()


def test_prompts_and_completions_call_too(tmp_path: Path) -> None:
    row = {"prompt": [HI, calling(CALL), RESULT], "completion": "Hello.", "tools": [F]}
    ends = {"prompt": [HI], "completion": [calling(CALL)], "tools": [F]}
    one, other = read_examples(written(tmp_path, row, ends))
    assert one.messages[1].calls == other.messages[1].calls == (READ,)
    problem = refused(written(tmp_path, {"prompt": [HI, calling(CALL), RESULT, RESULT], "completion": "a"}))
    assert problem.found == "turn 4 is a result more than turn 2 has calls (1)"


def test_rows_without_calls_are_what_they_were(tmp_path: Path) -> None:
    """A result that no call of the row's asked for has no name in it: ids and digests of old rows depend on it."""
    turns = [HI, {**HELLO, "tool_calls": None, "function_call": None}, RESULT, {**HELLO, "tool_calls": []}]
    [found] = read_examples(written(tmp_path, {"messages": turns}))
    assert [turn.as_json() for turn in found.messages] == [HI, HELLO, {"role": "tool", "content": "r"}, HELLO]
    assert found.tools == ()


def test_nulls_of_objects_say_nothing_and_those_of_texts_stay(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"a": 1}, "y": None}}}}
    as_object = {"name": "f", "arguments": {"x": 1, "y": None}}
    as_text = {"name": "f", "arguments": '{"x": 1, "y": null}'}
    row = {"messages": [HI, calling(as_object, as_text)], "tools": [tool]}
    [found] = read_examples(written(tmp_path, row))
    assert [call.arguments for call in found.messages[1].calls] == [{"x": 1}, {"x": 1, "y": None}]
    assert found.tools[0]["function"]["parameters"] == {"properties": {"x": {"a": 1}}}


@pytest.mark.parametrize(
    ("turn", "found", "mend"),
    [
        (calling(), "the content of turn 2 is null", ""),
        ({"role": "assistant"}, '"content" is missing in turn 2', "Add it."),
        (calling({**CALL, "function": {"arguments": {}}}), "call 1 of turn 2 has no name", "Write {"),
        (calling(CALL, 3), "call 2 of turn 2 is a number; an object is wanted", "Write {"),
        (
            calling({"name": "f", "arguments": "{x: 1}"}),
            "the arguments of call 1 of turn 2: text that is no JSON",
            "Wr",
        ),
        (
            calling({"name": "f", "arguments": ""}),
            "the arguments of call 1 of turn 2: text that is no JSON",
            "Write JS",
        ),
        (calling({"name": "f", "arguments": '1}, {"x": 2'}), "text that is no JSON", ""),
        (calling({"name": "f", "arguments": '1, "x": 2'}), "text that is no JSON (more than a value)", "Write JSON."),
        (calling({"name": "f", "arguments": '{"x": NaN}'}), "NaN is no finite number", ""),
        (calling({"name": "f", "arguments": "[" * 99 + "]" * 99}), "nested deeper", ""),
        (calling({"name": "f", "arguments": [1]}), "the arguments of call 1 of turn 2 are a list", "Write an object"),
        (calling({"name": "f", "arguments": "[1]"}), "the arguments of call 1 of turn 2 are a list", "Write an object"),
        (calling({"name": "f"}), "the arguments of call 1 of turn 2 are null", "{} where there are none"),
        (calling({"name": "f", "parameters": {}}), "are null", 'Rename "parameters" to "arguments".'),
        (calling({"name": "weather_of", "arguments": {}}), 'is of "weather_of", which is not among "tools"', "schema"),
        (calling({"name": "weather", "arguments": {}, "id": 3}), '"id" is a number; text is wanted', ""),
        ({**calling(), "tool_calls": "f()"}, '"tool_calls" is text; a list of calls is wanted', ""),
        ({**HELLO, "function_call": {"name": "f"}}, "OpenAI's old form of a call", '"tool_calls": [{"type"'),
        ({**HELLO, "role": "function_call"}, 'has the role "function_call"', '"tool_calls": [{"type"'),
        (calling({"name": "weather", "arguments": {}}, content="a<|im_end|>"), "the answer ends with <|im_end|>", "Re"),
    ],
)
def test_calls_that_cannot_be_read(tmp_path: Path, turn: dict[str, Any], found: str, mend: str) -> None:
    tools = [{"name": "f"}, {"name": "weather"}]
    problem = refused(written(tmp_path, {"messages": [HI, turn], "tools": tools}))
    assert found in problem.found
    assert mend in problem.mend
    assert problem.where.startswith(f"{tmp_path / 'rows.jsonl'}:1:")


@pytest.mark.parametrize(
    ("tools", "found"),
    [
        ([{"type": "function", "function": {"description": "d"}}], "tool 1 has no name"),
        ([F, {"name": " "}], "tool 2 has no name"),
        ([F, 3], "tool 2 is a number; an object is wanted"),
        ([{"function": [1]}], "tool 1 has no name"),
        ({"name": "f"}, '"tools" is an object; a list of schemas is wanted'),
        ("search the web", '"tools": text that is no JSON'),
        (["f"], "tool 1: text that is no JSON"),
    ],
)
def test_schemas_that_cannot_be_read(tmp_path: Path, tools: Any, found: str) -> None:
    assert found in refused(written(tmp_path, {"messages": [HI, HELLO], "tools": tools})).found


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        ([HI, calling(CALL), HELLO], "turns 2 and 3 are both the assistant's"),
        ([HI, calling(CALL), HI, HELLO], "turn 2 has 1 calls, and 0 results follow it"),
        ([HI, calling(CALL, {**CALL, "id": "2"}), RESULT, HELLO], "turn 2 has 2 calls, and 1 results follow it"),
        ([HI, calling(CALL), RESULT, RESULT, HELLO], "turn 4 is a result more than turn 2 has calls (1)"),
        ([HI, HELLO, RESULT, calling(CALL)], "turn 3 is a result more than turn 2 has calls (0)"),
        (
            [HI, calling(CALL), {**RESULT, "tool_call_id": "9"}, HELLO],
            'turn 3 is the result of a call "9", and no call before it has that id',
        ),
        (
            [HI, calling(CALL, {**CALL, "id": "2"}), RESULT, RESULT, HELLO],
            'turn 4 is the second result of the call "1"',
        ),
        ([{**HI, "tool_calls": [CALL]}, HELLO], 'turn 1 has "tool_calls"'),
        ([HI, calling(CALL), {**RESULT, "name": 3}, HELLO], '"name" is a number; text is wanted'),
        ([HI, calling(CALL), RESULT], "no assistant turn to learn at the end"),
    ],
)
def test_calls_and_results_that_do_not_fit(tmp_path: Path, turns: list[dict[str, Any]], found: str) -> None:
    assert found in refused(written(tmp_path, {"messages": turns})).found
