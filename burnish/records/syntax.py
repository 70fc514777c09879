"""What is wrong with a line that is not JSON, and how to mend it.

Knows the usual mistakes: Python's and JavaScript's spellings, comments, lines cut short, and files that hold one object
over many lines.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from burnish.errors import Problem
from burnish.records.files import rewrite

_FROM_PYTHON = (
    'python -c "import ast, json, sys; '
    '[print(json.dumps(ast.literal_eval(row), ensure_ascii=False)) for row in sys.stdin]"'
)
_FROM_SPREAD = 'python -c "import json, sys; print(json.dumps(json.load(sys.stdin), ensure_ascii=False))"'
_NO_COMMENTS = "grep -vE '^ *(//|#)'"
_COMMENTS = ("//", "#", "/*")
_WORD = re.compile(r"[A-Za-z_]\w*")


def explain(path: Path, text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    """(found, mend) of a line that json refused at `error.pos`."""
    rest = text[error.pos :]
    if rest.startswith(_COMMENTS):
        return (
            "a comment; JSON has none",
            f"Remove it. Where comments have lines of their own: {rewrite(path, _NO_COMMENTS)}",
        )
    if error.msg == "Extra data":
        return _extra(rest)
    if rest.startswith("'"):
        return 'a single quote; JSON strings stand in double quotes (")', f"Run: {rewrite(path, _FROM_PYTHON)}"
    word = _WORD.match(rest)
    if word and error.msg.startswith("Expecting"):
        return _bare(path, word.group())
    return _other(text, error)


def cut(text: str, error: json.JSONDecodeError) -> bool:
    """Whether the text of a last line is the beginning of an object: then the file was cut there."""
    text = text.strip()
    return text.startswith("{") and (not text.endswith("}") or error.pos >= len(text))


def spread(text: str) -> bool:
    """Whether a file's first line begins an object that goes on over further lines."""
    return text.strip() == "{"


def in_one_value(path: Path, line: int) -> Problem:
    """The problem of a file that is one object instead of one a line."""
    found = "the file is one JSON object over several lines; one object a line is wanted"
    return Problem(f"{path}:{line}:1", found, f"Run: {rewrite(path, _FROM_SPREAD)}")


def _extra(rest: str) -> tuple[str, str]:
    if rest.startswith(("{", "[")):
        return "a second value on the line; one row a line is wanted", "Put it on a line of its own."
    return "text after the end of the row", "Remove it."


def _bare(path: Path, word: str) -> tuple[str, str]:
    if word in ("True", "False", "None"):
        return f"{word} is Python's spelling; true, false or null is wanted", f"Run: {rewrite(path, _FROM_PYTHON)}"
    return f"{word} without double quotes", f'Write "{word}".'


def _other(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    rest, before = text[error.pos :], text[: error.pos].rstrip()
    if rest.startswith(("}", "]", ",")) and before.endswith((",", "[", "{", ":")):
        return "a comma too many, or a value too few", "Remove the comma, or add the value."
    if error.msg.startswith("Unterminated string"):
        return "a string without its closing quote", 'Add the ".'
    if error.msg.startswith("Invalid control character"):
        return f"a raw control character ({rest[:1]!r}) inside a string", "Remove it, or write it as an escape."
    message = error.msg.removesuffix(" at").rstrip(": ")
    return f"not JSON ({message[:1].lower()}{message[1:]})", ""
