"""Which settings of a recipe name files, and where they stand in it. Knows names; reads no file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from burnish.config import Keys

_FILES_OF_REWARDS = ("model.folder", "judge.model", "json_schema.file", "rubric.file", "python.file")
OF_REWARDS = tuple(f"rewards.*.{name}" for name in _FILES_OF_REWARDS)
"""The settings of a list of rewards that name files, as those of `PATHS`."""
PATHS = {
    "sft": ("data", "eval_data"),
    "collect": ("prompts", "model", "rubric", "disputed_by"),
    "reward": ("rankings", "eval_data"),
    "dpo": ("rankings", "eval_data"),
    "kto": ("data", "eval_data"),
    "distill": ("prompts", "ptx_data", *OF_REWARDS, "teacher", "data"),
    **dict.fromkeys(("rft", "online_dpo", "ppo", "grpo"), ("prompts", "ptx_data", *OF_REWARDS)),
    "evaluate": ("cases", "rubric", "texts", *OF_REWARDS),
}
"""The settings of each section that name files ("*" is every item of a list): a stage's key holds the files' digests
instead of their names."""


def places(values: Any, name: str) -> Iterator[tuple[Keys, Any]]:
    """Where a setting of `PATHS` stands in a section's values: its keys and what it says, each that is not null."""
    found: list[tuple[Keys, Any]] = [((), values)]
    for part in name.split("."):
        found = [((*keys, key), each) for keys, value in found for key, each in _inside(value, part)]
    yield from found


def put(values: Any, keys: Keys, new: Any) -> None:
    """Say something else at a place that is there."""
    for key in keys[:-1]:
        values = values[key]
    values[keys[-1]] = new


def _inside(value: Any, part: str) -> list[tuple[str | int, Any]]:
    members = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    return [(key, each) for key, each in members if part in ("*", key) and each is not None]
