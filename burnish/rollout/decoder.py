"""Hidden states of the next token for the sequences being written: the two ways to get them.

Knows the trainable's backbone and who sits in which slot; knows nothing of sampling.

Suffixes: A sequences, C hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from burnish.batches import Document, pack
from burnish.models.attention import Attend
from burnish.models.forward import Layout, Trainable
from burnish.rollout.cache import SlotCache, StepAttention
from burnish.rollout.prefill import PrefillAttention, lay


class Decoder(Protocol):
    """A row for each sequence being written."""

    tokens: int
    """Tokens that went through the backbone so far."""

    def admit(self, prompts: Sequence[Sequence[int]], budget: int) -> Tensor:
        """New rows at the end; the hidden states of their prompts' last tokens. Each may grow by `budget` tokens."""
        ...

    def step(self, ids: Sequence[int]) -> Tensor:
        """Every row goes on by one token; the hidden states of those."""
        ...

    def keep(self, order: Sequence[int]) -> None:
        """Only these rows remain, in this order (see `remaining`)."""
        ...


def decoder(module: Trainable, slots: int) -> Decoder:
    """The decoder that is right for the module's architecture."""
    return Cached(module, slots) if module.layout is Layout.TREE else Recomputed(module)


def remaining(ended: Sequence[bool]) -> list[int]:
    """Which row sits where when the ended ones have gone: the last that remain move into the holes before them."""
    left = len(ended) - sum(ended)
    movers = (row for row in range(left, len(ended)) if not ended[row])
    return [next(movers) if ended[row] else row for row in range(left)]


class Cached:
    """Each token passes the backbone once; keys and values are kept in slots."""

    def __init__(self, module: Trainable, slots: int) -> None:
        self.tokens = 0
        self._backbone = module.backbone
        parameter = next(module.backbone.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._cache = SlotCache(slots)
        self._lengths: list[int] = []

    def admit(self, prompts: Sequence[Sequence[int]], budget: int) -> Tensor:
        wave = lay(prompts)
        self._cache.reserve(max(map(len, prompts)) + budget)
        attend = PrefillAttention(wave, self._cache, len(self._lengths), self._device, self._dtype)
        self._lengths += map(len, prompts)
        return self._run(wave.ids, wave.positions, attend)[wave.last]

    def step(self, ids: Sequence[int]) -> Tensor:
        positions = self._lengths
        self._lengths = [length + 1 for length in positions]
        return self._run(ids, positions, StepAttention(self._cache, positions, self._device, self._dtype))

    def keep(self, order: Sequence[int]) -> None:
        moves = [(source, hole) for hole, source in enumerate(order) if source != hole]
        self._cache.move([source for source, _ in moves], [hole for _, hole in moves])
        self._lengths = [self._lengths[row] for row in order]

    def _run(self, ids: Sequence[int], positions: Sequence[int], attend: Attend) -> Tensor:
        self.tokens += len(ids)
        output: Any = self._backbone(
            input_ids=torch.tensor([ids], device=self._device),
            position_ids=torch.tensor([positions], device=self._device),
            attend=attend,
            use_cache=False,
        )
        return output.last_hidden_state[0]


class Recomputed:
    """Each step passes each whole sequence through the module anew: slow, and right for any decoder."""

    def __init__(self, module: Trainable) -> None:
        self.tokens = 0
        self._module = module
        self._device = next(module.backbone.parameters()).device
        self._rows: list[list[int]] = []

    def admit(self, prompts: Sequence[Sequence[int]], budget: int) -> Tensor:
        rows = [list(prompt) for prompt in prompts]
        self._rows += rows
        return self._last(rows)

    def step(self, ids: Sequence[int]) -> Tensor:
        for row, token in zip(self._rows, ids, strict=True):
            row.append(token)
        return self._last(self._rows)

    def keep(self, order: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in order]

    def _last(self, rows: Sequence[list[int]]) -> Tensor:
        self.tokens += sum(map(len, rows))
        batches = (pack([Document(row="", ids=row)]).to(self._device) for row in rows)
        return torch.stack([self._module.hidden(batch)[-1] for batch in batches])
