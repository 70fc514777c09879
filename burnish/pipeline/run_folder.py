"""The files at the top of a run folder: resolved recipe, environment, database. Knows names; runs nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from burnish.config import load_yaml, validate
from burnish.errors import ConfigError, Problem
from burnish.pipeline.environment import environment
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.recipe_file import moved, yaml_text
from burnish.records.durable import readable, sweep, write_bytes
from burnish.runs import RECIPE, Run
from burnish.store.session import Store, open_store

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
    _write_changed(folder / ENVIRONMENT, readable(environment()))


def read_copy(folder: Path) -> Recipe:
    """The recipe of a run, from its own copy. Raises ConfigError where `folder` is no run."""
    return validate(Recipe, load_yaml(Run.open(folder).recipe))


def store_of(folder: Path, recipe: Recipe) -> Path | str:
    """Where a run keeps its judgements: a file in its folder, unless the recipe names a database."""
    return (recipe.collect and recipe.collect.store) or folder / STORE


def database(place: str, *, make: bool = False) -> Path | str:
    """The preference database that a run folder, a file or an address names. ConfigError where there is none yet,
    unless one is to be made."""
    if "://" in place:
        return place
    path = Path(place)
    found = store_of(path, read_copy(path)) if path.is_dir() else path
    if isinstance(found, Path) and not (make or found.is_file()):
        mend = "Name the database, or make one: burnish label new NAME --from FILE"
        raise ConfigError(Problem(str(found), "there is no preference database", mend))
    return found


@contextmanager
def opened(place: str, *, make: bool = False) -> Generator[Store]:
    """That database, open."""
    with closing(open_store(database(place, make=make))) as store:
        yield store


def _copy(recipe: Recipe, base: Path, folder: Path) -> bytes:
    return (HEADER + yaml_text(moved(recipe, base, folder))).encode()


def _is_copy(path: Path) -> bool:
    return path.read_bytes().startswith(HEADER.encode())


def _write_changed(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)
