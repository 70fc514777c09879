"""Answers that a stage sampled, to be read: of its first iteration and of its last, to the same prompts where both
asked them. Knows the lines of samples.jsonl, and reads those of these two iterations; knows no page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from burnish.pipeline.samples import hashed
from burnish.release.evidence import damaged
from burnish.types import Stop

SAMPLES = "samples.jsonl"
"""Every answer that a stage sampled, a line each."""
ENDED = {
    Stop.EOS.value: "ended by itself",
    Stop.LENGTH.value: "cut by the budget",
    Stop.STRING.value: "ended by a stop string",
    Stop.FILTER.value: "ended by a filter",
}
_BLOCK = 1 << 20
"""Bytes that are read at once from a file's end."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer."""

    when: str
    text: str
    score: float | None
    """Penalties taken; None where nothing is paid for."""
    ended: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A prompt and its answers, the earlier one first."""

    messages: tuple[Mapping[str, str], ...]
    answers: tuple[Said, ...]


def chosen(path: Path, count: int) -> list[Asked]:
    """Of each of the two iterations the first answers to `count` prompts, those with the smallest hashes. Prompts that
    both asked come first. None where there is no file. Raises DataError for a damaged one."""
    if not path.is_file():
        return []
    try:
        first, last = _first(path), _last(path)
    except ValueError as error:
        raise damaged(path, error) from error
    early, late = _by_prompt(first), _by_prompt(last)
    if first and last and first[0]["iteration"] == last[0]["iteration"]:
        late = {}
    names = sorted(early | late, key=hashed)
    both = [name for name in names if name in early and name in late][:count]
    found = [_asked(first=early[name], last=late[name]) for name in both]
    for when, rows in (("first", early), ("last", late)):
        others = [name for name in names if name in rows and name not in both][: count - len(both)]
        found += [_asked(**{when: rows[name]}) for name in others]
    return found


def _first(path: Path) -> list[Row]:
    with path.open("rb") as file:
        return _of_one_iteration(line for line in file if line.endswith(b"\n"))


def _last(path: Path) -> list[Row]:
    return _of_one_iteration(islice(_backwards(path), 1, None))[::-1]  # what follows the last line's end is no line


def _backwards(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        left, rest = file.seek(0, os.SEEK_END), b""
        while left:
            size = min(_BLOCK, left)
            left = file.seek(left - size)
            rest, *lines = (file.read(size) + rest).split(b"\n")
            yield from reversed(lines)
        yield rest


def _of_one_iteration(lines: Iterable[bytes]) -> list[Row]:
    """Rows as far as they have the first one's iteration."""
    found: list[Row] = []
    for line in lines:
        row = json.loads(line)
        if found and row["iteration"] != found[0]["iteration"]:
            break
        found.append(row)
    return found


def _by_prompt(rows: Iterable[Row]) -> dict[str, Row]:
    """The first answer to each prompt."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["id"], row)
    return found


def _asked(**rows: Row) -> Asked:
    """A prompt, with one answer of each of these iterations."""
    said = tuple(
        Said(
            when=f"{when.capitalize()} iteration",
            text=row["text"],
            score=row["score"] if row["parts"] else None,
            ended=ENDED[row["stop"]],
        )
        for when, row in rows.items()
    )
    return Asked(messages=tuple(next(iter(rows.values()))["prompt"]), answers=said)
