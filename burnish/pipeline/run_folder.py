"""The files at the top of a run folder: resolved recipe, environment, database. Knows names; runs nothing."""

from __future__ import annotations

import json
from pathlib import Path

from burnish.config import load_yaml, validate
from burnish.errors import ConfigError, Problem
from burnish.pipeline.environment import environment
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.recipe_file import moved, yaml_text
from burnish.records.durable import sweep, write_bytes, write_json
from burnish.runs import RECIPE, Run

ENVIRONMENT = "env.json"
STORE = "preferences.db"
REPORT = "report.html"
HEADER = "# The recipe as this run reads it: every setting, overrides included. Written by burnish; edits are lost.\n"
"""Tells a run's copy from a recipe that somebody wrote."""


def admit(folder: Path, name: str) -> None:
    """Refuse a folder that holds something else than a run of this recipe. Raises ConfigError; changes nothing."""
    if not (folder / RECIPE).is_file():
        return
    mend = "Choose another folder with --out."
    if not _is_copy(folder / RECIPE):
        found = f"--out holds a {RECIPE} that somebody wrote, and a run would write its own there"
        raise ConfigError(Problem(str(folder / RECIPE), found, mend))
    if (held := read_copy(folder).name) != name:
        raise ConfigError(Problem(str(folder), f'--out holds the run "{held}", not "{name}"', mend))


def prepare(folder: Path, recipe: Recipe, base: Path) -> None:
    """Write the resolved recipe and the environment, and remove what an interrupted write left."""
    sweep(folder)
    _write_changed(folder / RECIPE, _copy(recipe, base, folder))
    now = environment()
    if not (folder / ENVIRONMENT).is_file() or json.loads((folder / ENVIRONMENT).read_bytes()) != now:
        write_json(folder / ENVIRONMENT, now)


def read_copy(folder: Path) -> Recipe:
    """The recipe of a run, from its own copy. Raises ConfigError where `folder` is no run."""
    return validate(Recipe, load_yaml(Run.open(folder).recipe))


def store_in(place: Path) -> Path:
    """The preference database of a run folder, or the one that is named. Raises ConfigError where there is none."""
    store = place / STORE if place.is_dir() else place
    if not store.is_file():
        mend = "Run a recipe with collect: {by: people} first, or name the database."
        raise ConfigError(Problem(str(store), "there is no preference database", mend))
    return store


def _copy(recipe: Recipe, base: Path, folder: Path) -> bytes:
    return (HEADER + yaml_text(moved(recipe, base, folder))).encode()


def _is_copy(path: Path) -> bool:
    return path.read_bytes().startswith(HEADER.encode())


def _write_changed(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)
