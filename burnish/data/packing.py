"""Which documents share a micro-batch. Pure; knows token counts, not what the tokens mean."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from heapq import heapreplace

from burnish.batches import Document
from burnish.errors import DataError, Problem


def best_fit(documents: Sequence[Document], budget: int, spread: int = 1) -> list[list[Document]]:
    """Split documents into micro-batches of at most `budget` tokens: longest first, each into the fullest bin it fits.

    A document is never cut; one that is longer than the budget alone is an error naming its row. The result depends
    only on the documents and their order (equal lengths keep it), so that a resumed run packs the same way.

    With `spread`, over so many ranks: their number is a multiple of it, or that of the documents, and all are about
    equally full, since a step takes as long as its slowest rank.
    """
    require_fit(documents, budget)
    bins: list[list[Document]] = []
    room: list[tuple[int, int]] = []  # free tokens of each bin and its index, in order
    for document in sorted(documents, key=lambda d: -d.tokens):
        place = bisect_left(room, (document.tokens, -1))
        if place < len(room):
            free, index = room.pop(place)
            bins[index].append(document)
        else:
            free, index = budget, len(bins)
            bins.append([document])
        insort(room, (free - document.tokens, index))
    return bins if spread == 1 else _spread(documents, budget, -(-len(bins) // spread) * spread, spread)


def require_fit(documents: Sequence[Document], budget: int) -> None:
    """Raises DataError naming every row whose prompt and answers together are more than `budget` tokens."""
    long = [d for d in documents if d.tokens > budget]
    if long:
        found = "{} tokens, and a micro-batch holds {}"
        raise DataError(
            *(
                Problem(d.row, found.format(d.tokens, budget), f"Raise micro_tokens to {d.tokens} or more.")
                for d in long
            )
        )


def _spread(documents: Sequence[Document], budget: int, count: int, more: int) -> list[list[Document]]:
    """At least `count` bins, each document into the emptiest; `more` bins again while one is too full."""
    bins: list[list[Document]] = [[] for _ in range(min(count, len(documents)))]
    held = [(0, index) for index in range(len(bins))]  # tokens of each bin and its index, a heap
    for document in sorted(documents, key=lambda d: -d.tokens):
        tokens, index = held[0]
        bins[index].append(document)
        heapreplace(held, (tokens + document.tokens, index))
    fullest = max(held, default=(0, 0))[0]
    return bins if fullest <= budget else _spread(documents, budget, count + more, more)
