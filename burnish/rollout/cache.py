"""Keys and values of the sequences being written, one slot a sequence, and the attention of one step over them.

Knows tensors; knows no token, sampling or model. Slots 0..A-1 are in use; who sits where is the caller's business.

Suffixes: A slots in use, K key-value heads, G query heads of each, L positions, E head width (of values it may be
another); m sequences admitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.models.attention import Rule, attention, hiding

STEP = 64
"""Positions are reserved in multiples of this."""
POSITIONS = 65536
"""Most positions kept over all slots: every slot is as long as the longest, so long sequences leave room for fewer."""


def fitting(slots: int, length: int) -> int:
    """How many of `slots` there may be when a sequence may become `length` tokens long; at least one."""
    return max(1, min(slots, POSITIONS // length))


class SlotCache:
    """Keys and values of each layer, [slots, K, L, E]. A layer takes its shape from the first that it is given.

    All positions are kept, also where a layer's window has left them behind.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._length = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def reserve(self, length: int) -> None:
        """Make room for sequences of `length` tokens; what is kept stays."""
        if length <= self._length:
            return
        more = -(-length // STEP) * STEP - self._length
        self._length += more
        for number, (keys, values) in self._layers.items():
            self._layers[number] = F.pad(keys, (0, 0, 0, more)), F.pad(values, (0, 0, 0, more))

    def layer(self, number: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's keys and values, to read and to write; k and v [1, K, T, E] show shape, type and device."""
        if number not in self._layers:
            self._layers[number] = self._room(k), self._room(v)
        return self._layers[number]

    def _room(self, like: Tensor) -> Tensor:
        return like.new_zeros(self.slots, like.shape[1], self._length, like.shape[3])

    def fill(self, number: int, first: int, path_mL: Tensor, k: Tensor, v: Tensor) -> None:
        """Slots `first`, `first` + 1 ... take the flat tokens that their paths name, from position 0 on."""
        rows, length = slice(first, first + len(path_mL)), path_mL.shape[1]
        for kept, new in zip(self.layer(number, k, v), (k, v), strict=True):
            kept[rows, :, :length] = new[0][:, path_mL].transpose(0, 1)

    def move(self, sources: Sequence[int], holes: Sequence[int]) -> None:
        """Each hole takes what its source holds. No slot may be both."""
        if holes:
            for keys, values in self._layers.values():
                keys[holes], values[holes] = keys[sources], values[sources]


class StepAttention:
    """Attention of one new token a slot: its key and value are written, and it sees its own slot up to itself."""

    def __init__(self, cache: SlotCache, lengths: Sequence[int], device: Any, dtype: torch.dtype) -> None:
        self._cache = cache
        self._end = max(lengths) + 1
        self._slot_A = torch.arange(len(lengths), device=device)
        self._length_A = torch.tensor(lengths, device=device)
        self._dtype = dtype
        self._masks: dict[int | None, Tensor] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        keys, values = self._cache.layer(layer, k, v)
        keys[self._slot_A, :, self._length_A] = k[0].transpose(0, 1)
        values[self._slot_A, :, self._length_A] = v[0].transpose(0, 1)
        count, heads, width = q.shape[2], q.shape[1], q.shape[3]
        # The query heads of one key head stand in the place of query positions: no key is copied for them.
        q_AKGE = q[0].transpose(0, 1).reshape(count, k.shape[1], -1, width)
        seen_K, seen_V = keys[:count, :, : self._end], values[:count, :, : self._end]
        sinks = rule.sinks(1, k.shape[1], -1, 1)
        out_AKGE = attention(q_AKGE, seen_K, seen_V, rule, self._mask(rule.window)[:, None, None], sinks)
        return out_AKGE.reshape(1, count, heads, v.shape[3])

    def _mask(self, window: int | None) -> Tensor:
        """What a slot's new token sees, as 0 and minus infinity to add. Shape A, L."""
        if window not in self._masks:
            position_L = torch.arange(self._end, device=self._length_A.device)
            seen_AL = position_L <= self._length_A[:, None]
            if window is not None:
                seen_AL &= position_L > self._length_A[:, None] - window
            self._masks[window] = hiding(seen_AL, self._dtype)
        return self._masks[window]
