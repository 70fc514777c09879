"""The recipe file: read, checked as a whole, and copied into a run. The settings themselves are in recipe.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from burnish.config import Document, Keys, absences, load_yaml, override, resolved, validate
from burnish.endpoints.server import Address
from burnish.errors import ConfigError, Problem
from burnish.pipeline.contradictions import (
    Contradiction,
    collect_clashes,
    distill_clashes,
    gate_clashes,
    grpo_clashes,
    measured_clashes,
    ppo_clashes,
    reward_clashes,
    rft_clashes,
    sampled_clashes,
)
from burnish.pipeline.hub import fetching, of_hub
from burnish.pipeline.paths import PATHS, places, put
from burnish.pipeline.recipe import POLICIES, Optim, Ranked, Recipe
from burnish.pipeline.settings import Preference
from burnish.records.files import located
from burnish.store.kinds import KINDS

DATA = {
    "sft": "data",
    "reward": "rankings",
    "dpo": "rankings",
    "kto": "data",
    "distill": "prompts",
    "rft": "prompts",
    "online_dpo": "prompts",
    "ppo": "prompts",
    "grpo": "prompts",
}
"""The setting that a stage's own verb calls --data."""
_ROWS = {"data", "eval_data", "rankings", "prompts", "cases"}
"""Settings that name files of rows."""


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, with `a.b=c` overrides. Raises ConfigError with every problem of the file."""
    return _checked(override(load_yaml(path), overrides), path.parent)


def stage_alone(stage: str, model: str, data: Path, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of one stage as its own verb asks for it, with `a.b=c` overrides; its paths start where we stand.

    Raises ConfigError with every problem.
    """
    setting = DATA[stage]
    places: dict[tuple[str | int, ...], str] = {("name",): "--out", ("model",): "--model", (stage, setting): "--data"}
    value = {"name": name, "model": model, stage: {setting: str(data)}}
    return _checked(override(Document(path=Path(f"burnish {stage}"), value=value, places=places), overrides), Path())


def _checked(document: Document, base: Path) -> Recipe:
    recipe = validate(Recipe, document)
    problems = [_located(document, *found) for found in _contradictions(recipe)]
    problems += [_located(document, *found) for found in _missing_files(recipe, base)]
    problems += [_located(document, *found) for found in _bad_addresses(recipe)]
    if problems:
        raise ConfigError(*problems)
    return recipe


def paths(recipe: Recipe) -> Iterator[tuple[str, Keys, str]]:
    """(setting of `PATHS` with its section, where it stands, path as written) of every path that the recipe names."""
    values = resolved(recipe)
    for section, names in PATHS.items():
        for name in names:
            for keys, value in places(values[section], name):
                if isinstance(value, str):
                    yield f"{section}.{name}", (section, *keys), value
                else:
                    yield from ((f"{section}.{name}", (section, *keys, n), path) for n, path in enumerate(value))


def moved(recipe: Recipe, base: Path, folder: Path) -> dict[str, Any]:
    """The resolved recipe with its paths written relative to another folder, so that the copy there works as well."""
    values = resolved(recipe)

    def seen_from_there(path: str) -> str:
        there = located(path, base)
        return os.path.relpath(there, folder) if there.exists() and not Path(path).is_absolute() else path

    values["model"] = seen_from_there(recipe.model)
    for _, keys, path in paths(recipe):
        put(values, keys, seen_from_there(path))
    return values


def yaml_text(values: dict[str, Any]) -> str:
    """Settings as YAML, in their own order."""
    text = StringIO()
    _yaml().dump(values, text)
    return text.getvalue()


def shown(recipe: Recipe) -> str:
    """Every setting of a recipe as YAML. Beside one that is null stands what is in force instead."""
    yaml, text = _yaml(), StringIO()
    values = yaml.load(yaml_text(resolved(recipe)))
    for (*around, name), said in absences(recipe):
        section = values
        for key in around:
            section = section[key]
        section.yaml_add_eol_comment(f"absent: {said}", name)
    yaml.dump(values, text)
    return text.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.default_flow_style = False
    return yaml


def _contradictions(recipe: Recipe) -> Iterator[Contradiction]:
    if not recipe.stages():
        yield ("name",), "the recipe asks for no stage", "Add a section, for example sft."
    yield from _missing_needs(recipe)
    yield from _clashes(recipe)


