"""JSON lines, read so strictly that what was read can be written again. Knows rows; nothing of what a row means.

A line ends at a line feed and nowhere else (U+2028 and its kin stand inside strings). Refused, each with line and
column: what is not JSON, what Python's parser takes although it is not JSON (NaN, Infinity, 1e999), what it drops in
silence (a name given twice), and what would fail later (lone surrogates, NUL, nesting deeper than 64, more than 16 MB).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from burnish.errors import DataError, Problem
from burnish.records.files import HEAD, Stream, data_file, foreign, opened, rewrite
from burnish.records.places import column, places
from burnish.records.syntax import cut, explain, in_one_value, spread

R = TypeVar("R")
T = TypeVar("T")

MAX_ROW = 16 * 2**20
"""Bytes of a row. Longer ones are refused unread: memory stays flat."""
MAX_DEPTH = 64

_BOM = b"\xef\xbb\xbf"
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[\[{\]}]', re.DOTALL)  # possessive and total: linear on any text
_NUMBER = re.compile(r"-?(?:NaN|Infinity|\d[^\s,\]}]*)")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a file."""

    path: Path
    line: int
    """From 1; blank lines count."""
    value: dict[str, Any]
    text: str
    """The line as it stands: an error's column is found in it. Of a row in an array, its lines."""
    indent: int = 0
    """Characters before the text in its first line."""

    @property
    def name(self) -> str:
        """What it is called where it has no id: file and line, and the column where others may share the line."""
        return f"{self.path.name}:{self.line}" + (f":{self.indent + 1}" if self.indent else "")

    def where(self, *keys: str | int) -> str:
        """`file:line:column` of the value that `keys` lead to, or of the nearest value around it."""
        before = self.text[: column(self.text, keys) - 1]
        lines, last = before.count("\n"), len(before) - before.rfind("\n") - 1
        return f"{self.path}:{self.line + lines}:{last + 1 + (0 if lines else self.indent)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a file holds, and what was stepped over to read it."""

    path: Path
    rows: list[Row]
    blank: int
    """Lines without anything on them."""
    bom: bool
    """The file began with a byte order mark."""

    @property
    def notes(self) -> list[str]:
        """What a user should hear although nothing is wrong."""
        notes = [f"{self.path}: began with a byte order mark, which was skipped"] if self.bom else []
        return notes + ([f"{self.path}: {self.blank} blank lines were skipped"] if self.blank else [])


def read_jsonl(path: Path) -> list[Row]:
    """The rows of a JSONL file, plain or gzipped, or of the one data file of a folder.

    Raises DataError with every problem of the file, MachineError where it may not be read.
    """
    return scan(path).rows


def row_of(path: Path, line: int, text: str, indent: int = 0) -> Row:
    """One JSON value as a row. Raises DataError with what is wrong with it."""
    reader = _Reader(path)
    reader.accept(line, text)
    if reader.problems:
        raise DataError(*reader.problems)
    return replace(reader.rows[0], indent=indent)


def sift(rows: Sequence[R], parse: Callable[[R], T]) -> tuple[list[T], list[Problem]]:
    """Each row as what it means, and the problems of those that mean nothing: one, where it is every row's."""
    found: list[T] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            found.append(parse(row))
        except DataError as error:
            problems += error.problems
    return found, problems if found else _told_once(problems, len(rows))


def _told_once(problems: list[Problem], rows: int) -> list[Problem]:
    """The problems of all rows: the first, where they are the same but for what stands in brackets, as a row's keys."""
    alike = {(problem.found.partition(" (")[0], problem.mend) for problem in problems}
    if rows == 1 or len(alike) != 1:
        return problems
    return [replace(problems[0], found=f"all {rows} rows: {problems[0].found}")]


def scan(path: Path, most: int | None = None) -> Scan:
    """`read_jsonl` with its notes; of the first `most` rows, where that is given."""
    path = data_file(path)
    with opened(path) as stream:
        head = stream.peek(HEAD)[:HEAD]
        alien = foreign(path, head)
        if alien:
            raise DataError(alien)
        return _Reader(path).read(stream, bom=head.startswith(_BOM), most=most)


