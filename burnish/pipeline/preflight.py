"""Every data file of a recipe read before anything is written or trained. Loads no model, fetches nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, DataError, Problem
from burnish.judge.rubric import Rubric
from burnish.pipeline.recipe import Recipe, resolve
from burnish.pipeline.recipe_file import paths
from burnish.records.formats import holds_rankings, read_examples, read_labelled, read_prompts, read_rankings
from burnish.records.texts import holds_texts, read_texts


def check_files(recipe: Recipe, base: Path, sections: Collection[str]) -> dict[str, int]:
    """Rows of every file that the sections name, by path as written. Raises DataError with all their problems."""
    counts: dict[str, int] = {}
    problems: list[Problem] = []
    seen: set[tuple[str, Callable[[Path], Any]]] = set()
    for section, name, written in paths(recipe):
        path = resolve(written, base)
        reader = _READERS[f"{section}.{name}"]
        if section in sections and (written, reader) not in seen and path.exists():
            seen.add((written, reader))
            try:
                counts[written] = reader(path)
            except (DataError, ConfigError) as error:
                problems += error.problems
    if problems:
        raise DataError(*problems)
    return counts


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


def _rubric(path: Path) -> int:
    return len(Rubric.load(path).shop.facts)


_READERS: dict[str, Callable[[Path], Any]] = {
    "sft.data": _conversations,
    "sft.eval_data": _conversations,
    "collect.prompts": _prompts,
    "collect.rubric": _rubric,
    "reward.rankings": _rankings,
    "reward.eval_data": _rankings,
    "dpo.rankings": _rankings,
    "dpo.eval_data": _rankings,
    "kto.data": _labelled,
    "kto.eval_data": _labelled,
    "ppo.prompts": _prompts,
    "ppo.ptx_data": _beside,
    "grpo.prompts": _prompts,
    "grpo.ptx_data": _beside,
    "evaluate.cases": _prompts,
    "evaluate.texts": _texts,
    "evaluate.rubric": _rubric,
}
