"""Keys and values of prompts and of the answers being written, and the attention of one step over them.

A prompt's keys stand here once, however many answers are written to it: a step reads them once and multiplies them with
the queries of all of these. What an answer says itself stands in a slot of its own. Attention over the two parts is
joined by the sums of their exponentials, which is exact. Keys and values are kept as the model gives them, bfloat16 or
fp32, and multiplied in that format; sums of exponentials are fp32. What is multiplied lies in memory without gaps: to
step over unused positions takes a CPU three times as long as to read what is used.

Knows tensors; knows no token, sampling or model. Rows 0..A-1 are in use; who sits where is the caller's business.

Suffixes: A answers being written, P prompts, N answers of a prompt at most, K key-value heads, G query heads of each,
L positions, E head width (of values it may be another); m prompts admitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.models.attention import Rule

STEP = 64
"""A prompt's positions are reserved in multiples of this, and prompts of one size are attended to together."""
SAID = 16
"""An answer's positions are, and all answers have as many."""
POSITIONS = 65536
"""Most positions kept over all rows, where nobody says: as if each were as long as the longest, so long sequences leave
room for fewer."""
HIDDEN = -1e30
"""Added to scores of what is not seen. Finite: a part without anything to see then has a share of 0."""


def room(prompts: Sequence[Sequence[int]], slots: int, budget: int, positions: int = POSITIONS) -> int:
    """As many of `slots` as so many positions have room for, at least one. `prompts` has each once for each of its
    answers."""
    longest, distinct = max(map(len, prompts), default=1), len(set(map(tuple, prompts)))
    each = distinct / max(1, len(prompts))
    return max(1, min(slots, len(prompts), int(positions / (longest * each + budget))))