class _Reader:
    """Collects the rows and the problems of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.problems: list[Problem] = []
        self.blank = 0
        self.doubled = self.infinite = False  # seen by the hooks in the row that is being parsed
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._members, parse_float=self._float, parse_constant=self._float
        )

    def read(self, stream: Stream, *, bom: bool, most: int | None) -> Scan:
        for number, line, whole in _lines(stream):
            if len(self.rows) == most:
                break
            self._line(number, line.removeprefix(_BOM) if number == 1 else line, whole)
        if not self.rows and not self.problems:
            self.problems.append(Problem(str(self.path), "0 rows: the file is empty"))
        if self.problems:
            raise DataError(*self.problems)
        return Scan(path=self.path, rows=self.rows, blank=self.blank, bom=bom)

    def accept(self, number: int, text: str) -> None:
        """One row more."""
        self._line(number, text.encode(), True)

    def _line(self, number: int, line: bytes, whole: bool) -> None:
        if len(line) > MAX_ROW:
            self._problem(number, 1, f"the row is longer than {MAX_ROW // 2**20} MB", "Split it, or leave it out.")
            return
        if not line.strip():
            self.blank += 1
            return
        text = self._text(number, line, whole)
        if text is None or not self._shallow(number, text):
            return
        try:
            self.doubled = self.infinite = False
            value = self.decoder.decode(text)
        except json.JSONDecodeError as error:
            self._syntax(number, text, error, whole)
        except ValueError as error:  # Python's limit on the digits of a whole number
            self._problem(number, 1, f"a number is too long ({str(error).split(';')[0]})")
        else:
            self._value(number, text, value)

    def _text(self, number: int, line: bytes, whole: bool) -> str | None:
        try:
            return line.decode().rstrip("\r")
        except UnicodeDecodeError as error:
            at = len(line[: error.start].decode()) + 1
            if not whole and error.reason == "unexpected end of data":
                self._truncated(number, at)
            else:
                mend = f"If it is Windows text: {rewrite(self.path, 'iconv -f WINDOWS-1252 -t UTF-8')}"
                self._problem(number, at, f"byte 0x{line[error.start]:02x} is not UTF-8", mend)
            return None

    def _shallow(self, number: int, text: str) -> bool:
        at = _too_deep(text)
        if at is not None:
            self._problem(number, at + 1, f"nested deeper than {MAX_DEPTH}")
        return at is None

    def _syntax(self, number: int, text: str, error: json.JSONDecodeError, whole: bool) -> None:
        if not self.rows and not self.problems and spread(text):
            raise DataError(in_one_value(self.path, number)) from None
        if not whole and cut(text, error):
            self._truncated(number, error.pos + 1)
            return
        found, mend = explain(self.path, text, error)
        self._problem(number, error.pos + 1, found, mend)

    def _truncated(self, number: int, at: int) -> None:
        mend = f"Copy it again, whole. Without the cut row: {rewrite(self.path, f'head -n {number - 1}')}"
        self._problem(number, at, "the last line is cut: the file looks truncated", mend)

    def _value(self, number: int, text: str, value: Any) -> None:
        flaw = self._flaw(text)
        if flaw:
            self._problem(number, flaw[0] + 1, flaw[1], flaw[2])
        elif isinstance(value, dict):
            self.rows.append(Row(path=self.path, line=number, value=value, text=text))
        else:
            self._problem(number, 1, f"the row is {kind(value)}; an object {{...}} is wanted")

    def _flaw(self, text: str) -> tuple[int, str, str] | None:
        """(offset, found, mend) of what JSON's grammar allows or Python's parser lets pass, and no row may hold."""
        if self.doubled:
            return _twice(text)
        return _not_finite(text) if self.infinite else _unfit_character(text)

    def _members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        self.doubled = self.doubled or len(members) < len(pairs)
        return members

    def _float(self, text: str) -> float:
        number = float(text)
        self.infinite = self.infinite or not math.isfinite(number)
        return number

    def _problem(self, line: int, at: int, found: str, mend: str = "") -> None:
        self.problems.append(Problem(f"{self.path}:{line}:{at}", found, mend))


def kind(value: object) -> str:
    """What a JSON value is, as an error says it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names: dict[type, str] = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names[type(value)]


def _lines(stream: Stream) -> Iterator[tuple[int, bytes, bool]]:
    """(number, bytes without the line feed, whether there was one). Too long a line comes as its first MAX_ROW + 1."""
    number = 0
    while line := stream.readline(MAX_ROW + 2):
        number += 1
        whole = line.endswith(b"\n")
        yield number, line.removesuffix(b"\n")[: MAX_ROW + 1], whole
        while not whole and len(line) == MAX_ROW + 2:
            line = stream.readline(MAX_ROW + 2)
            whole = line.endswith(b"\n")


def _too_deep(text: str) -> int | None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return None
    depth = 0
    for piece in _PIECE.finditer(text):
        depth += (piece.group() in "[{") - (piece.group() in "]}")
        if depth > MAX_DEPTH:
            return piece.start()
    return None


def _twice(text: str) -> tuple[int, str, str]:
    seen: dict[tuple[str | int, ...], int] = {}
    for place in places(text):
        if place.keys in seen:
            first = seen[place.keys] + 1
            return place.at, f'"{place.keys[-1]}" stands twice (first in column {first})', "Remove one of the two."
        seen[place.keys] = place.at
    raise AssertionError("the parser saw a name twice")


def _not_finite(text: str) -> tuple[int, str, str]:
    """NaN and Infinity by name, and numbers too large for a double."""
    for place in places(text):
        number = _NUMBER.match(text, place.value)
        if number and not math.isfinite(float(number.group())):
            return place.value, f"{number.group()} is no finite number", "Write the number, or leave the row out."
    raise AssertionError("the parser saw a number that is not finite")


def _unfit_character(text: str) -> tuple[int, str, str] | None:
    """Half a surrogate pair or a NUL, written as an escape (raw ones are no UTF-8 or no JSON)."""
    if "\\u" not in text:
        return None
    high: int | None = None
    for escape in _ESCAPE.finditer(text):
        code = int(escape.group(1), 16) if escape.group(1) else -1
        if high is not None and not (0xDC00 <= code < 0xE000 and escape.start() == high + 6):
            return _lone(text, high)
        if 0xDC00 <= code < 0xE000 and high is None:
            return _lone(text, escape.start())
        if code == 0:
            return escape.start(), "a NUL character (\\u0000) inside a string", "Remove it."
        high = escape.start() if 0xD800 <= code < 0xDC00 else None
    return None if high is None else _lone(text, high)


def _lone(text: str, at: int) -> tuple[int, str, str]:
    return at, f"{text[at : at + 6]} is half a character (a lone surrogate)", "Write the whole character, or remove it."
