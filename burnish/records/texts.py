"""Plain text to learn beside answers or to be measured on: JSON lines with a column `text`, or a .txt file, which is
one text. Knows files and rows; no token."""

from __future__ import annotations

from pathlib import Path

from burnish.errors import DataError, Problem
from burnish.records.files import HEAD, data_file, foreign, opened, rewrite
from burnish.records.jsonl import Row
from burnish.records.rows import first_row, read_as
from burnish.records.turns import fault, text_of
from burnish.types import Text

COLUMN = "text"


def holds_texts(path: Path) -> bool:
    """Whether a file is plain text rather than conversations: its name or its first row tells."""
    if _plain(path):
        return True
    row = first_row(path).value
    return COLUMN in row and not {"messages", "prompt"} & row.keys()


def read_texts(path: Path) -> list[Text]:
    """The texts of a file. Raises DataError naming every row without one, and the line of a .txt file that is not
    UTF-8."""
    if _plain(path):
        return [Text(id=path.name, content=_read(data_file(path)))]
    return read_as(path, _text)


def _plain(path: Path) -> bool:
    return path.suffixes[-1:] == [".txt"] or path.suffixes[-2:] == [".txt", ".gz"]


def _text(row: Row) -> Text:
    if COLUMN not in row.value:
        raise fault(row, f'"{COLUMN}" is missing', "Add it, or leave the row out.")
    content = text_of(row, COLUMN)
    if not content.strip():
        raise fault(row, f'"{COLUMN}" is empty', "Leave the row out.", COLUMN)
    return Text(id=row.name, content=content)


def _read(path: Path) -> str:
    with opened(path) as stream:
        data = stream.read()
    if problem := foreign(path, data[:HEAD]):
        raise DataError(problem)
    try:
        content = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        mend = f"If it is Windows text: {rewrite(path, 'iconv -f WINDOWS-1252 -t UTF-8')}"
        found = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise DataError(Problem(f"{path}:{line}", found, mend)) from error
    if not content.strip():
        raise DataError(Problem(str(path), "the file is empty"))
    return content
