"""What a stage's folder says of itself: whose key it holds, whether it is done, and what it made.

Knows files and names. Three states of a folder: absent; begun (a `key.json`, written first, and what the stage left);
done (a record, written last). A folder of another key is never mixed with a new one nor lost: it is put away whole
under `.superseded`, and taken back when its key is asked for again.

"Done" compares the digests in manifests with those in the record, and looks for the files that they name: milliseconds,
whatever the size of a model. Every byte behind a manifest is checked when the folder is loaded, and by `burnish
verify`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, Problem
from burnish.pipeline.stage import Facts, Stage
from burnish.records.durable import digest_file, digest_folder, sweep, write_json

SUPERSEDED = ".superseded"
BEGUN = "key.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a stage read beside other stages of its run: a model, data, or what another run made."""

    setting: str
    """Where the recipe names it: `model`, `ppo.rewards.0.model.folder`."""
    name: str
    """As the run's copy of the recipe says it: a path seen from the run folder, or a name that is no path."""
    digest: str | None
    """Of the file, or of the folder without its manifest; None where the name is no path."""

    def said(self, digits: int) -> str:
        """What it was to the stage, its name, and the first digits of its digest."""
        match self.setting.split("."):
            case ["model"]:
                role = "base"
            case [stage, "rewards", _, "model", "folder"] if stage != "evaluate":
                role = "paid by"
            case parts:
                role = ".".join(parts[1:])
        return " ".join([role, self.name, *([self.digest[:digits]] if self.digest else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is written last: the stage is done."""

    stage: str
    key: str
    version: int
    settings: Mapping[str, Any]
    """Of the stage's section, all of them."""
    inputs: Mapping[str, str]
    """Name of a stage that was read -> digest of what it had made."""
    sources: tuple[Source, ...] = ()
    """What else was read; a record from before these were written has none."""
    output: str
    """Digest of what was made."""
    facts: Facts
    seconds: float
    """Wall time of the process that finished it; a resumed stage took longer in all."""
    started: str
    """UTC, of the first process that began it."""
    finished: str
    resumed: bool
    """True when an earlier process had begun it."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_record(stage: Stage, run: Path) -> Record | None:
    """The record of a stage that was finished, whatever its key; None where there is none."""
    path = stage.record(run)
    if not path.is_file():
        return None
    try:
        said: dict[str, Any] = {"sources": (), **json.loads(path.read_bytes())}
        said["sources"] = tuple(Source(**each) for each in said["sources"])
        return Record(**said)
    except (ValueError, TypeError) as error:
        mend = f"Remove {path} and run the same command: the stage is made again."
        raise ConfigError(Problem(str(path), "is damaged or from another version of burnish", mend)) from error


def output_digest(stage: Stage, run: Path) -> str | None:
    """Digest of what lies there now; None where it is absent or unfinished."""
    made = run / stage.name / stage.makes
    if made.is_dir():
        return digest_folder(made)
    return digest_file(made) if made.is_file() else None


def is_done(stage: Stage, run: Path, key: str) -> bool:
    record = read_record(stage, run)
    return record is not None and record.key == key and record.output == output_digest(stage, run)


def begun(stage: Stage, run: Path) -> dict[str, str] | None:
    """{"key", "started"} of whatever a stage's folder holds; None when it is absent or empty."""
    folder = run / stage.name
    if stage.sealed:
        record = read_record(stage, run)
        return None if record is None or not folder.is_dir() else {"key": record.key, "started": record.started}
    mark = folder / BEGUN
    if mark.is_file():
        return _read_mark(mark)
    strange = folder.exists() if not folder.is_dir() else any(folder.iterdir())
    if strange:
        what = "holds files" if folder.is_dir() else "is a file"
        found = f'{what} that no run of burnish left there, and "{stage.name}" would write there'
        raise ConfigError(Problem(str(folder), found, "Choose another folder with --out."))
    return None


def _read_mark(mark: Path) -> dict[str, str]:
    try:
        held = json.loads(mark.read_bytes())
        return {"key": held["key"], "started": held["started"]}
    except (ValueError, KeyError, TypeError) as error:
        mend = f"Remove {mark.parent} and run the same command: the stage is made again."
        raise ConfigError(Problem(str(mark), "is damaged: what else lies there belongs to nothing", mend)) from error


def claim(stage: Stage, run: Path, key: str, started: str) -> dict[str, str]:
    """Make the stage's folder the one of this key: continued, taken back, or new. Returns its `begun`."""
    sweep(run / stage.name)
    held = begun(stage, run)
    if held is not None and held["key"] != key:
        _move(stage, run, _away(stage, run, held["key"]))
        held = None
    if held is None and _away(stage, run, key).is_dir():
        _take_back(stage, run, key)
        held = begun(stage, run)
    if held is None:
        held = {"key": key, "started": started}
        if not stage.sealed:
            write_json(run / stage.name / BEGUN, held)
    return held


def _away(stage: Stage, run: Path, key: str) -> Path:
    return run / SUPERSEDED / f"{stage.name}-{key[:8]}"


def _move(stage: Stage, run: Path, away: Path) -> None:
    """A bundle's record goes first: a kill in between leaves a folder without a record, which is made anew."""
    away.parent.mkdir(exist_ok=True)
    shutil.rmtree(away, ignore_errors=True)
    if stage.sealed:
        stage.record(run).replace(away.with_suffix(".json"))
    (run / stage.name).rename(away)


def _take_back(stage: Stage, run: Path, key: str) -> None:
    away = _away(stage, run, key)
    shutil.rmtree(run / stage.name, ignore_errors=True)
    away.rename(run / stage.name)
    beside = away.with_suffix(".json")
    if stage.sealed and beside.is_file():
        beside.replace(stage.record(run))
