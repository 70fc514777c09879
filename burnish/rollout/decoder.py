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
from burnish.models.attention import Attend, Rule
from burnish.models.forward import Layout, Trainable
from burnish.models.memory import free_bytes
from burnish.rollout.cache import POSITIONS, SAID, STEP, Place, Shelf, SlotCache, StepAttention, kept, whole
from burnish.rollout.prefill import PrefillAttention, lay


class Decoder(Protocol):
    """A row for each sequence being written."""

    tokens: int
    """Tokens that went through the backbone so far."""

    def admit(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """New rows at the end; the hidden states of their prompts' last tokens."""
        ...

    def step(self, ids: Sequence[int]) -> Tensor:
        """Every row goes on by one token; the hidden states of those."""
        ...

    def keep(self, order: Sequence[int]) -> None:
        """Only these rows remain, in this order (see `remaining`)."""
        ...


def decoder(module: Trainable) -> Decoder:
    """The decoder that is right for the module's architecture."""
    return Cached(module) if module.layout is Layout.TREE else Recomputed(module)


def positions(module: Trainable) -> int:
    """How many positions' keys and values are kept at most, over all rows. On a GPU as many as half of its free memory
    has room for, down to a power of two, so that a second run keeps as many; else `POSITIONS`."""
    free = free_bytes(module.device)
    if free is None or module.layout is not Layout.TREE:
        return POSITIONS
    weighed = _Weighed()
    token = torch.zeros(1, 1, dtype=torch.int64, device=module.device)
    module.backbone(input_ids=token, position_ids=token, attend=weighed, use_cache=False)
    return 1 << max(1, free // 2 // weighed.bytes).bit_length() - 1


class _Weighed:
    """Attention of a single token, which sees itself: how many bytes its keys and values are, over all layers."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        self.bytes += (k.numel() + v.numel()) * kept(k.dtype).itemsize
        return v.repeat_interleave(q.shape[1] // v.shape[1], dim=1).transpose(1, 2)


def remaining(ended: Sequence[bool]) -> list[int]:
    """Which row sits where when the ended ones have gone: the last that remain move into the holes before them."""
    left = len(ended) - sum(ended)
    movers = (row for row in range(left, len(ended)) if not ended[row])
    return [next(movers) if ended[row] else row for row in range(left)]


class Cached:
    """Each token passes the backbone once; keys and values are kept, those of a prompt once for all its answers."""

    def __init__(self, module: Trainable) -> None:
        self.tokens = 0
        self._backbone = module.backbone
        self._device = next(module.backbone.parameters()).device
        self._prompts: dict[int, Shelf] = {}
        self._answers = SlotCache(0, SAID)
        self._prompt_of: list[Place] = []
        """Of each answer."""
        self._said: list[int] = []
        """Tokens of each answer that are kept."""

    def admit(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        distinct = list(dict.fromkeys(map(tuple, prompts)))
        wave = lay(distinct)
        places = [self._place(len(prompt)) for prompt in distinct]
        attend = PrefillAttention(wave, [(self._prompts[size].cache, row) for size, row in places], self._device)
        hidden_TC = self._run(wave.ids, wave.positions, attend)
        number = {prompt: place for place, prompt in enumerate(distinct)}
        asked = [number[tuple(prompt)] for prompt in prompts]
        self._prompt_of += [places[each] for each in asked]
        self._said += [0] * len(prompts)
        self._answers.reserve(len(self._said), SAID)  # one may end, and its row be taken, before there is a step
        return hidden_TC[[wave.last[each] for each in asked]]

    def _place(self, tokens: int) -> Place:
        """A new row for a prompt of so many tokens."""
        size = whole(tokens, STEP)
        shelf = self._prompts.setdefault(size, Shelf(SlotCache(0, size)))
        shelf.sizes.append(tokens)
        shelf.cache.reserve(len(shelf.sizes), size)
        return size, len(shelf.sizes) - 1

    def step(self, ids: Sequence[int]) -> Tensor:
        positions = [
            self._prompts[size].sizes[row] + said for (size, row), said in zip(self._prompt_of, self._said, strict=True)
        ]
        self._answers.reserve(len(ids), whole(max(self._said) + 1, SAID))
        attend = StepAttention(
            self._prompts, self._answers, prompt_of=self._prompt_of, said=self._said, device=self._device
        )
        self._said = [said + 1 for said in self._said]
        return self._run(ids, positions, attend)

    def keep(self, order: Sequence[int]) -> None:
        _move(self._answers, order)
        self._said = [self._said[row] for row in order]
        self._prompt_of = [self._prompt_of[row] for row in order]
        wanted, moved = set(self._prompt_of), dict[Place, Place]()
        for size, shelf in list(self._prompts.items()):
            left = remaining([(size, row) not in wanted for row in range(len(shelf.sizes))])
            _move(shelf.cache, left)
            shelf.sizes = [shelf.sizes[row] for row in left]
            moved |= {(size, source): (size, row) for row, source in enumerate(left)}
            if not left:
                del self._prompts[size]
        self._prompt_of = [moved[place] for place in self._prompt_of]

    def _run(self, ids: Sequence[int], positions: Sequence[int], attend: Attend) -> Tensor:
        self.tokens += len(ids)
        output: Any = self._backbone(
            input_ids=torch.tensor([ids], device=self._device),
            position_ids=torch.tensor([positions], device=self._device),
            attend=attend,
            use_cache=False,
        )
        return output.last_hidden_state[0]


def _move(cache: SlotCache, order: Sequence[int]) -> None:
    moves = [(source, hole) for hole, source in enumerate(order) if source != hole]
    cache.move([source for source, _ in moves], [hole for _, hole in moves])


class Recomputed:
    """Each step passes each whole sequence through the module anew: slow, and right for any decoder."""

    def __init__(self, module: Trainable) -> None:
        self.tokens = 0
        self._module = module
        self._rows: list[list[int]] = []

    def admit(self, prompts: Sequence[Sequence[int]]) -> Tensor:
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
        batches = (pack([Document(row="", ids=row)]) for row in rows)
        return torch.stack([self._module.hidden(batch)[-1] for batch in batches])
