"""Files that hold one JSON array, as other tools export them. Knows where its rows stand; nothing of what they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from burnish.errors import DataError, Problem
from burnish.records.files import HEAD, data_file, opened
from burnish.records.jsonl import Row, read_jsonl, row_of

_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(r"[ \t\r\n,]*")


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of JSON lines, or of one JSON array of objects. Raises as `read_jsonl` does."""
    path = data_file(path)
    with opened(path) as stream:
        if not stream.peek(HEAD)[:HEAD].removeprefix(_BOM).lstrip().startswith(b"["):
            return read_jsonl(path)
        data = stream.read().removeprefix(_BOM)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(Problem(f"{path}:{line}", f"byte 0x{data[error.start]:02x} is not UTF-8")) from error
    return _sound(path, text)


def _sound(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, indent, element in _elements(path, text):
        try:
            rows.append(row_of(path, line, element, indent))
        except DataError as error:
            problems += error.problems
    if not rows and not problems:
        problems.append(Problem(str(path), "0 rows: the array is empty"))
    if problems:
        raise DataError(*problems)
    return rows


def _elements(path: Path, text: str) -> Iterator[tuple[int, int, str]]:
    """(line, characters before it in that line, text) of each element."""
    parse = json.JSONDecoder().raw_decode
    at, line, counted = text.index("[") + 1, 1, 0
    while True:
        between = _BETWEEN.match(text, at)
        assert between is not None
        at = between.end()
        line, counted = line + text.count("\n", counted, at), at
        indent = at - text.rfind("\n", 0, at) - 1
        if text[at : at + 1] == "]":
            return
        try:
            _, end = parse(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            place = f"{path}:{line}:{indent + 1}"
            found = f"the array breaks off in the row that begins here ({error})"
            raise DataError(Problem(place, found, "Export it again, whole.")) from error
        yield line, indent, text[at:end]
        at = end
