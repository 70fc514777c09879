"""A user's rows as the items of a job. Knows files, the renderer and lengths; knows no model.

All rows are of one file. Where it holds rankings, conversations are their best answers; where it holds conversations,
the worse answer is another conversation's (`burnish.proof.material`). Rankings of four are made of the pairs, by a rule
that any data allow: rows are put in the order of their answers' length, and each has its own two answers and, ranked
behind them, the two of the next row. So the four are of like length, as answers of one model to one prompt are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.data.documents import example_document, ranked_document
from burnish.errors import DataError, Problem
from burnish.proof.bench.job import Item
from burnish.proof.material import Rows, read_rows
from burnish.types import Ranking

SPARE = 4
"""So many times the rows needed are read, since some are too long."""


def rows_for(data: Path | None, count: int) -> Rows:
    """Rows for `count` items of each kind, and more. Raises DataError."""
    return read_rows(data, SPARE * count)


def items(rows: Rows, renderer: Renderer, answers: int, count: int, max_length: int) -> list[Item]:
    """The first `count` rows no longer than `max_length` tokens, from the first again where there are fewer.

    `answers`: of each row; 0 for conversations. Raises DataError where none fits.
    """
    if answers:
        pairs = [_two(row) for row in rows.rankings]
        rankings = pairs if answers == 2 else _four(pairs)
        found = [_item(ranked_document(renderer, row), row.ranks) for row in rankings]
    else:
        found = [_item(example_document(renderer, row), ()) for row in rows.examples]
    fitting = [item for item in found if item.document.longest <= max_length and item.document.targets]
    if not fitting:
        shortest = min((item.document.longest for item in found), default=0)
        said = f"none of {len(found)} rows fits {max_length} tokens; the shortest has {shortest}"
        raise DataError(Problem("--max-length", said, f"Give --max-length {shortest} or more, or other data."))
    return _numbered(islice(cycle(fitting), count))


def prompts(rows: Rows, renderer: Renderer, count: int, max_length: int) -> list[Item]:
    """The first `count` different prompts of at most `max_length` tokens, from the first again where there are fewer.

    Raises DataError where none fits.
    """
    asked = dict.fromkeys(tuple(renderer.prompt(row.prompt.messages)) for row in rows.rankings)
    found = [Item(row="prompt", ids=list(ids), branches=[], ranks=[]) for ids in asked if len(ids) <= max_length]
    if not found:
        shortest = min(map(len, asked), default=0)
        said = f"none of {len(asked)} prompts leaves room for an answer; the shortest has {shortest} tokens"
        raise DataError(Problem("--max-length", said, "Give a longer one, a smaller --new-tokens, or other data."))
    return _numbered(islice(cycle(found), count))


def _item(document: Document, ranks: Sequence[int]) -> Item:
    return Item(
        row=document.row,
        ids=list(document.ids),
        weights=None if document.weights is None else list(document.weights),
        branches=[list(branch) for branch in document.branches],
        ranks=list(ranks),
    )


def _numbered(found: Iterable[Item]) -> list[Item]:
    """Rows of a feed may not share a name."""
    return [replace(item, row=f"{item.row}#{number}") for number, item in enumerate(found)]


def _two(ranking: Ranking) -> Ranking:
    """The best of a ranking's answers and the worst."""
    worst = ranking.completions[ranking.ranks.index(max(ranking.ranks))]
    return replace(ranking, completions=(ranking.best, worst), ranks=(1, 2))


def _four(pairs: Sequence[Ranking]) -> list[Ranking]:
    ordered = sorted(pairs, key=lambda row: sum(map(len, row.completions)))
    follows = dict(zip([id(row) for row in ordered], [*ordered[1:], *ordered[:1]], strict=True))
    return [
        replace(row, completions=(*row.completions, *follows[id(row)].completions), ranks=(1, 2, 3, 4)) for row in pairs
    ]
