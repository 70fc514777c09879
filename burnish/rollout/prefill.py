"""Many prompts in one flat forward pass, every distinct prefix once. Knows token ids; knows no model and no sampling.

A token's keys and values depend on nothing but what stands before it, so prompts that begin alike (the same system
turn, or one prompt asked for several answers) share those tokens. Sorted, a prompt shares most with its neighbour.

Suffixes: T flat tokens, m prompts, L positions; K key-value heads, G query heads of each, E head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from burnish.models.attention import Rule, attention, hiding
from burnish.rollout.cache import SlotCache

WAVE = 1024
"""Most tokens laid in one wave (a longer prompt goes alone). What passes between layers then stays in a CPU's cache:
96 shop prompts were laid at 1,360 tokens a second, in one wave of 3,744 tokens at 1,100 to 1,230."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The tokens of one prompt that no prompt before it had."""

    own: slice
    """Range of T."""
    path: Sequence[int]
    """T-index of each token of the whole prompt."""

    @property
    def shared(self) -> int:
        """How many tokens an earlier prompt had."""
        return len(self.path) - (self.own.stop - self.own.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Prompts laid flat."""

    ids: Sequence[int]
    positions: Sequence[int]
    spans: Sequence[Span]
    """One a prompt."""

    @property
    def last(self) -> list[int]:
        """T-index of each prompt's last token."""
        return [span.path[-1] for span in self.spans]


def lay(prompts: Sequence[Sequence[int]]) -> Wave:
    """Lay prompts flat. Any order is right; the sorted one shares most."""
    ids: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    previous: Sequence[int] = ()
    path: list[int] = []
    for prompt in prompts:
        shared = common(previous, prompt)
        own = slice(len(ids), len(ids) + len(prompt) - shared)
        path = [*path[:shared], *range(own.start, own.stop)]
        ids += prompt[shared:]
        positions += range(shared, len(prompt))
        spans.append(Span(own=own, path=path))
        previous = prompt
    return Wave(ids=ids, positions=positions, spans=spans)


def wave_size(prompts: Sequence[Sequence[int]]) -> int:
    """How many of these prompts, from the first on, are laid in one wave; at least one."""
    tokens = 0
    for count, prompt in enumerate(prompts):
        tokens += len(prompt) - (common(prompts[count - 1], prompt) if count else 0)
        if count and tokens > WAVE:
            return count
    return len(prompts)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens the two begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


class PrefillAttention:
    """Causal attention of each prompt over itself; its keys and values go to a row of a cache."""

    def __init__(self, wave: Wave, places: Sequence[tuple[SlotCache, int]], device: Any) -> None:
        """`places`: of each prompt. Those of one cache stand one below the other."""
        self._device = device
        self._paths = [torch.tensor(span.path, device=device) for span in wave.spans]
        rows: dict[SlotCache, list[int]] = {}
        for number, (cache, _) in enumerate(places):
            rows.setdefault(cache, []).append(number)
        self._filled = [
            (cache, places[numbers[0]][1], pad_sequence([self._paths[number] for number in numbers], batch_first=True))
            for cache, numbers in rows.items()
        ]
        """Caches, the first row of each, and the paths of its rows; what stands behind a path is never seen."""
        pairs = zip(self._paths, wave.spans, strict=True)
        self._parts = [(path, span) for path, span in pairs if span.own.start < span.own.stop]
        self._masks: dict[int | None, list[Tensor | None]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        for cache, first, path_mL in self._filled:
            cache.fill(layer, first, path_mL, k, v)
        q_KGTE = q[0].float().unflatten(0, (k.shape[1], -1))
        k_KTE, v_KTE = k[0].float(), v[0].float()
        sinks = rule.sinks(k.shape[1], -1, 1, 1)
        parts = [
            attention(
                q_KGTE[:, :, span.own],
                _shared(k_KTE[:, path], q_KGTE),
                _shared(v_KTE[:, path], q_KGTE),
                rule,
                mask,
                sinks,
            )
            for (path, span), mask in zip(self._parts, self._of(rule.window), strict=True)
        ]
        return torch.cat(parts, dim=2).flatten(0, 1)[None].transpose(1, 2).to(q.dtype)

    def _of(self, window: int | None) -> list[Tensor | None]:
        """A mask for each part, made once for all layers of a window."""
        if window not in self._masks:
            self._masks[window] = [_mask(span, window, self._device) for _, span in self._parts]
        return self._masks[window]


def _shared(own_KLE: Tensor, q_KGTE: Tensor) -> Tensor:
    """Keys or values as each of the G query heads of a key-value head sees them; a view, nothing is copied."""
    return own_KLE[:, None].expand(-1, q_KGTE.shape[1], -1, -1)


def _mask(span: Span, window: int | None, device: Any) -> Tensor | None:
    """What each own token must not see, as -inf to add; None where the plain causal rule says it."""
    count = len(span.path)
    if not span.shared and (window is None or count <= window):
        return None
    position_L = torch.arange(count, device=device)
    back = position_L[span.shared :, None] - position_L
    return hiding((back >= 0) & (back < (window or count)), torch.float32)