class SlotCache:
    """Keys and values of each layer, [rows, K, L, E]. A layer takes its shape from the first that it is given.

    All positions are kept, also where a layer's window has left them behind.
    """

    def __init__(self, rows: int, length: int) -> None:
        self.length = length
        self._rows = rows
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def reserve(self, rows: int, length: int) -> None:
        """Make room for so many rows of so many positions; what is kept stays."""
        more, longer = max(0, rows - self._rows), max(0, length - self.length)
        self._rows += more
        self.length += longer
        if more or longer:
            for number, (keys, values) in self._layers.items():
                grown = (0, 0, 0, longer, 0, 0, 0, more)
                self._layers[number] = F.pad(keys, grown), F.pad(values, grown)

    def layer(self, number: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's keys and values, to read and to write; k and v [1, K, T, E] show shape, format and device."""
        if number not in self._layers:
            self._layers[number] = self._room(k), self._room(v)
        return self._layers[number]

    def _room(self, like: Tensor) -> Tensor:
        return like.new_zeros(self._rows, like.shape[1], self.length, like.shape[3], dtype=kept(like.dtype))

    def fill(self, number: int, first: int, path_mL: Tensor, k: Tensor, v: Tensor) -> None:
        """Rows `first`, `first` + 1 ... take the flat tokens that their paths name, from position 0 on."""
        rows, length = slice(first, first + len(path_mL)), path_mL.shape[1]
        for there, new in zip(self.layer(number, k, v), (k, v), strict=True):
            there[rows, :, :length] = new[0][:, path_mL].transpose(0, 1)

    def move(self, sources: Sequence[int], holes: Sequence[int]) -> None:
        """Each hole takes what its source holds. No row may be both."""
        if holes and self._layers:
            device = next(iter(self._layers.values()))[0].device
            there, taken = torch.tensor(holes, device=device), torch.tensor(sources, device=device)
            for keys, values in self._layers.values():
                keys[there], values[there] = keys[taken], values[taken]


def kept(dtype: torch.dtype) -> torch.dtype:
    """The format that keys and values are kept in."""
    return dtype if dtype is torch.bfloat16 else torch.float32


@dataclass(slots=True)
class Shelf:
    """Prompts of one size, in whole `STEP`s."""

    cache: SlotCache
    sizes: list[int] = field(default_factory=list[int])
    """Tokens of each prompt, by its row."""


Place = tuple[int, int]
"""Where a prompt stands: the shelf's size and the row."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The prompts of a shelf, and the answers to them."""

    cache: SlotCache
    lengths_P: Tensor
    answers_PN: Tensor
    """Rows of the answers to each prompt; where one has fewer, some other's, whose result nobody takes."""


class StepAttention:
    """Attention of one new token an answer: its key and value are written, and it sees its prompt and its answer."""

    def __init__(
        self,
        prompts: Mapping[int, Shelf],
        answers: SlotCache,
        *,
        prompt_of: Sequence[Place],
        said: Sequence[int],
        device: Any,
    ) -> None:
        """Args: prompt_of, where the prompt of each answer stands; said, how many tokens of each answer are kept before
        this one."""
        self._answers = answers
        self._device = device
        self._row_A = torch.arange(len(said), device=device)
        self._said_A = torch.tensor(said, device=device)
        self._asked, place = _asked(prompts, prompt_of, device)
        self._place_A = torch.tensor(place, device=device)
        self._masks: dict[int | None, tuple[list[Tensor], Tensor]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        count, heads, width = q.shape[2], q.shape[1], v.shape[3]
        keys, values = self._answers.layer(layer, k, v)
        keys[self._row_A, :, self._said_A] = k[0].transpose(0, 1).to(keys.dtype)
        values[self._row_A, :, self._said_A] = v[0].transpose(0, 1).to(values.dtype)
        q_AKGE = q[0].transpose(0, 1).to(keys.dtype).reshape(count, k.shape[1], -1, q.shape[3])
        shared, own_A11L = self._of(rule.window)
        own = partial(q_AKGE, keys[:count], values[:count], rule, own_A11L)
        out_AKGE, weight_AKG1 = joined(own, self._of_prompts(layer, q_AKGE, k, v, rule, shared))
        if rule.sinks_H is not None:  # as a part that holds nothing but zeros
            sink_KG1 = rule.sinks_H.float().view(k.shape[1], -1, 1)
            out_AKGE = out_AKGE * (weight_AKG1 - sink_KG1).sigmoid()
        return out_AKGE.reshape(1, count, heads, width).to(q.dtype)

    def _of_prompts(
        self, layer: int, q_AKGE: Tensor, k: Tensor, v: Tensor, rule: Rule, masks: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The queries of all answers to a prompt stand side by side, as rows of one product."""
        parts: list[tuple[Tensor, Tensor]] = []
        for asked, mask in zip(self._asked, masks, strict=True):
            keys, values = asked.cache.layer(layer, k, v)
            q_PKNGE = q_AKGE[asked.answers_PN].transpose(1, 2)
            size, count = q_PKNGE.shape[:4], len(q_PKNGE)
            out, weight = partial(q_PKNGE.flatten(2, 3), keys[:count], values[:count], rule, mask)
            parts.append((_by_answer(out, size), _by_answer(weight, size)))
        outs, weights = zip(*parts, strict=True)
        return torch.cat(outs)[self._place_A], torch.cat(weights)[self._place_A]

    def _of(self, window: int | None) -> tuple[list[Tensor], Tensor]:
        """What is hidden of each shelf's prompts and of each answer, to add to scores; made once for all layers."""
        if window not in self._masks:
            shared = [self._prompt_mask(asked, window) for asked in self._asked]
            position_L = torch.arange(self._answers.length, device=self._device)
            seen_AL = position_L <= self._said_A[:, None]
            if window is not None:
                seen_AL &= position_L > self._said_A[:, None] - window
            self._masks[window] = shared, _hiding(seen_AL)[:, None, None]
        return self._masks[window]

    def _prompt_mask(self, asked: _Asked, window: int | None) -> Tensor:
        """Shape P, 1, 1, L; with a window, where answers of a prompt see different parts of it, P, 1, N, L."""
        position_L = torch.arange(asked.cache.length, device=self._device)
        seen_PNL = (position_L < asked.lengths_P[:, None])[:, None]
        if window is None:
            return _hiding(seen_PNL)[:, None]
        end_PN = asked.lengths_P[:, None] + self._said_A[asked.answers_PN]
        return _hiding(seen_PNL & (position_L > end_PN[..., None] - window))[:, None]


def partial(q: Tensor, k: Tensor, v: Tensor, rule: Rule, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over some of the keys, and the logarithm of the sum of their exponentials: by it parts are joined.

    The largest share is 1 over that sum less the highest score. This is how we get it: on CPUs `logsumexp` takes twice
    as long as `softmax`, and `exp` ten times as long where its results are too small for fp32.

    Args: q [..., Q, E]; k and v [..., L, E]; mask [..., Q' , L] is added to scores, where Q' divides Q.
    Returns: [..., Q, E] with the width of v, in its format, and [..., Q, 1] in fp32.
    """
    scores_QL = (q @ k.transpose(-1, -2)).float().mul_(rule.scale)
    if rule.softcap is not None:
        scores_QL = rule.softcap * (scores_QL / rule.softcap).tanh()
    scores_QL.unflatten(-2, (mask.shape[-2], -1)).add_(mask[..., None, :])
    shares_QL = scores_QL.softmax(-1)
    weight_Q1 = scores_QL.amax(-1, keepdim=True) - shares_QL.amax(-1, keepdim=True).log()
    return shares_QL.to(v.dtype) @ v, weight_Q1


def joined(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Attention over the keys of both parts: each has the share that its exponentials have in the sum of all."""
    share = (one[1] - other[1]).sigmoid()
    return torch.lerp(other[0].float(), one[0].float(), share), torch.logaddexp(one[1], other[1])


def _by_answer(found: Tensor, size: torch.Size) -> Tensor:
    """From P, K, N G, X to P N, K, G, X."""
    return found.view(*size, -1).transpose(1, 2).flatten(0, 1)


def _asked(prompts: Mapping[int, Shelf], prompt_of: Sequence[Place], device: Any) -> tuple[list[_Asked], list[int]]:
    """The prompts shelf by shelf, and where each answer's result stands among theirs."""
    answers = {size: [list[int]() for _ in shelf.sizes] for size, shelf in prompts.items()}
    for answer, (size, row) in enumerate(prompt_of):
        answers[size][row].append(answer)
    place = [0] * len(prompt_of)
    found: list[_Asked] = []
    before = 0
    for size, shelf in prompts.items():
        group = answers[size]
        most = max(map(len, group))
        for number, row in enumerate(group):
            for rank, answer in enumerate(row):
                place[answer] = before + number * most + rank
        before += len(group) * most
        lengths_P = torch.tensor(shelf.sizes, device=device)
        answers_PN = torch.tensor([[*row, *[0] * (most - len(row))] for row in group], device=device)
        found.append(_Asked(shelf.cache, lengths_P, answers_PN))
    return found, place


def whole(length: int, step: int) -> int:
    """As many positions in whole steps."""
    return -(-length // step) * step


def _hiding(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, HIDDEN)
