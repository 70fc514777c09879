"""A data file that a user names: a path, or a data set of the Hub. Loads what talks to the Hub only where it must."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from burnish.records.files import SUFFIXES

_HUBSET = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?(:.+)?")


def data_of(name: str) -> Path:
    """The path of a file or folder, or of the file in the Hub's cache. Raises MachineError where the Hub is out of
    reach; whether a path leads to a file is its reader's to say."""
    path = Path(name)
    if path.exists() or not _HUBSET.fullmatch(name) or name.partition(":")[0].endswith(SUFFIXES):
        return path
    found: Path = import_module("burnish.pipeline.sources").data_path(name, Path.cwd())
    return found
