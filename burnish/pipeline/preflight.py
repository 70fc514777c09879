"""Every data file of a recipe read before anything is written or trained. Loads no model, fetches nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, DataError, Problem
from burnish.judge.rubric import Rubric
from burnish.pipeline.columns import ranked_rows
from burnish.pipeline.recipe import Evaluate, Ranked, Recipe
from burnish.pipeline.recipe_file import paths
from burnish.pipeline.reinforcement import OnPolicy
from burnish.pipeline.reward_terms import check_file, require_packages, unfit
from burnish.pipeline.trackers import require_trackers
from burnish.records.files import located
from burnish.records.formats import holds_rankings, read_examples, read_labelled, read_prompts, read_rankings
from burnish.records.texts import holds_texts, read_texts
from burnish.types import Prompt

MEMBER = "member-"
"""What the folders of an ensemble's second model and of those after it are called."""


def check_files(recipe: Recipe, base: Path, sections: Collection[str]) -> dict[str, int]:
    """Rows of every file that the sections name, by path as written. Raises DataError with all their problems,
    MachineError where a package is not installed."""
    require_trackers(recipe.track)
    counts: dict[str, int] = {}
    problems: list[Problem] = []
    seen: set[tuple[str, Callable[[Path], Any]]] = set()
    for setting, keys, written in paths(recipe):
        path, reader = located(written, base), _READERS.get(setting)
        if reader and keys[0] in sections and (written, reader) not in seen and path.exists():
            seen.add((written, reader))
            try:
                counts[written] = reader(path)
            except (DataError, ConfigError) as error:
                problems += error.problems
    for name, section in (*recipe.on_policy().items(), ("evaluate", recipe.evaluate)):
        if section and name in sections:
            if isinstance(section, OnPolicy) and section.vllm:
                section.vllm.require(name)
            problems += _answered(section, base, counts)
    problems = problems or _columns(recipe, base, sections)
    if problems:
        raise DataError(*dict.fromkeys(problems))  # two sections may name the same file
    return counts


def _columns(recipe: Recipe, base: Path, sections: Collection[str]) -> list[Problem]:
    """What a section asks of the columns of its rankings, and no row has."""
    for name in sections:
        ranked = getattr(recipe, name)
        if not isinstance(ranked, Ranked) or not ranked.rankings or not (ranked.where or ranked.strength_column):
            continue
        if (path := located(ranked.rankings, base)).exists():
            try:
                ranked_rows(path, ranked)
            except DataError as error:
                return list(error.problems)
    return []


def _conversations(path: Path) -> int:
    return _rankings(path) if holds_rankings(path) else len(read_examples(path))


def _examples(path: Path) -> int:
    return len(read_examples(path))


def _beside(path: Path) -> int:
    return len(read_texts(path)) if holds_texts(path) else _examples(path)


def _texts(path: Path) -> int:
    return len(read_texts(path))


def _rankings(path: Path) -> int:
    rows, dropped = read_rankings(path, drop_bad=True)
    if not rows:
        raise DataError(*dropped)
    return len(rows)


def _labelled(path: Path) -> int:
    return len(read_labelled(path))


def _prompts(path: Path) -> int:
    return len(read_prompts(path))


def _ensemble(path: Path) -> int:
    members = [path, *path.glob(f"{MEMBER}*")]
    if len(members) == 1:
        found = "no reward model of several members lies here, and one alone has nobody to disagree with"
        raise ConfigError(Problem(str(path), found, "Name the folder reward/model of a run with reward.members: 3."))
    return len(members)


def _answered(section: OnPolicy | Evaluate, base: Path, counts: dict[str, int]) -> Sequence[Problem]:
    """Problems of what is answered and of what answers are paid by; the prompts are counted.

    Without a file of prompts, those of rankings are held against the rewards when the stage begins.
    """
    terms = section.rewards or ()
    require_packages(terms)
    files = section.cases if isinstance(section, Evaluate) else [section.prompts] if section.prompts else []
    prompts: list[Prompt] = []
    try:
        for term in terms:
            check_file(term, base)
        for written in files:
            rows = read_prompts(located(written, base), section.prompt_column)
            counts[written] = len(rows)
            prompts += rows
    except (DataError, ConfigError) as error:
        return error.problems
    return unfit(terms, base, prompts)


def _rubric(path: Path) -> int:
    return len(Rubric.load(path).shop.facts)


_READERS: dict[str, Callable[[Path], Any]] = {
    "sft.data": _conversations,
    "sft.eval_data": _conversations,
    "collect.prompts": _prompts,
    "collect.rubric": _rubric,
    "collect.disputed_by": _ensemble,
    "reward.rankings": _rankings,
    "reward.eval_data": _rankings,
    "dpo.rankings": _rankings,
    "dpo.eval_data": _rankings,
    "kto.data": _labelled,
    "kto.eval_data": _labelled,
    "distill.data": _examples,
    "distill.ptx_data": _beside,
    "rft.ptx_data": _beside,
    "online_dpo.ptx_data": _beside,
    "ppo.ptx_data": _beside,
    "grpo.ptx_data": _beside,
    "evaluate.texts": _texts,
    "evaluate.rubric": _rubric,
}
