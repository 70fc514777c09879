"""Which rows come at which step, and every other random draw, as pure functions of a seed. Keeps no state."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache

import numpy as np

from burnish.errors import DataError, Problem


def draw(*parts: object) -> int:
    """A 63-bit number that depends on every part (seed, purpose, step, row ...) and on nothing else."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeds_of(seed: int, asked: Iterable[Hashable]) -> list[int]:
    """A seed for each prompt of all that are asked: `seed`, and another wherever the same prompt stood there before."""
    before: Counter[Hashable] = Counter()
    found: list[int] = []
    for each in asked:
        found.append(draw(seed, "again", before[each]) if before[each] else seed)
        before[each] += 1
    return found


def rows_of_step(step: int, rows: int, per_step: int, seed: int) -> list[int]:
    """The row numbers of one step: endless shuffled passes, each row exactly once a pass, steps cut across passes."""
    chosen: list[int] = []
    for position in range(step * per_step, (step + 1) * per_step):
        epoch, offset = divmod(position, rows)
        chosen.append(int(_permutation(epoch, rows, seed)[offset]))
    return chosen


def set_apart(keys: Sequence[str], share: float, seed: int) -> list[bool]:
    """For each row whether it is held out: about `share` of the different keys, two at least. Rows of a key stay
    together, wherever they stand.

    Raises DataError where fewer than two keys would be left.
    """
    distinct = sorted(set(keys), key=lambda key: draw(seed, "apart", key))
    count = max(2, round(share * len(distinct)))
    if len(distinct) - count < 2:
        found = f"{count} of {len(distinct)} different prompts would be held out, and too few are left to learn from"
        raise DataError(Problem("eval_share", found, "Give more rows, or eval_data."))
    chosen = set(distinct[:count])
    return [key in chosen for key in keys]


def resampled(keys: Sequence[str], seed: int) -> list[int]:
    """Row numbers of a bootstrap sample: as many keys as there are different ones, drawn with replacement, each with
    all of its rows."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    distinct = list(rows)
    drawn = (draw(seed, "resampled", place) % len(distinct) for place in range(len(distinct)))
    return [row for number in drawn for row in rows[distinct[number]]]


@lru_cache(maxsize=4)  # a step asks for a place at a time, and a pass has many steps
def _permutation(epoch: int, rows: int, seed: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(draw(seed, "order", epoch))).permutation(rows)