def _missing_needs(recipe: Recipe) -> Iterator[Contradiction]:
    reward, dpo, collect, evaluate = recipe.reward, recipe.dpo, recipe.collect, recipe.evaluate
    for name, learner in (("reward", reward), ("dpo", dpo)):
        if learner and not collect and not recipe.ranked():
            yield (name,), f"nothing to learn from: there is no collect section and no {name}.rankings", "Add one."
    if recipe.sft and recipe.sft.data is None and not recipe.ranked():
        found = "nothing to learn from: there is neither sft.data nor reward.rankings or dpo.rankings"
        yield ("sft",), found, "Add data."
    for name, sampled in recipe.on_policy().items():
        if sampled.needs_reward_model and not reward:
            mend = f"Add reward, or let {name}.rewards say what answers are paid by without one."
            yield (name,), f"{name} needs a reward section", mend
        elif sampled.prompts is None and not collect and not recipe.ranked():
            yield (name,), f"nothing to answer: there are no rankings and no {name}.prompts", "Add prompts."
    labelled = collect is not None and KINDS[collect.asked].holds == "labels"
    if recipe.kto and recipe.kto.data is None and not labelled:
        found = "nothing to learn from: there is neither kto.data nor a collect section of the kind good_bad"
        yield ("kto",), found, "Add data."
    for name in _ranking_readers(recipe) if labelled else ():
        found = f"{name} learns from rankings, and collect asks whether single answers are good"
        yield (name, "collect.kind"), found, "Let kto learn from it, or have two answers or more compared."
    if recipe.gate and not evaluate:
        yield ("gate",), "gate needs an evaluate section", "Add evaluate, or remove gate."
    if recipe.release and not recipe.gate:
        yield ("release",), "release needs a gate section", "Add gate with thresholds, or remove release."
    if recipe.release and not any(getattr(recipe, name) for name in POLICIES):
        yield ("release",), "nothing was trained that could be released", f"Add one of {', '.join(POLICIES)}."
    if evaluate and not evaluate.cases and not (reward or dpo):
        yield ("evaluate",), "there are no evaluate.cases and no rankings to hold prompts out from", "Add cases."
    if evaluate and evaluate.rubric is None and evaluate.rewards is None and not reward:
        found = "there is no evaluate.rubric and no reward model to compare answers by"
        yield ("evaluate",), found, "Add a rubric, or rewards."
    if evaluate and any(term.of_this_run for term in evaluate.rewards or ()) and not reward:
        yield ("evaluate.rewards",), "evaluate is to ask a reward model that this recipe does not train", "Add reward."
    if collect and collect.by == "panel" and collect.rubric is None:
        yield ("collect",), "a simulated panel needs collect.rubric", "Add rubric, or say by: people."


def _ranking_readers(recipe: Recipe) -> Iterator[str]:
    """The sections that would read a collect section's rankings."""
    yield from (name for name, section in (("reward", recipe.reward), ("dpo", recipe.dpo)) if section)
    yield from (name for name, section in recipe.on_policy().items() if section.prompts is None)
    if recipe.evaluate and not recipe.evaluate.cases:
        yield "evaluate"


def _clashes(recipe: Recipe) -> Iterator[Contradiction]:
    collect, reward, dpo, release = recipe.collect, recipe.reward, recipe.dpo, recipe.release
    for name, learner in (("reward", reward), ("dpo", dpo)):
        if collect and learner and learner.rankings is not None:
            yield (
                (f"{name}.rankings", "collect"),
                "rankings are given although a collect section makes them",
                "Remove one of the two.",
            )
    if reward and dpo and dpo.rankings is not None:
        yield (
            ("dpo.rankings", "reward"),
            "dpo and reward learn from the same rankings, and one section names them",
            "Name them in reward.rankings alone.",
        )
    for name, learner in (("reward", reward), ("dpo", dpo)):
        if learner and learner.rankings is None:
            yield from _of_others(name, learner, "collect" if collect else "reward")
    if collect and collect.ask is not None and collect.disputed_by is None:
        found = "ask is set, and nothing says which prompts are disputed"
        yield ("collect.ask",), found, "Add collect.disputed_by, or set limit instead."
    if collect:
        yield from collect_clashes(collect, reward)
    if reward:
        yield from reward_clashes(reward)
    if recipe.evaluate:
        yield from measured_clashes(recipe.evaluate)
    if recipe.gate:
        policies = [name for name in POLICIES if getattr(recipe, name)]
        yield from gate_clashes(recipe.gate, policies, release is not None)
    for name, preference in (("dpo", dpo), ("online_dpo", recipe.online_dpo)):
        if preference:
            yield from _unread(name, preference)
    if collect and collect.by == "panel" and collect.overlap > len(collect.panel.members):
        yield (
            ("collect.overlap", "collect.panel.members"),
            f"an overlap of {collect.overlap} with {len(collect.panel.members)} members",
            "Add members, or lower overlap.",
        )
    for name, section in (("sft", recipe.sft), ("reward", reward), ("dpo", dpo), ("kto", recipe.kto)):
        if section:
            yield from _unevaluated(name, section)
    for name in ("reward", *(name for name in POLICIES if name not in ("sft", "rft"))):
        section = getattr(recipe, name)
        if section and section.lora and section.lora.dropout:
            yield (
                (f"{name}.lora.dropout",),
                f"{section.lora.dropout}, but this stage trains without dropout",
                f"Remove {name}.lora.dropout.",
            )
    watcher = reward is not None and reward.watcher is not None
    for name, section in recipe.on_policy().items():
        yield from sampled_clashes(name, section, recipe.parallel, watcher)
    if recipe.ppo:
        yield from ppo_clashes(recipe.ppo)
    if recipe.grpo:
        yield from grpo_clashes(recipe.grpo)
    if recipe.rft:
        yield from rft_clashes(recipe.rft)
    if recipe.distill:
        yield from distill_clashes(recipe.distill)
    if release and release.allow_inconclusive and not release.reason:
        yield (
            ("release.allow_inconclusive",),
            "an inconclusive verdict is accepted without a reason",
            "Add release.reason: the model card prints it.",
        )


