"""A data file that a user names: a path, or a data set of the Hub. Loads what talks to the Hub only where it must."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from burnish.records.files import SUFFIXES, located, shell

_HUBSET = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?(:.+)?")


def of_hub(name: str) -> bool:
    """Whether a name that is no path here may be a data set's."""
    return bool(_HUBSET.fullmatch(name)) and not name.partition(":")[0].endswith(SUFFIXES)


def fetching(name: str, base: Path) -> str:
    """The mend for a data set that is not fetched here: the shell line that puts it under `base`."""
    repository, _, revision = name.partition(":")[0].partition("@")
    at = f" --revision {revision}" if revision else ""
    line = f"hf download {repository}{at} --repo-type dataset --local-dir {shell(located(repository, base))}"
    return f"Fetch the data set and name one of its files: {line}"


def data_of(name: str) -> Path:
    """The path of a file or folder, or of the file in the Hub's cache. Raises MachineError where the Hub is out of
    reach; whether a path leads to a file is its reader's to say."""
    path = Path(name)
    if path.exists() or not of_hub(name):
        return path
    found: Path = import_module("burnish.pipeline.sources").data_path(name, Path.cwd())
    return found
