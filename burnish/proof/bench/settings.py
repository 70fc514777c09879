"""How a peer may be set, and in which order settings are tried. Words only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TRL, TRAINER = "trl", "transformers"
"""The libraries whose trainers can be peers."""
MICRO_ROWS = 8
"""Rows of a peer's micro-batch at most: the default of TRL and transformers."""
BF16, AUTOCAST, FP32 = "bf16 weights", "bf16 autocast", "fp32"
_PACKED = ", packed"


@dataclass(frozen=True, slots=True)
class Setting:
    """One of a peer's."""

    numbers: str
    """Format of the weights and of arithmetic."""
    packed: bool = False
    """Whether the rows of a batch are laid end to end, without padding."""

    def __str__(self) -> str:
        return f"{self.numbers}{_PACKED if self.packed else ''}"

    @classmethod
    def named(cls, name: str) -> Setting:
        return cls(name.removesuffix(_PACKED), name.endswith(_PACKED))


def first_tried(library: str) -> Sequence[Setting]:
    """Number formats, without packing."""
    numbers = (BF16, AUTOCAST, FP32) if library == TRL else (BF16, AUTOCAST)
    return [Setting(each) for each in numbers]