def _of_others(name: str, learner: Ranked, owner: str) -> Iterator[Contradiction]:
    """Settings of given rankings, in a section that learns from what another names or makes."""
    usual = Ranked()
    for setting in ("limit", "held_out", "where"):
        if getattr(learner, setting) != getattr(usual, setting) and name != owner:
            found = f"{setting} is set, and {name} learns from rankings that are {owner}'s"
            mend = f"Set {owner}.{setting} instead." if owner != "collect" or setting != "where" else "Remove where."
            yield (f"{name}.{setting}", owner), found, mend


def _unread(section: str, said: Preference) -> Iterator[Contradiction]:
    """Settings of a preference that its loss does not read, or that it lacks."""
    smoothed, loss = said.loss in ("cdpo", "robust"), f"{section}.loss"
    if smoothed and not said.label_smoothing:
        found = f"{said.loss} without label_smoothing is dpo"
        yield (f"{section}.label_smoothing", loss), found, "Set label_smoothing: 0.1."
    unread = {
        "label_smoothing": said.label_smoothing and not smoothed,
        "gamma": said.gamma and said.loss != "simpo",
        "rpo_alpha": said.rpo_alpha and said.loss == "orpo",
    }
    for name in (name for name, there in unread.items() if there):
        yield (f"{section}.{name}", loss), f"{name} is set, and {said.loss} does not read it", f"Remove {name}."


def _unevaluated(name: str, section: Optim) -> Iterator[Contradiction]:
    """Settings of an evaluation that does not take place, or of two at once."""
    if section.eval_every is None:
        for setting in ("eval_data", "eval_share", "patience", "keep"):
            if getattr(section, setting) is not None:
                found = f"{setting} is set, and nothing is evaluated while this stage trains"
                yield (f"{name}.{setting}",), found, f"Add {name}.eval_every, or remove {setting}."
    elif section.eval_data is not None and section.eval_share is not None:
        found = "documents to evaluate on are given, and a share of the others is to be taken too"
        yield (f"{name}.eval_share", f"{name}.eval_data"), found, "Remove one of the two."


def _missing_files(recipe: Recipe, base: Path) -> Iterator[Contradiction]:
    for setting, keys, path in paths(recipe):
        place = (".".join(map(str, keys)),)
        try:
            there = located(path, base).exists()
        except ConfigError as error:
            yield from ((place, f'"{each.where}": {each.found}', each.mend) for each in error.problems)
            continue
        if not there and not _elsewhere(setting, path):
            mend = "Paths are relative to the recipe's folder."
            if of_hub(path) and setting.rpartition(".")[2] in _ROWS:
                mend += f" Is it the Hub's? {fetching(path, base)}"
            yield place, f'"{path}" does not exist under {base}', mend


def _bad_addresses(recipe: Recipe) -> Iterator[Contradiction]:
    """Of models behind a server, before a run folder has the recipe: an address may hold a password."""
    for setting, keys, path in paths(recipe):
        if not Address.meant(path):
            continue
        place = (".".join(map(str, keys)),)
        try:
            named = Address.parse(path).model
        except ConfigError as error:
            yield from ((place, each.found, each.mend) for each in error.problems)
            continue
        if setting == "collect.model" and named is None:
            yield place, "the address names no model, and a snapshot says whose answers it holds", "Add #MODEL to it."


def _elsewhere(setting: str, name: str) -> bool:
    """Whether what is no path here may be a name of the Hub's, of a built-in model, or a server's address."""
    if setting.endswith(".judge.model"):
        return True
    if name.startswith((".", "/", "~")):
        return False
    slashes = name.partition(":")[0].count("/")
    if setting.endswith((".rankings", ".model.folder")):
        return slashes == 1
    return slashes < 2 and setting.endswith((".teacher", "collect.model"))


def _located(document: Document, keys: tuple[str, ...], found: str, mend: str) -> Problem:
    places = [document.where(key) for key in keys]
    others = "".join(f" (see also {place})" for place in places[1:])
    return Problem(places[0], f"{found}{others}", mend)
