"""Rankings of a file, as far as a recipe asks for them by their columns. Knows rows and their columns, no split.

What lacks a strength is left out as an unfit row is, and counted with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import DataError, Problem, nearest, plain
from burnish.pipeline.recipe import Ranked
from burnish.records.formats import read_rankings
from burnish.types import Ranking

_SHOWN = 8
"""Values of a column that an error names."""


def ranked_rows(path: Path, ranked: Ranked) -> tuple[list[Ranking], list[Problem]]:
    """The rows of a file that a section takes, and the unfit ones. Raises DataError where it would take none."""
    rows, dropped = read_rankings(path, drop_bad=True, strength=ranked.strength_column)
    if not rows:
        raise DataError(*dropped)
    for column, wanted in (ranked.where or {}).items():
        rows = _chosen(rows, column, wanted if isinstance(wanted, tuple) else (wanted,), path)
    return rows, dropped


def _chosen(rows: Sequence[Ranking], column: str, values: Sequence[Any], path: Path) -> list[Ranking]:
    wanted = {_told(value) for value in values}
    kept = [row for row in rows if column in row.prompt.meta and _told(row.prompt.meta[column]) in wanted]
    if not kept:
        raise DataError(_nothing(column, [row.prompt.meta for row in rows], path))
    return kept


def _nothing(column: str, metas: Sequence[Mapping[str, Any]], path: Path) -> Problem:
    found = sorted({plain(_told(meta[column]), 40) for meta in metas if column in meta})
    if not found:
        columns = sorted({plain(name) for meta in metas for name in meta})
        mend = nearest(column, columns) if columns else "Remove it: the rows have no column beside the ranking."
        return Problem(f"{path}", f'no row has a column "{column}"', mend)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    said = f'no row has one of the values that where names for "{column}" (there are {", ".join(found[:_SHOWN])}{more})'
    return Problem(f"{path}", said, "Name one of them.")


def _told(value: Any) -> str:
    """A value as JSON names it: true is not 1."""
    return str(value).lower() if isinstance(value, bool) else str(value)
