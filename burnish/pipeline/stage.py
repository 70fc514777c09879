"""What a stage is and what it is given. Knows no stage by name, no model and no database.

A stage is a function of a Context: it fills `context.folder` and returns facts. It may be killed at any moment and
called again with the same key: what it left in its folder is its own to continue from, and must give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from burnish.pipeline.recipe import Recipe
from burnish.records.files import located
from burnish.types import Progress

Facts = dict[str, Any]
"""JSON values: what a stage states about what it made, for its record, the report and the model card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a stage sees of the run."""

    recipe: Recipe
    """Its own section is `context.recipe.<stage>`; seed, dtype and model are at the top."""
    key: str
    """This stage's content key: 64 hex digits. A campaign is named by it."""
    run: Path
    """The run folder."""
    folder: Path
    """This stage's own folder; it exists, but for a sealed stage, which makes it by `durable.folder`."""
    inputs: Mapping[str, Path]
    """Folders of the stages that this one needs and that the recipe has."""
    base: Path
    """The recipe file's folder."""
    store: Path | str
    """The preference database of the run: a file, or an address."""
    progress: Progress
    patient: bool = False
    """True in a terminal: a stage may wait there for people."""

    def path(self, name: str) -> Path:
        """Where a path of the recipe lies."""
        return located(name, self.base)


Work = Callable[[Context], Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the graph."""

    name: str
    """Also the name of its section in the recipe and of its folder in the run."""
    version: int
    """Raised when the stage's code gives other results for the same settings: then it reruns."""
    needs: tuple[str, ...]
    """Stages whose output it reads; those that the recipe lacks are left out."""
    makes: str
    """What it made, as a name inside its folder: a sealed folder, a file, or "." for the folder itself."""
    run: Work
    facts: tuple[str, ...] = ()
    """Stages whose facts it reads, which may change where their output does not."""
    shared: tuple[str, ...] = ("model", "seed", "dtype")
    """Settings at the recipe's top that its result depends on."""

    @property
    def sealed(self) -> bool:
        """The folder is one sealed bundle: its record lies beside it, and there is nothing to resume from."""
        return self.makes == "."

    def record(self, run: Path) -> Path:
        """The file that is written last: its presence with the right key means done."""
        return run / f"{self.name}.json" if self.sealed else run / self.name / "stage.json"


def imported(module: str) -> Work:
    """The `run` of a module that is imported only when the stage runs: to see that all is done needs no torch."""

    def run(context: Context) -> Facts:
        work: Work = import_module(module).run
        return work(context)

    return run


def computed(module: str) -> Work:
    """As `imported`, for a stage that computes with torch: how it does is settled first."""

    def run(context: Context) -> Facts:
        settled: Callable[[Context], Context] = import_module("burnish.pipeline.computing").settled
        return imported(module)(settled(context))

    return run
