"""Adapter folders: which they are, and the name of the model that each belongs to. Knows peft's file names; loads no
weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from burnish.errors import ModelError, Problem
from burnish.records.files import located

CONFIG = "adapter_config.json"
FILE = "adapter_model.safetensors"
BASE = "base.json"
"""Where burnish wrote the folder: its base's name and digest."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no model."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def base_name(folder: Path) -> str:
    """What the model that an adapter belongs to is called, with its revision where one is named. Raises ModelError."""
    path = folder / CONFIG
    try:
        stated: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(Problem(str(path), f"not JSON ({error})")) from error
    named: dict[str, Any] = stated if isinstance(stated, dict) else {}
    name = named.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        mend = 'Write the base model\'s folder or Hub id there: "base_model_name_or_path": "NAME".'
        raise ModelError(Problem(str(path), "does not say which model it is an adapter of", mend))
    revision = named.get("revision")
    return f"{name}@{revision}" if revision and revision != "main" and "@" not in name else name


def place_of_base(folder: Path, base: Path) -> tuple[str, Path]:
    """The base's name, and the folder that it is relative to: `base`, or the run in which burnish wrote the adapter.

    Raises ModelError for one that says no base, or that comes back to itself from base to base.
    """
    found = name, place = _place_of_base(folder, base)
    seen = {folder.resolve()}
    while is_adapter(path := located(name, place).resolve()):
        if path in seen:
            raise ModelError(Problem(str(folder), "an adapter that names itself as its base"))
        seen.add(path)
        name, place = _place_of_base(path, place)
    return found


def _place_of_base(folder: Path, base: Path) -> tuple[str, Path]:
    name, run = base_name(folder), folder.absolute().parent.parent
    return name, run if (folder / BASE).is_file() and (run / name).is_dir() else base
