"""Content keys: two stages with the same key make the same thing. Knows settings, files and digests; runs nothing.

A key is the digest of the stage's name and version, its settings (the names of files replaced by what the files hold),
the settings at the recipe's top that matter to it, the digests of what it reads from other stages, and their facts
where it reads those: how good a reward model is may be measured anew, and its weights the same. Settings that cannot
change a result are left out, and paths as well: a run that is moved to another folder is still done. So are settings
that are null: they ask for nothing, and a new one of the kind leaves every finished stage done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from types import MappingProxyType
from typing import Any

from burnish.config import Keys, resolved
from burnish.pipeline.paths import PATHS, places, put
from burnish.pipeline.recipe import POLICIES, Recipe
from burnish.pipeline.recipe_file import moved
from burnish.pipeline.record import Source
from burnish.pipeline.stage import Stage
from burnish.records.adapters import BASE, is_adapter, place_of_base
from burnish.records.durable import MANIFEST, digest_file, digest_value
from burnish.records.files import located

IMMATERIAL = {"save_every", "spike", "store", "cache_gib"}
"""Settings, of a section or of one within it, that cannot change a result but for rounding."""
MEANINGS = {"weight_decay": "matrices", "ptx_data": "ptx_coef 0.1, begun", "texts": "begun"}
"""Settings that came to mean something else, and what they mean now. It is said in the keys of stages that have them
set, and of no others: a stage's `version` would rerun all."""
_GGUF = {"model": "read whole", "teacher": "read whole"}
"""The same of models in GGUF files."""
Contents = Mapping[Keys, Any]
"""Where a setting that names files or a model stands in the recipe -> what `content` finds there."""


def settings(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """A stage's section as it is recorded: every setting with its value."""
    return resolved(getattr(recipe, stage.name))


def contents(recipe: Recipe, base: Path, stage: Stage) -> Contents:
    """What is read for a stage's key: every file and folder that it depends on, once."""
    section = settings(recipe, stage)
    named = [each for name in PATHS.get(stage.name, ()) for each in places(section, name)]
    said: dict[Keys, Any] = {(stage.name, *keys): value for keys, value in named}
    if "model" in stage.shared:
        said[("model",)] = recipe.model
    if "rankings" in stage.shared and (ranked := recipe.ranked()):
        said[_place_of_rankings(recipe)] = ranked.rankings
    return {keys: content(value, base) for keys, value in said.items()}


def stage_key(
    recipe: Recipe,
    stage: Stage,
    found: Contents,
    inputs: Mapping[str, str],
    facts: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> str:
    """The key of a stage, given what `contents` found, the digests of the stages that it reads, and the facts of those
    of which it reads facts."""
    paths = PATHS.get(stage.name, ())
    section = {name: value for name, value in settings(recipe, stage).items() if value is not None}
    meanings = {name: meaning for name, meaning in MEANINGS.items() if section.get(name)}
    meanings |= {name: meaning for name, meaning in _GGUF.items() if _is_gguf(recipe, stage, name)}
    for keys, held in found.items():
        if keys[0] == stage.name:
            put(section, keys[1:], held)
    return digest_value(
        {
            "stage": stage.name,
            "version": stage.version,
            "settings": {name: value for name, value in _material(section).items() if name not in paths},
            "files": {name: section[name] for name in paths if name in section},
            "shared": {name: _shared(recipe, name, found) for name in stage.shared},
            "inputs": dict(inputs),
            **({"meanings": meanings} if meanings else {}),
            **({"facts": facts} if facts else {}),
        }
    )


def _is_gguf(recipe: Recipe, stage: Stage, name: str) -> bool:
    named = recipe.model if name in stage.shared else getattr(getattr(recipe, stage.name), name, None)
    return isinstance(named, str) and named.lower().endswith(".gguf")


def _material(section: Mapping[str, Any]) -> dict[str, Any]:
    """What of a section can change a result."""
    return {
        name: _material(value) if isinstance(value, Mapping) else value
        for name, value in section.items()
        if name not in IMMATERIAL
    }


def sources(recipe: Recipe, base: Path, run: Path, found: Contents, inputs: Mapping[str, str]) -> tuple[Source, ...]:
    """The same for a stage's record, as the run's copy of the recipe names it. The base model is left out where a
    policy of this run is read: that one's record says it."""
    copy: Any = moved(recipe, base, run)
    named: list[Source] = []
    for keys, held in found.items():
        if keys == ("model",) and not inputs.keys().isdisjoint(POLICIES):
            continue
        said = reduce(getitem, keys, copy)
        pairs = zip(said, held, strict=True) if isinstance(said, list) else [(said, held)]
        named += [
            Source(setting=".".join(map(str, keys)), name=name, digest=_digest(name, each)) for name, each in pairs
        ]
    return tuple(named)


def _digest(name: str, held: str | dict[str, Any]) -> str | None:
    """Of a file, or of a folder as its manifest has it: of what burnish sealed it is the digest in a stage's record."""
    if isinstance(held, str):
        return None if held == name else held
    return digest_value({file: digest for file, digest in held.items() if file != MANIFEST})


def _shared(recipe: Recipe, name: str, found: Contents) -> Any:
    match name:
        case "model":
            return found[("model",)]
        case "rankings":
            return _rankings(recipe, found)
        case _:
            return getattr(recipe, name)


def _place_of_rankings(recipe: Recipe) -> Keys:
    return ("reward" if recipe.reward else "dpo", "rankings")


def _rankings(recipe: Recipe, found: Contents) -> Any:
    """Given rankings and how they are split, for stages that learn from what another section names."""
    ranked = recipe.ranked()
    if ranked is None:
        return None
    chosen = [] if ranked.where is None else [resolved(ranked)["where"]]
    return [found[_place_of_rankings(recipe)], ranked.held_out, ranked.limit, *chosen]


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
