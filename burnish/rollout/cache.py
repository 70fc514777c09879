"""Keys and values of prompts and of the answers being written, and the attention of one step over them.

A prompt's keys stand here once, however many answers are written to it: a step reads them once and multiplies them with
the queries of all of these. What an answer says itself stands in a slot of its own. Attention over the two parts is
joined by the sums of their exponentials, which is exact. All is kept and computed in fp32: on CPUs that is as fast as
bfloat16, and nearer to the truth.

Knows tensors; knows no token, sampling or model. Rows 0..A-1 are in use; who sits where is the caller's business.

Suffixes: A answers being written, P prompts, N answers of a prompt at most, K key-value heads, G query heads of each,
L positions, E head width (of values it may be another); m prompts admitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.models.attention import Rule

STEP = 64
"""Positions are reserved in multiples of this."""
POSITIONS = 65536
"""Most positions kept over all rows: every row is as long as the longest, so long sequences leave room for fewer."""
PARTS = 4
"""Prompts are attended to in so many parts, each as long as its longest prompt."""
HIDDEN = -1e30
"""Added to scores of what is not seen. Finite: a part without anything to see then has a share of 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much is written at a time."""

    answers: int
    said: int
    """Tokens of an answer at most."""
    prompts: int
    """As a rule; there may be more."""
    longest: int
    """Tokens of a prompt at most."""


def room(prompts: Sequence[Sequence[int]], slots: int, budget: int) -> Room:
    """For as many of `slots` as memory has room for, at least one; `prompts` has each once for each of its answers."""
    longest, distinct = max(map(len, prompts), default=1), len(set(map(tuple, prompts)))
    each = distinct / max(1, len(prompts))
    answers = max(1, min(slots, len(prompts), int(POSITIONS / (longest * each + budget))))
    return Room(answers=answers, said=budget, prompts=min(answers, math.ceil(answers * each) + 1), longest=longest)


class SlotCache:
    """Keys and values of each layer, [rows, K, L, E]. A layer takes its shape from the first that it is given.

    All positions are kept, also where a layer's window has left them behind.
    """

    def __init__(self, rows: int, length: int) -> None:
        self._rows = rows
        self._length = _whole(length)
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def reserve(self, rows: int) -> None:
        """Make room for so many rows; what is kept stays."""
        if rows <= self._rows:
            return
        more, self._rows = rows - self._rows, rows
        for number, (keys, values) in self._layers.items():
            self._layers[number] = F.pad(keys, (0,) * 7 + (more,)), F.pad(values, (0,) * 7 + (more,))

    def layer(self, number: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's keys and values, to read and to write; k and v [1, K, T, E] show shape and device."""
        if number not in self._layers:
            self._layers[number] = self._room(k), self._room(v)
        return self._layers[number]

    def _room(self, like: Tensor) -> Tensor:
        return like.new_zeros(self._rows, like.shape[1], self._length, like.shape[3], dtype=torch.float32)

    def fill(self, number: int, first: int, path_mL: Tensor, k: Tensor, v: Tensor) -> None:
        """Rows `first`, `first` + 1 ... take the flat tokens that their paths name, from position 0 on."""
        rows, length = slice(first, first + len(path_mL)), path_mL.shape[1]
        for kept, new in zip(self.layer(number, k, v), (k, v), strict=True):
            kept[rows, :, :length] = new[0][:, path_mL].transpose(0, 1).float()

    def move(self, sources: Sequence[int], holes: Sequence[int]) -> None:
        """Each hole takes what its source holds. No row may be both."""
        if holes:
            for keys, values in self._layers.values():
                keys[holes], values[holes] = keys[sources], values[sources]


@dataclass(frozen=True, slots=True)
class _Part:
    """Some prompts, and the answers to them."""

    prompts: slice
    length: int
    """Of the longest of these prompts."""
    lengths_P: Tensor
    answers_PN: Tensor
    """Rows of the answers to each prompt; where one has fewer, some other's, whose result nobody takes."""


