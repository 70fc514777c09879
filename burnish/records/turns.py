"""Turns of a conversation, read from a row and checked. Knows roles and their order, and Anthropic's transcripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

from burnish.errors import DataError, Problem, nearest
from burnish.records.jsonl import Row, kind
from burnish.types import ROLES, Message

Messages = tuple[Message, ...]
Calling = Callable[..., Message]
"""What reads the calls of a turn into its message, where they are read: `burnish/records/calls.py::called`."""
ONLY_SFT = "sft alone learns calls of tools so far"

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
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
}
_CALLS = ("function_call", "tool_call")
"""Roles that others give to an assistant's call of a tool."""
_NEW_FORM = '"tool_calls": [{"type": "function", "function": {"name": ..., "arguments": {...}}}]'
_UNSEEN = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
"""Members of a turn that change what would be learned, and that a turn here cannot carry: refused, not dropped."""
_WEIGHTS = ("weight", "loss", "train")
"""Members of a turn by which others say whether it is learned."""
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_WRITTEN_TURNS = re.compile(
    r"""\s*\[\s*\{\s*["'](?:(?:role|content)["']\s*:.*["'](?:role|content)|from["']\s*:.*["']value)["']\s*:""",
    re.DOTALL,
)
_MARKED_UP = re.compile(
    r"(?:<s>|<bos>|<\|begin_of_text\|>)?\s*"
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|(?:system|user)\|>|\[INST\]).*"
    r"(?:<\|im_start\|>assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>model|"
    r"<\|assistant\|>|\[/INST\])\s*",
    re.DOTALL,
)
"""A prompt that a chat template was laid around: it begins with a turn and asks for the assistant's."""
_CLOSED = re.compile(r"(<\|(?:im_end|endoftext|end_of_text|eot_id|end)\|>|<end_of_turn>)\s*\Z")
"""A model's mark at the end of what it said. In a text it would be learned letter by letter."""


def fault(row: Row, found: str, mend: str, *keys: str | int) -> DataError:
    """The error of one value of a row."""
    return DataError(Problem(row.where(*keys), found, mend))


def spoken(row: Row, text: str, *keys: str | int) -> str:
    """What an assistant says, as it stands. Raises DataError where a model's end marker was left in it."""
    if mark := _CLOSED.search(text):
        found = f"the answer ends with {mark[1]}, and the model's own marker comes behind it"
        raise fault(row, found, "Remove it from all answers.", *keys)
    return text


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


def messages_of(row: Row, *keys: str | int, calling: Calling | None = None) -> Messages:
    """A list of turns, `{"role": ..., "content": ...}` each, in an order that a chat can have. Calls of tools are read
    by `calling`, and refused where there is none."""
    turns = at(row, *keys)
    if not isinstance(turns, list):
        raise fault(row, f'"{keys[-1]}" is {kind(turns)}; a list of turns is wanted', "", *keys)
    if not turns:
        raise fault(row, f'"{keys[-1]}" holds no turn', "Add the turns, or leave the row out.", *keys)
    numbers = range(len(cast("list[Any]", turns)))
    messages = tuple(_message(row, *keys, number, calling=calling) for number in numbers)
    _check_order(row, messages, *keys)
    return messages


def conversation(row: Row, *keys: str | int, calling: Calling | None = None) -> Messages:
    """Text is one user's turn, or a transcript as HH-RLHF has them; a list is turns.

    Raises DataError also for a text that holds turns in another way: it would be read as one question.
    """
    value = at(row, *keys)
    if not isinstance(value, str):
        return messages_of(row, *keys, calling=calling)
    if not value.strip():
        raise fault(row, f'"{keys[-1]}" is empty', "Write the prompt, or leave the row out.", *keys)
    if is_transcript(value):
        messages = transcript(row, *keys)
        asks = messages[-1].role == "assistant" and not messages[-1].content
        return messages[:-1] if asks and len(messages) > 1 else messages
    if _WRITTEN_TURNS.match(value) and value.rstrip().endswith("]"):
        found = f'"{keys[-1]}" is text that holds a list of turns'
        raise fault(row, found, "Write the list itself, without the quotes around it.", *keys)
    if _MARKED_UP.fullmatch(value) or "\n<extra_id_1>" in value:
        found = f"\"{keys[-1]}\" has a chat template's marks in it, and the model's own come around it"
        raise fault(row, found, "Give the turns as a list, or what the user says alone.", *keys)
    return (Message(role="user", content=value),)


def is_transcript(value: object) -> bool:
    r"""Whether a value is a text that begins as HH-RLHF's dialogues do: "\n\nHuman:"."""
    return isinstance(value, str) and value.startswith("\n\nHuman:")


