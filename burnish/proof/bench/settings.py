"""How a peer may be set, and in which order settings are tried. Words only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

TRL, TRAINER, GENERATE, LLAMA, VLLM = "trl", "transformers", "generate", "llama", "vllm"
"""What can be compared with: TRL's trainers, transformers' own, its `generate`, llama.cpp and vLLM."""
MICRO_ROWS = 8
"""Rows of a peer's micro-batch at most: the default of TRL and transformers."""
BF16, AUTOCAST, FP32 = "bf16 weights", "bf16 autocast", "fp32"
_NAME = re.compile(r"(?P<numbers>.+?)(?P<packed>, packed)?(, (?P<batch>\d+) at once)?")


@dataclass(frozen=True, slots=True)
class Setting:
    """One of a peer's."""

    numbers: str
    """Format of the weights and of arithmetic."""
    packed: bool = False
    """Whether the rows of a batch are laid end to end, without padding."""
    batch: int = 0
    """Of a sampler: answers written at once."""

    def __str__(self) -> str:
        return f"{self.numbers}{', packed' if self.packed else ''}{f', {self.batch} at once' if self.batch else ''}"

    @classmethod
    def named(cls, name: str) -> Setting:
        found = _NAME.fullmatch(name)
        assert found is not None, name
        return cls(found["numbers"], bool(found["packed"]), int(found["batch"] or 0))


def first_tried() -> Sequence[Setting]:
    """Number formats, without packing. That of every processor first: what it takes says how long the others may."""
    return [Setting(each) for each in (FP32, BF16, AUTOCAST)]
