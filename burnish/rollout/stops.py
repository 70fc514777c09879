"""Where a stop string ends an answer: at the token that completes it. Knows texts and how ids are read; knows no
model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

REPLACED = "\ufffd"
"""What is read in place of bytes that are no whole character."""
EDGE = 4
"""Tokens read beyond those that a string can lie in: at the beginning of a text some tokenizers leave out a space, or
show that a word goes on, and a template may have a few tokens of its own there."""


def stopping(read: Callable[[Sequence[int]], str], strings: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
    """Whether ids, whose text `read` gives, hold one of the strings; None where there are no strings.

    To be asked after each new id: a string that was not there before ends in the last token, or is there because of it.
    So only the last tokens are read, and all of them where those hold one.
    """
    if not strings:
        return None
    longest = max(len(string.encode()) for string in strings)

    @cache
    def own(token: int) -> str:
        return read([token])

    def holds(ids: Sequence[int]) -> bool:
        text = read(ids)
        return any(string in text for string in strings)

    def tail(ids: Sequence[int]) -> int:
        """As many last tokens as hold the longest string, a byte each, however many say nothing. The first begins with
        a whole character: where one is cut, a run of bytes behind it may be read as none."""
        left = longest + EDGE
        for count, token in enumerate(reversed(ids), 1):
            left -= own(token) != ""
            if left <= 0 and own(token) and not own(token).startswith(REPLACED):
                return count
        return len(ids)

    def stopped(ids: Sequence[int]) -> bool:
        count = tail(ids)
        return holds(ids[-count:]) and (count == len(ids) or holds(ids))

    return stopped
