"""Where a stop string ends an answer: its text before the string, its ids with the token that completed it. Knows texts
and how ids are read; knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def before(text: str, strings: Sequence[str]) -> str:
    """The text up to the first of the strings in it; the whole where there is none."""
    return text[: min((text.index(string) for string in strings if string in text), default=len(text))]


def stopping(read: Callable[[Sequence[int]], str], strings: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
    """Whether ids, whose text `read` gives, hold one of the strings; None where there are no strings."""
    if not strings:
        return None
    return lambda ids: any(string in read(ids) for string in strings)
