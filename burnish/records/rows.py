"""The rows of a data file: JSON lines, one JSON array of objects, or Parquet. Knows where rows stand; nothing of what
they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from burnish.errors import DataError, Problem
from burnish.records.files import HEAD, data_file, opened
from burnish.records.jsonl import Row, read_jsonl, row_of, scan, sift
from burnish.records.parquet import MAGIC, json_rows

T = TypeVar("T")
Element = tuple[int, int, str]
"""The line of a row, or its number, what characters stand before it in that line, and its text."""
_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(r"[ \t\r\n,]*")


def read_rows(path: Path) -> list[Row]:
    """The rows of a data file, plain or gzipped, or of the one data file of a folder. Raises as `read_jsonl` does."""
    path = data_file(path)
    found = _elements(path)
    return read_jsonl(path) if found is None else _sound(path, found)


def first_row(path: Path) -> Row:
    """The first row, to see what kind of file it is. What stands behind it is not read."""
    path = data_file(path)
    found = _elements(path)
    if found is None:
        return scan(path, most=1).rows[0]
    for line, indent, element in found:
        return row_of(path, line, element, indent)
    raise DataError(_empty(path))


def read_as(path: Path, parse: Callable[[Row], T]) -> list[T]:
    """The rows of a file, each as what it means. Raises DataError with the problems of all that mean nothing."""
    found, problems = sift(read_rows(path), parse)
    if problems:
        raise DataError(*problems)
    return found


def _elements(path: Path) -> Iterator[Element] | None:
    """The rows of a file that is no JSON lines."""
    with opened(path) as stream:
        head = stream.peek(HEAD)[:HEAD].removeprefix(_BOM).lstrip()
        if head.startswith(MAGIC):
            return ((number, 0, text) for number, text in json_rows(path))
        if not head.startswith(b"["):
            return None
        data = stream.read().removeprefix(_BOM)
    try:
        return _of_array(path, data.decode())
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(Problem(f"{path}:{line}", f"byte 0x{data[error.start]:02x} is not UTF-8")) from error


def _sound(path: Path, found: Iterator[Element]) -> list[Row]:
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, indent, element in found:
        try:
            rows.append(row_of(path, line, element, indent))
        except DataError as error:
            problems += error.problems
    if not rows and not problems:
        problems.append(_empty(path))
    if problems:
        raise DataError(*problems)
    return rows


def _empty(path: Path) -> Problem:
    return Problem(str(path), "0 rows: the file is empty")


def _of_array(path: Path, text: str) -> Iterator[Element]:
    parse = json.JSONDecoder().raw_decode
    at, line, counted, begins = text.index("[") + 1, 1, 0, 0  # begins: where the line does
    while True:
        between = _BETWEEN.match(text, at)
        assert between is not None
        at = between.end()
        line, begins = line + text.count("\n", counted, at), max(begins, text.rfind("\n", counted, at) + 1)
        counted, indent = at, at - begins
        if text[at : at + 1] == "]":
            if text[at + 1 :].strip():
                found = "the array ends here, and the file goes on"
                raise DataError(Problem(f"{path}:{line}:{indent + 1}", found, "Give one array, or one object a line."))
            return
        try:
            _, end = parse(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            place = f"{path}:{line}:{indent + 1}"
            found = f"the array breaks off in the row that begins here ({error})"
            raise DataError(Problem(place, found, "Export it again, whole.")) from error
        yield line, indent, text[at:end]
        at = end
