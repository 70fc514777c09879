"""Texts of licences beside a model's weights, which go with whatever is made of it. Knows names; reads nothing."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

NAMES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
"""As they are called on the Hub. Apache-2.0 asks for its own and NOTICE, Llama's for that and its policy."""


def licence_texts(folder: Path) -> list[Path]:
    """The files in a model's folder that are called so, by name."""
    files = (each for each in folder.iterdir() if each.is_file())
    return sorted(each for each in files if any(fnmatchcase(each.name.upper(), name) for name in NAMES))
