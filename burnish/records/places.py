"""Where in a row's text a value stands: the column that an error names. Knows JSON's shape, nothing of its meaning.

Only asked when something is wrong, and only about text that a JSON parser has already taken.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

Keys = tuple[str | int, ...]
"""The way to a value: names of members and numbers of items."""

_JSON = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_LITERAL = re.compile(r"[^\s,\]}]+")


@dataclass(frozen=True, slots=True)
class Place:
    """One value of a row."""

    keys: Keys
    at: int
    """Offset of the member's name, or of the value where it has none."""
    value: int
    """Offset of the value."""


def places(text: str) -> list[Place]:
    """Every value of a JSON text, in the text's order, members of one name twice where they stand twice."""
    walk = _Walk(text)
    walk.value((), None)
    return walk.found


def column(text: str, keys: Keys) -> int:
    """Column (from 1) of the value that `keys` lead to, or of the nearest value around it."""
    known = {place.keys: place.at for place in places(text)}
    while keys not in known:
        keys = keys[:-1]
    return known[keys] + 1


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: list[Place] = []

    def value(self, keys: Keys, named_at: int | None) -> None:
        self._skip()
        self.found.append(Place(keys, self.at if named_at is None else named_at, self.at))
        first = self.text[self.at]
        if first == "{":
            self._members(keys)
        elif first == "[":
            self._items(keys)
        elif first == '"':
            self._string()
        else:
            literal = _LITERAL.match(self.text, self.at)
            assert literal is not None
            self.at = literal.end()

    def _members(self, keys: Keys) -> None:
        while self._next("}"):
            start = self.at
            name = self._string()
            self._skip()
            self.at += 1  # the colon
            self.value((*keys, name), start)

    def _items(self, keys: Keys) -> None:
        number = 0
        while self._next("]"):
            self.value((*keys, number), None)
            number += 1

    def _next(self, end: str) -> bool:
        """Step over the opening bracket or a comma; False after stepping over the end."""
        self._skip()
        closing = self.text[self.at] == end
        if not closing:
            self.at += 1
            self._skip()
            closing = self.text[self.at] == end  # an empty list or object
        self.at += closing
        return not closing

    def _string(self) -> str:
        text, self.at = _JSON.raw_decode(self.text, self.at)
        return text

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        assert space is not None
        self.at = space.end()
