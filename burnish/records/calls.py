"""Tools that a row shows, and the assistant's calls of them: OpenAI's form, as TRL and transformers read it. Knows the
columns and members of that form; nothing of templates.

Schemas and arguments stand in a row as objects, or as JSON text. A table gives each object the members of all others
and null where it has none, so null members of objects are taken for none; of JSON text nothing is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Any, cast

from burnish.errors import DataError, nearest, warn_once
from burnish.records.jsonl import Row, kind, row_of
from burnish.records.turns import Messages, fault
from burnish.types import Message, ToolCall

TOOLS = "tools"
"""The column of the schemas."""
Schemas = tuple[dict[str, Any], ...]
_NOTHING = ("", "[]", "{}", "null", None)
_NAMED = 'Give it {"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}.'
_CALLED = 'Write {"type": "function", "function": {"name": ..., "arguments": {...}}}.'
_log = logging.getLogger(__name__)


def tools_of(row: Row) -> Schemas:
    """The schemas that a row shows, each as it stands there; none where it has no such column, or an empty one."""
    value = row.value.get(TOOLS)
    if value in _NOTHING:
        return ()
    found = _read(row, value, '"tools"', TOOLS)
    if not isinstance(found, list):
        raise fault(row, f'"tools" is {kind(found)}; a list of schemas is wanted', "", TOOLS)
    return tuple(_schema(row, each, place) for place, each in enumerate(cast("list[Any]", found)))


def names_of(tools: Sequence[Any]) -> list[str]:
    """What the tools of schemas are called."""
    return [_function(each)["name"] for each in tools]


def called(row: Row, message: Message, *keys: str | int, tools: Sequence[str]) -> Message:
    """A turn with the calls in it, or with the tool and the call that it is the result of. `tools`: their names, where
    the row says them."""
    turn: Any = row.value
    for key in keys:
        turn = turn[key]
    if message.role == "tool":
        name, call_id = (_name(row, turn.get(key), key, *keys) for key in ("name", "tool_call_id"))
        return replace(message, name=name, call_id=call_id)
    if message.role != "assistant" or not turn.get("tool_calls"):
        return message
    keys, calls = (*keys, "tool_calls"), turn["tool_calls"]
    if not isinstance(calls, list):
        raise fault(row, f'"tool_calls" is {kind(calls)}; a list of calls is wanted', "", *keys)
    each = (_call(row, call, tools, *keys, place) for place, call in enumerate(cast("list[Any]", calls)))
    return replace(message, calls=tuple(each))


def answered(row: Row, messages: Messages, place: Callable[[int], tuple[str | int, ...]]) -> Messages:
    """A conversation in which each call has its result before anybody goes on; the last turn may end with calls.

    Args: place, where the turn of a number stands in the row.
    """
    if not any(turn.calls for turn in messages):
        return tuple(replace(turn, name=None, call_id=None) for turn in messages)
    asked, results = 0, list[Message]()
    for number, turn in enumerate(messages):
        if turn.role != "tool":
            _check_answered(row, messages[asked], asked, len(results), *place(asked))
            asked, results = number, []
            continue
        calls = messages[asked].calls
        if len(results) == len(calls):
            found = f"turn {number + 1} is a result more than turn {asked + 1} has calls ({len(calls)})"
            raise fault(row, found, "Remove it, or add the call to that turn.", *place(number))
        _check_id(row, turn, [call.id for call in calls], [each.call_id for each in results], number, *place(number))
        results.append(turn)
    return messages


def _check_answered(row: Row, turn: Message, number: int, results: int, *keys: str | int) -> None:
    if results < len(turn.calls):
        found = f"turn {number + 1} has {len(turn.calls)} calls, and {results} results follow it"
        mend = 'Add a turn {"role": "tool", "content": ...} for each call, or leave the row out.'
        raise fault(row, found, mend, *keys)


def _check_id(
    row: Row, turn: Message, calls: list[str | None], before: list[str | None], number: int, *keys: str | int
) -> None:
    if turn.call_id is None:
        return
    if turn.call_id not in calls:
        found = f'turn {number + 1} is the result of a call "{turn.call_id}", and no call before it has that id'
        raise fault(row, found, "Give the call that id, or remove it here.", *keys, "tool_call_id")
    if turn.call_id in before:
        found = f'turn {number + 1} is the second result of the call "{turn.call_id}"'
        raise fault(row, found, "Give each result the id of its own call.", *keys, "tool_call_id")


def _schema(row: Row, value: Any, place: int) -> dict[str, Any]:
    schema = _read(row, value, f"tool {place + 1}", TOOLS, place)
    if not isinstance(schema, dict):
        raise fault(row, f"tool {place + 1} is {kind(schema)}; an object is wanted", _NAMED, TOOLS, place)
    function = _function(schema)
    name: object = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise fault(row, f"tool {place + 1} has no name", _NAMED, TOOLS, place)
    return cast("dict[str, Any]", schema)


def _function(schema: Any) -> Any:
    return schema.get("function") or schema


def _call(row: Row, call: Any, tools: Container[str], *keys: str | int) -> ToolCall:
    turn, number = int(keys[-3]) + 1, int(keys[-1]) + 1
    said = f"call {number} of turn {turn}"
    if not isinstance(call, dict):
        raise fault(row, f"{said} is {kind(call)}; an object is wanted", _CALLED, *keys)
    call = cast("dict[str, Any]", call)
    inner: Any = call.get("function") or call
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"].strip():
        raise fault(row, f"{said} has no name", _CALLED, *keys)
    inside = (*keys, "function") if call.get("function") else keys
    name: str = inner["name"]
    if tools and name not in tools:
        found = f'{said} is of "{name}", which is not among "tools"'
        near = nearest(name, [*cast("Sequence[str]", tools)])
        raise fault(row, found, f"{near} Else add its schema.".strip(), *inside, "name")
    arguments = _read(row, inner.get("arguments"), f"the arguments of {said}", *inside, "arguments")
    if not isinstance(arguments, dict):
        renamed = "parameters" in inner and "arguments" not in inner
        mend = 'Rename "parameters" to "arguments".' if renamed else "Write an object: {} where there are none."
        found = f"the arguments of {said} are {kind(arguments)}; an object is wanted"
        raise fault(row, found, mend, *inside, "arguments")
    return ToolCall(name=name, arguments=arguments, id=_name(row, call.get("id"), "id", *keys))


def _name(row: Row, value: Any, key: str, *keys: str | int) -> str | None:
    if value is not None and not isinstance(value, str):
        raise fault(row, f'"{key}" is {kind(value)}; text is wanted', "", *keys, key)
    return value


def _read(row: Row, value: Any, said: str, *keys: str | int) -> Any:
    """A value that may be written as JSON text."""
    if not isinstance(value, str):
        return _without_nulls(value)
    try:
        found = row_of(row.path, row.line, f'{{"v": {value}\n}}').value
    except DataError as error:
        found = f"{said}: text that is no JSON ({error.problems[0].found})"
        raise fault(row, found, "Write JSON, or the value itself without quotes around it.", *keys) from error
    if len(found) != 1:
        raise fault(row, f"{said}: text that is no JSON (more than a value)", "Write JSON.", *keys)
    return found["v"]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    kept = {name: _without_nulls(each) for name, each in cast("dict[str, Any]", value).items() if each is not None}
    if len(kept) < len(cast("dict[str, Any]", value)):
        mend = "written as JSON text they are kept"
        warn_once(_log, f"null members of tools and arguments are left out, as tables write none so: {mend}")
    return kept
