"""What a stage is given, for tests that call a part of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.pipeline.recipe import Recipe
from burnish.pipeline.stage import Context
from burnish.types import Silent


def context_of(recipe: Recipe, place: Path, **other: Any) -> Context:
    """All in one folder, but for what is said to be elsewhere."""
    plain = Context(
        recipe=recipe,
        key="k" * 64,
        run=place,
        folder=place,
        inputs={},
        base=place,
        store=place / "preferences.db",
        progress=Silent(),
    )
    return replace(plain, **other)
