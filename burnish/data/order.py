"""Which rows come at which step, and every other random draw, as pure functions of a seed. Keeps no state."""

from __future__ import annotations

import hashlib

import numpy as np


def draw(*parts: object) -> int:
    """A 63-bit number that depends on every part (seed, purpose, step, row ...) and on nothing else."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rows_of_step(step: int, rows: int, per_step: int, seed: int) -> list[int]:
    """The row numbers of one step: endless shuffled passes, each row exactly once a pass, steps cut across passes."""
    chosen: list[int] = []
    for position in range(step * per_step, (step + 1) * per_step):
        epoch, offset = divmod(position, rows)
        chosen.append(int(_permutation(epoch, rows, seed)[offset]))
    return chosen


def _permutation(epoch: int, rows: int, seed: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(draw(seed, "order", epoch))).permutation(rows)
