"""Content keys: two stages with the same key make the same thing. Knows settings, files and digests; runs nothing.

A key is the digest of the stage's name and version, its settings (the names of files replaced by what the files hold),
the settings at the recipe's top that matter to it, and the digests of what it reads from other stages. Settings that
cannot change a result are left out, and paths as well: a run that is moved to another folder is still done. So are
settings that are null: they ask for nothing, and a new one of the kind leaves every finished stage done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.config import resolved
from burnish.pipeline.recipe import PATHS, Recipe, places, put
from burnish.pipeline.stage import Stage
from burnish.records.adapters import BASE, is_adapter, place_of_base
from burnish.records.durable import digest_file, digest_value
from burnish.records.files import located

IMMATERIAL = {"save_every", "spike", "store"}
MEANINGS = {
    "weight_decay": "matrices",
    "ptx_data": "ptx_coef 0.1",
    "stop": "rewards read ids",
    "mask_truncated": "no penalty",
    "kl": "not divided by a spread",
}
"""Settings that came to mean something else, and what they mean now. It is said in the keys of stages that have them
set, and of no others: a stage's `version` would rerun all."""


def settings(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """A stage's section as it is recorded: every setting with its value."""
    return resolved(getattr(recipe, stage.name))


def stage_key(recipe: Recipe, base: Path, stage: Stage, inputs: Mapping[str, str]) -> str:
    """The key of a stage, given the digests of the stages that it reads."""
    paths = PATHS.get(stage.name, ())
    section = {name: value for name, value in settings(recipe, stage).items() if value is not None}
    put_contents(section, [name for name in paths if "." in name], base)  # paths inside of settings
    meanings = {name: meaning for name, meaning in MEANINGS.items() if section.get(name)}
    return digest_value(
        {
            "stage": stage.name,
            "version": stage.version,
            "settings": {name: value for name, value in section.items() if name not in (*paths, *IMMATERIAL)},
            "files": {name: content(section[name], base) for name in paths if name in section},
            "shared": {name: _shared(recipe, name, base) for name in stage.shared},
            "inputs": dict(inputs),
            **({"meanings": meanings} if meanings else {}),
        }
    )


def _shared(recipe: Recipe, name: str, base: Path) -> Any:
    match name:
        case "model":
            return content(recipe.model, base)
        case "rankings":
            return _rankings(recipe, base)
        case _:
            return getattr(recipe, name)


def _rankings(recipe: Recipe, base: Path) -> Any:
    """Given rankings and how they are split, for stages that learn from what another section names."""
    ranked = recipe.ranked()
    if ranked is None:
        return None
    chosen = [] if ranked.where is None else [resolved(ranked)["where"]]
    return [content(ranked.rankings, base), ranked.held_out, ranked.limit, *chosen]


def put_contents(values: dict[str, Any], names: Sequence[str], base: Path) -> None:
    """Put what files hold into the place of the paths that settings of these names say."""
    for name in names:
        for keys, path in list(places(values, name)):
            put(values, keys, content(path, base))


def content(name: str | list[str] | None, base: Path) -> Any:
    """What a file or folder holds; a name that is no path here (an alias, a Hub id) stands for itself."""
    if isinstance(name, list):
        return [content(each, base) for each in name]
    if name is None or not located(name, base).exists():
        return name
    path = located(name, base)
    if path.is_file():
        return digest_file(path)
    found = folder_content(path)
    if is_adapter(path) and BASE not in found:  # nothing in it says what its base holds
        found["of"] = content(*place_of_base(path, base))
    return found


def folder_content(folder: Path) -> dict[str, str]:
    """Digest of each file of a folder, by its relative name; hidden ones are left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}
