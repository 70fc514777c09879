"""Turns of a conversation, read from a row and checked. Knows roles and their order, and Anthropic's transcripts."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, cast

from burnish.errors import DataError, Problem, nearest
from burnish.records.jsonl import Row, kind
from burnish.types import ROLES, Message

Messages = tuple[Message, ...]

_OTHER_NAMES = {
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "agent": "assistant",
    "developer": "system",
}
_UNSEEN = ("tool_calls", "function_call", "reasoning_content", "thinking", "weight")
"""Members of a turn that change what would be learned, and that a turn here cannot carry: refused, not dropped."""
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def fault(row: Row, found: str, mend: str, *keys: str | int) -> DataError:
    """The error of one value of a row."""
    return DataError(Problem(row.where(*keys), found, mend))


def text_of(row: Row, *keys: str | int) -> str:
    """The text that `keys` lead to. Raises DataError where another type stands there."""
    value = at(row, *keys)
    if not isinstance(value, str):
        raise fault(row, f'"{keys[-1]}" is {kind(value)}; text is wanted', "", *keys)
    return value


def at(row: Row, *keys: str | int) -> Any:
    """The value that `keys` lead to, which must be there."""
    value: Any = row.value
    for key in keys:
        value = value[key]
    return value


def messages_of(row: Row, *keys: str | int) -> Messages:
    """A list of turns, `{"role": ..., "content": ...}` each, in an order that a chat can have."""
    turns = at(row, *keys)
    if not isinstance(turns, list):
        raise fault(row, f'"{keys[-1]}" is {kind(turns)}; a list of turns is wanted', "", *keys)
    if not turns:
        raise fault(row, f'"{keys[-1]}" holds no turn', "Add the turns, or leave the row out.", *keys)
    messages = tuple(_message(row, *keys, number) for number in range(len(cast("list[Any]", turns))))
    _check_order(row, messages, *keys)
    return messages


def conversation(row: Row, *keys: str | int) -> Messages:
    """Text is one user's turn; a list is turns."""
    value = at(row, *keys)
    if not isinstance(value, str):
        return messages_of(row, *keys)
    if not value.strip():
        raise fault(row, f'"{keys[-1]}" is empty', "Write the prompt, or leave the row out.", *keys)
    return (Message(role="user", content=value),)


def transcript(row: Row, key: str) -> Messages:
    r"""The turns of an HH-RLHF dialogue: one text with "\n\nHuman:" and "\n\nAssistant:" before each turn."""
    pieces = _SPEAKER.split(text_of(row, key))
    if len(pieces) < 3 or pieces[0].strip():
        mend = "Add a prompt beside it, or write the whole dialogue so."
        raise fault(row, rf'"{key}" has no prompt and does not begin with "\n\nHuman:"', mend, key)
    speakers, texts = pieces[1::2], pieces[2::2]
    messages = tuple(
        Message(role="user" if speaker == "Human" else "assistant", content=text.strip())
        for speaker, text in zip(speakers, texts, strict=True)
    )
    for number, (one, other) in enumerate(pairwise(messages), start=1):
        if one.role == other.role == "assistant":
            raise fault(row, f'"{key}": turns {number} and {number + 1} are both the assistant\'s', "Join them.", key)
    return messages


def ends_with_user(row: Row, messages: Messages, *keys: str | int) -> Messages:
    """What a prompt must do."""
    if messages[-1].role not in ("user", "tool"):
        found = f"the prompt ends with the {messages[-1].role}'s turn; the user's is wanted"
        mend = "Remove that turn." if messages[-1].role == "assistant" else "Add what the user asks."
        raise fault(row, found, mend, *keys, len(messages) - 1)
    return messages


def _message(row: Row, *keys: str | int) -> Message:
    turn = at(row, *keys)
    number = int(keys[-1]) + 1
    if not isinstance(turn, dict):
        raise fault(row, f"turn {number} is {kind(turn)}; an object with role and content is wanted", "", *keys)
    _check_members(row, turn, number, *keys)
    role, content = turn["role"], turn["content"]
    if role not in ROLES:
        known = _OTHER_NAMES.get(str(role).lower())
        mend = f'Write "{known}".' if known else nearest(str(role), list(ROLES))
        raise fault(row, f'turn {number} has the role "{role}"', mend, *keys, "role")
    if not isinstance(content, str):
        raise fault(row, f"the content of turn {number} is {kind(content)}; text is wanted", "", *keys, "content")
    return Message(role=role, content=content)


def _check_members(row: Row, turn: dict[str, Any], number: int, *keys: str | int) -> None:
    unseen = next((name for name in _UNSEEN if turn.get(name) is not None), None)
    if unseen:
        found = f'turn {number} has "{unseen}", which is not read yet'
        raise fault(row, found, "Leave the row out, or write what was said into content.", *keys, unseen)
    missing = next((name for name in ("role", "content") if name not in turn), None)
    if missing:
        share_gpt = "from" in turn and "value" in turn
        mend = 'Rename "from" to "role" and "value" to "content".' if share_gpt else "Add it."
        raise fault(row, f'"{missing}" is missing in turn {number} (keys here: {", ".join(turn)})', mend, *keys)


def _check_order(row: Row, messages: Messages, *keys: str | int) -> None:
    for number, message in enumerate(messages):
        before = messages[number - 1].role if number else None
        if message.role == "system" and number:
            raise fault(row, f"a system turn in the middle (turn {number + 1})", "Put it first.", *keys, number)
        if message.role == before == "assistant":
            found = f"turns {number} and {number + 1} are both the assistant's"
            raise fault(row, found, "Join them, or add what the user said between.", *keys, number)
        if message.role == "tool" and before not in ("assistant", "tool"):
            found = f"turn {number + 1} is a tool's result that no assistant's turn asked for"
            raise fault(row, found, "Remove it, or add the assistant's turn before it.", *keys, number)
