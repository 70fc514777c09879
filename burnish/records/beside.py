"""What a row says beside its turns and a model was to see with them: a system prompt in a column of its own, earlier
turns, tools, pictures, arguments of the template. Nothing here shows them to a model, so a row that has any is refused,
but for tools where sft learns from it.
Knows columns; nothing of what else a row means.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from burnish.records.calls import TOOLS
from burnish.records.dialects import HISTORY, SYSTEM, with_system
from burnish.records.jsonl import Row
from burnish.records.turns import ONLY_SFT, Messages, fault

_UNSEEN = {
    TOOLS: "tools that the model may call",
    "images": "pictures",
    "image": "a picture",
    "videos": "films",
    "audios": "sounds",
}
_ARGUMENTS = "chat_template_kwargs"
_THINKING = "enable_thinking"
"""The one argument of a template that changes nothing here: whether an answer has a thought, it says itself."""


def check_beside(row: Row, messages: Messages, shown: Container[str] = ()) -> None:
    """Raises DataError where a row has a column that a model was to see and would not. Empty ones say nothing; a column
    of `shown` was read."""
    for name in SYSTEM:
        said = row.value.get(name)
        if isinstance(said, str) and said.strip():
            _check_system(row, name, said, messages)
    for name, what in _UNSEEN.items():
        if name not in shown and _given(row.value.get(name)):
            why = f"and {ONLY_SFT}" if name == TOOLS else "which is shown to no model"
            found = f'"{name}" holds {what}, {why}'
            raise fault(row, found, "Write what it must see into the turns, and remove or rename the column.", name)
    if row.value.get(HISTORY) and isinstance(row.value[HISTORY], list):
        found = f'"{HISTORY}" holds earlier turns, which are not read'
        raise fault(row, found, "Put them into the prompt, as a list of turns.", HISTORY)
    arguments = row.value.get(_ARGUMENTS)
    if isinstance(arguments, dict):
        name = next((str(each) for each, value in arguments.items() if each != _THINKING and _given(value)), None)
        if name:
            found = f'"{_ARGUMENTS}" says "{name}", and no template is given it'
            raise fault(row, found, "Write what the model must see into a system turn.", _ARGUMENTS, name)


def _check_system(row: Row, name: str, said: str, messages: Messages) -> None:
    if messages[0].role == "system":
        if messages[0].content.strip() != said.strip():
            found = f'"{name}" says something else than the system\'s turn'
            raise fault(row, found, "Put both into the turn, or rename the column if no model is to see it.", name)
        return
    line = with_system(row, name)
    mend = f"If the system says it: {line}" if line else "Write it as the first turn, of the role system."
    raise fault(row, f'"{name}" stands beside the turns, and no model would see it', f"{mend} Else rename it.", name)


def _given(value: Any) -> bool:
    """Whether a column says anything: an empty list may be written as text."""
    return value not in ("[]", "{}", "null") and bool(value)
