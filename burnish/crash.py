"""What is kept of our own bugs: a report to send, without secrets. Knows nothing of what ran."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from burnish.pipeline.environment import environment
from burnish.terminal import say

_SECRET = re.compile(r"(key|token|secret|passw|credential|auth)", re.IGNORECASE)
_ASSIGNED = re.compile(r"(?i)([\w.-]*(?:key|token|secret|passw|credential|auth)[\w.-]*[\"']?\s*[=:]\s*)[^\s,;}]+")
_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")
HIDDEN = "[hidden]"


def admit(error: BaseException, argv: Sequence[str]) -> int:
    """Say on the error stream that burnish has a bug, and where its report is. Returns the exit code."""
    where = report(error, argv)
    name = type(error).__name__
    say(f"burnish has a bug ({name}). A report without secrets is in {where}; exit 1", sys.stderr)
    return 1


def report(error: BaseException, argv: Sequence[str]) -> Path:
    """Write traceback, versions and command line to a file of the user's own in the temporary folder."""
    parts = [
        "burnish stopped by a bug of its own. Please read this file before you send it.",
        f"command: {' '.join(without_secrets(argv))}",
        *(f"{name}: {value}" for name, value in environment().items()),
        scrub("".join(traceback.format_exception(error))),
    ]
    name = f"burnish-crash-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-"
    handle, path = tempfile.mkstemp(prefix=name, suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(parts) + "\n")
    return Path(path)


def without_secrets(argv: Sequence[str]) -> list[str]:
    """The command line with the values of secret-looking options hidden."""
    hidden = [
        HIDDEN if before.startswith("-") and "=" not in before and _SECRET.search(before) else scrub(word)
        for before, word in zip(["", *argv], argv, strict=False)
    ]
    return hidden


def scrub(text: str) -> str:
    """Text without `secret=value`s, without users in addresses, and without the values of secret-looking variables."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 6:
            text = text.replace(value, HIDDEN)
    return _IN_URL.sub(f"{HIDDEN}@", _ASSIGNED.sub(rf"\1{HIDDEN}", text))