def transcript(row: Row, *keys: str | int) -> Messages:
    r"""The turns of an HH-RLHF dialogue: one text with "\n\nHuman:" and "\n\nAssistant:" before each turn."""
    pieces = _SPEAKER.split(text_of(row, *keys))
    if len(pieces) < 3 or pieces[0].strip():
        mend = "Add a prompt beside it, or write the whole dialogue so."
        raise fault(row, rf'"{keys[-1]}" has no prompt and does not begin with "\n\nHuman:"', mend, *keys)
    speakers, texts = pieces[1::2], pieces[2::2]
    messages = tuple(
        Message(role="user" if speaker == "Human" else "assistant", content=text.strip())
        for speaker, text in zip(speakers, texts, strict=True)
    )
    for number, (one, other) in enumerate(pairwise(messages), start=1):
        if one.role == other.role == "assistant":
            found = f'"{keys[-1]}": turns {number} and {number + 1} are both the assistant\'s'
            raise fault(row, found, "Join them.", *keys)
    return messages


def ends_with_user(row: Row, messages: Messages, *keys: str | int) -> Messages:
    """What a prompt must do."""
    if messages[-1].role not in ("user", "tool"):
        found = f"the prompt ends with the {messages[-1].role}'s turn; the user's is wanted"
        mend = "Remove that turn." if messages[-1].role == "assistant" else "Add what the user asks."
        raise fault(row, found, mend, *keys, len(messages) - 1)
    return messages


def _message(row: Row, *keys: str | int, calling: Calling | None) -> Message:
    turn = at(row, *keys)
    number = int(keys[-1]) + 1
    if not isinstance(turn, dict):
        raise fault(row, f"turn {number} is {kind(turn)}; an object with role and content is wanted", "", *keys)
    calls = calling is not None and turn.get("role") == "assistant" and bool(turn.get("tool_calls"))
    _check_members(row, turn, number, *keys, calls=calls)
    role, content = turn["role"], turn.get("content")
    if role in _CALLS:
        found = f'turn {number} has the role "{role}"; a call of a tool is a member of the assistant\'s turn'
        raise fault(row, found, f'Write "role": "assistant", {_NEW_FORM}.', *keys, "role")
    if role not in ROLES:
        known = _OTHER_NAMES.get(str(role).lower())
        mend = f'Write "{known}".' if known else nearest(str(role), list(ROLES))
        raise fault(row, f'turn {number} has the role "{role}"', mend, *keys, "role")
    text = "" if calls and content is None else _content(row, content, number, *keys, "content")
    message = Message(role=role, content=spoken(row, text, *keys, "content") if role == "assistant" else text)
    return calling(row, message, *keys) if calling else message


def _content(row: Row, content: Any, number: int, *keys: str | int) -> str:
    """Text, or a list of one part that is text, as some data sets have it for the sake of pictures."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise fault(row, f"the content of turn {number} is {kind(content)}; text is wanted", "", *keys)
    parts = cast("list[Any]", content)
    for place, part in enumerate(parts):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            what = f'of the type "{part["type"]}"' if isinstance(part, dict) and "type" in part else kind(part)
            found = f"the content of turn {number} has a part that is {what}; text alone is read"
            raise fault(row, found, "Leave the row out.", *keys, place)
    if len(parts) > 1:
        found = f"the content of turn {number} has {len(parts)} parts; text is wanted"
        raise fault(row, found, "Join them into one text.", *keys)
    return parts[0]["text"]


def _check_members(row: Row, turn: dict[str, Any], number: int, *keys: str | int, calls: bool) -> None:
    """`calls`: whether those of the turn are read."""
    unseen = next((name for name in _UNSEEN if turn.get(name) and not (calls and name == "tool_calls")), None)
    if unseen:
        why = ONLY_SFT if unseen == "tool_calls" else "which is not read yet"
        mend = "Leave the row out, or write what was said into content."
        if unseen == "function_call":
            why, mend = "OpenAI's old form of a call", f"Write {_NEW_FORM} in its place."
        raise fault(row, f'turn {number} has "{unseen}", {why}', mend, *keys, unseen)
    weight = next((name for name in _WEIGHTS if turn.get(name) not in (None, 1)), None)
    if weight and turn.get("role") == "assistant":
        found = f'turn {number} has "{weight}", and every turn of the assistant\'s is learned alike'
        raise fault(row, found, "Leave the row out, or remove it to have the turn learned.", *keys, weight)
    missing = next((name for name in ("role", "content")[: 1 if calls else 2] if name not in turn), None)
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