class StepAttention:
    """Attention of one new token an answer: its key and value are written, and it sees its prompt and its answer."""

    def __init__(
        self,
        prompts: SlotCache,
        answers: SlotCache,
        *,
        prompt_of: Sequence[int],
        sizes: Sequence[int],
        said: Sequence[int],
        device: Any,
    ) -> None:
        """Args: prompt_of, the prompt's row of each answer; sizes, the tokens of each prompt; said, how many tokens of
        each answer are kept before this one."""
        self._prompts, self._answers = prompts, answers
        self._device = device
        self._end = max(said) + 1
        self._row_A = torch.arange(len(said), device=device)
        self._said_A = torch.tensor(said, device=device)
        self._parts, place = _parts(prompt_of, sizes, device)
        self._place_A = torch.tensor(place, device=device)
        self._masks: dict[int | None, tuple[list[Tensor], Tensor]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        count, heads, width = q.shape[2], q.shape[1], v.shape[3]
        keys, values = self._answers.layer(layer, k, v)
        keys[self._row_A, :, self._said_A] = k[0].transpose(0, 1).float()
        values[self._row_A, :, self._said_A] = v[0].transpose(0, 1).float()
        q_AKGE = (q[0].transpose(0, 1).float() * rule.scale).view(count, k.shape[1], -1, q.shape[3])
        shared, own_A11L = self._of(rule.window)
        own = partial(q_AKGE, keys[:count, :, : self._end], values[:count, :, : self._end], rule, own_A11L)
        out_AKGE, weight_AKG1 = joined(own, self._of_prompts(layer, q_AKGE, k, v, rule, shared))
        if rule.sinks_H is not None:  # as a part that holds nothing but zeros
            sink_KG1 = rule.sinks_H.float().view(k.shape[1], -1, 1)
            out_AKGE = out_AKGE * (weight_AKG1 - sink_KG1).sigmoid()
        return out_AKGE.reshape(1, count, heads, width).to(q.dtype)

    def _of_prompts(
        self, layer: int, q_AKGE: Tensor, k: Tensor, v: Tensor, rule: Rule, masks: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The queries of all answers to a prompt stand side by side, as rows of one product."""
        keys, values = self._prompts.layer(layer, k, v)
        outs, weights = list[Tensor](), list[Tensor]()
        for part, mask in zip(self._parts, masks, strict=True):
            q_PKNGE = q_AKGE[part.answers_PN].transpose(1, 2)
            size = q_PKNGE.shape[:4]
            seen_K, seen_V = keys[part.prompts, :, : part.length], values[part.prompts, :, : part.length]
            out, weight = partial(q_PKNGE.flatten(2, 3), seen_K, seen_V, rule, mask)
            outs.append(out.view(*size, -1).transpose(1, 2).flatten(0, 1))
            weights.append(weight.view(*size, 1).transpose(1, 2).flatten(0, 1))
        return torch.cat(outs)[self._place_A], torch.cat(weights)[self._place_A]

    def _of(self, window: int | None) -> tuple[list[Tensor], Tensor]:
        """What is hidden of each part's prompts and of each answer, to add to scores; made once for all layers."""
        if window not in self._masks:
            shared = [self._prompt_mask(part, window) for part in self._parts]
            position_L = torch.arange(self._end, device=self._device)
            seen_AL = position_L <= self._said_A[:, None]
            if window is not None:
                seen_AL &= position_L > self._said_A[:, None] - window
            self._masks[window] = shared, _hiding(seen_AL)[:, None, None]
        return self._masks[window]

    def _prompt_mask(self, part: _Part, window: int | None) -> Tensor:
        """Shape P, 1, 1, L; with a window, where answers of a prompt see different parts of it, P, 1, N G, L of G 1."""
        position_L = torch.arange(part.length, device=self._device)
        seen_PNL = (position_L < part.lengths_P[:, None])[:, None]
        if window is None:
            return _hiding(seen_PNL)[:, None]
        end_PN = part.lengths_P[:, None] + self._said_A[part.answers_PN]
        return _hiding(seen_PNL & (position_L > end_PN[..., None] - window))[:, None]


def partial(q: Tensor, k: Tensor, v: Tensor, rule: Rule, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over some of the keys, and the logarithm of the sum of their exponentials: by it parts are joined.

    Args: q [..., Q, E], scaled; k and v [..., L, E]; mask [..., Q' , L] is added, where Q' divides Q.
    Returns: [..., Q, E] with the width of v, and [..., Q, 1].
    """
    scores_QL = q @ k.transpose(-1, -2)
    if rule.softcap is not None:
        scores_QL = rule.softcap * (scores_QL / rule.softcap).tanh()
    rows = mask.shape[-2]
    scores_QL.unflatten(-2, (rows, -1)).add_(mask[..., None, :])
    return scores_QL.softmax(-1) @ v, scores_QL.logsumexp(-1, keepdim=True)


def joined(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Attention over the keys of both parts: each has the share that its exponentials have in the sum of all."""
    share = (one[1] - other[1]).sigmoid()
    return torch.lerp(other[0], one[0], share), torch.logaddexp(one[1], other[1])


def _parts(prompt_of: Sequence[int], sizes: Sequence[int], device: Any) -> tuple[list[_Part], list[int]]:
    """The parts, and where each answer's result stands among theirs."""
    answers: list[list[int]] = [[] for _ in sizes]
    for answer, prompt in enumerate(prompt_of):
        answers[prompt].append(answer)
    place = [0] * len(prompt_of)
    parts: list[_Part] = []
    rows, before = -(-len(sizes) // PARTS), 0
    for start in range(0, len(sizes), rows):
        group = answers[start : start + rows]
        most = max(map(len, group))
        for number, row in enumerate(group):
            for rank, answer in enumerate(row):
                place[answer] = before + number * most + rank
        before += len(group) * most
        lengths = sizes[start : start + rows]
        parts.append(
            _Part(
                slice(start, start + len(group)),
                max(lengths),
                torch.tensor(lengths, device=device),
                torch.tensor([[*row, *[0] * (most - len(row))] for row in group], device=device),
            )
        )
    return parts, place


def _whole(length: int) -> int:
    return -(-length // STEP) * STEP


def _hiding(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, HIDDEN)
