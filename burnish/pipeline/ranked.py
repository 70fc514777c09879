"""A run's rankings as packed trees, and how well scores order them. Knows rows, ranks and scorers; trains nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from burnish.batches import Batch, Document, pack
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import ranked_documents
from burnish.data.order import draw
from burnish.data.packing import best_fit
from burnish.errors import DataError, Problem, plain
from burnish.pipeline.columns import ranked_rows
from burnish.pipeline.recipe import Ranked
from burnish.pipeline.sources import apart, rankings
from burnish.pipeline.speaker import tuned_model
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import fitting
from burnish.rewards.model import BatchScorer
from burnish.stats.agreement import undisputed
from burnish.stats.baselines import Pair
from burnish.stats.intervals import share
from burnish.train.feeds import DatasetFeed
from burnish.train.messages import world
from burnish.types import Estimate, Progress, Ranking, Silent

_log = logging.getLogger(__name__)
Hits = list[tuple[float, float]]
"""For each prompt: pairs ordered rightly (a tie of scores is half), pairs."""
Pairs = list[tuple[int, int]]
"""Places (better, worse) among the answers of one row."""
SHOWN = 3
"""How many rows that were left out are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of the data, aligned: trees, and the rankings that they were made of."""

    documents: list[Document]
    rows: list[Ranking]

    @property
    def prompts(self) -> list[str]:
        """Of each row, the id of its prompt."""
        return [row.prompt.id for row in self.rows]

    @property
    def units(self) -> list[str]:
        """Of each row, what is independent of the others: see `Prompt.unit`."""
        return [row.prompt.unit for row in self.rows]

    @property
    def ranks(self) -> list[list[int]]:
        return [list(row.ranks) for row in self.rows]

    def part(self, places: Sequence[int]) -> Side:
        return Side(documents=[self.documents[i] for i in places], rows=[self.rows[i] for i in places])

    def shuffled(self, seed: int) -> Side:
        """The same with each prompt's ranks in random order: whatever is learned from it is not preference."""
        mixed = [_shuffled(row, draw(seed, "shuffle", d.row)) for d, row in zip(self.documents, self.rows, strict=True)]
        return replace(self, rows=mixed)

    def pairs(self) -> list[list[Pair]]:
        """For each row, its ordered pairs of answers as (tokens, tokens, whether the first won)."""
        lengths = [[len(branch) for branch in document.branches] for document in self.documents]
        return [_row_pairs(row.ranks, each) for row, each in zip(self.rows, lengths, strict=True)]

    def all_pairs(self) -> list[Pair]:
        return [pair for pairs in self.pairs() for pair in pairs]

    def by_unit(self, counts: Sequence[tuple[float, float]]) -> Hits:
        """Counts of rows that share a prompt, or are of one conversation, added up."""
        added: dict[str, tuple[float, float]] = {}
        for unit, (right, pairs) in zip(self.units, counts, strict=True):
            before = added.get(unit, (0.0, 0.0))
            added[unit] = (before[0] + right, before[1] + pairs)
        return list(added.values())

    def ordered(self) -> list[Pairs]:
        """For each row the pairs that its agreed ranks order."""
        return [undisputed([ranks]) for ranks in self.ranks]

    def hits(self, scores: Sequence[Sequence[float]], pairs: Sequence[Pairs]) -> Hits:
        """Per independent unit that has any, how many of `pairs` the scores order rightly."""
        counts = [
            (sum(float(s[i] > s[j]) + 0.5 * float(s[i] == s[j]) for i, j in row), float(len(row)))
            for s, row in zip(scores, pairs, strict=True)
        ]
        return [count for count in self.by_unit(counts) if count[1]]

    def hits_of(self, scorer: BatchScorer, micro_tokens: int, progress: Progress) -> Hits:
        """Per independent unit, how many of its ordered pairs a scorer orders rightly."""
        return self.hits(scores_of(scorer, self.documents, micro_tokens, progress), self.ordered())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What is learned, and what it is measured on."""

    train: Side
    heldout: Side
    facts: Facts
    """How many there are, and what was left out."""


def sides(context: Context, renderer: Renderer, settings: Ranked) -> Sides:
    """The run's rankings. Raises DataError where there is no pair to learn from."""
    found = rankings(context)
    if found.dropped:
        first = "; ".join(f"{plain(each.where, 400)}: {plain(each.found)}" for each in found.dropped[:SHOWN])
        _log.warning("%d unusable rows left out, of which the first: %s", len(found.dropped), first)
    train, long_train = _side(renderer, found.train, settings, learned=True)
    heldout, long_heldout = _side(renderer, found.heldout, settings, learned=False)
    if long_heldout and not heldout.documents:
        said = "%s: none of the %d rankings held out fits the %d tokens of max_length: nothing is measured on them"
        _log.warning(said, context.folder.name, long_heldout, settings.max_length)
    if not train.documents:
        said = f"none of {len(found.train)} rows puts two answers in order"
        raise DataError(Problem("rankings", said, "Give rows whose answers differ in rank, or lower held_out."))
    facts = {
        "train_prompts": len(train.documents),
        "train_pairs": len(train.all_pairs()),
        "heldout_pairs": len(heldout.all_pairs()),
        "dropped_rows": len(found.dropped),
        "too_long": long_train + long_heldout,
    }
    return Sides(train=train, heldout=heldout, facts=facts)


def _side(renderer: Renderer, rows: Sequence[Ranking], settings: Ranked, *, learned: bool) -> tuple[Side, int]:
    """The rows that have something to teach and fit, and how many did not fit. Raises DataError where none fits that
    should be learned."""
    useful = [row for row in rows if len(set(row.ranks)) > 1 or settings.learns_ties]
    made = [_numbered(document, number) for number, document in enumerate(ranked_documents(renderer, useful))]
    kept = [i for i, document in enumerate(made) if document.longest <= settings.max_length]
    if kept or (useful and learned):
        fitting(made, settings, "rankings")
    return Side(documents=made, rows=useful).part(kept), len(made) - len(kept)


def evaluated(context: Context, settings: Ranked, side: Side) -> tuple[Side, Side | None]:
    """What a stage learns of a side, and what it is evaluated on meanwhile: never what it is measured on at the end,
    since the weights that are kept may be chosen by it."""
    if settings.eval_every is None:
        return side, None
    if settings.eval_data is None:
        learned, held = apart(range(len(side.rows)), side.units, settings, context.recipe.seed)
        return side.part(learned), side.part(held)
    rows, _ = ranked_rows(context.path(settings.eval_data), settings)
    found, _ = _side(Renderer(Tokenizer.load(tuned_model(context))), rows, settings, learned=True)
    if not found.documents:
        raise DataError(Problem(settings.eval_data, "no row puts two answers in order", "Give rankings that do."))
    return side, found


def feed_of(side: Side, settings: Ranked, per_step: int, seed: int) -> DatasetFeed:
    return DatasetFeed(
        side.documents,
        per_step=per_step,
        micro_tokens=settings.micro_tokens,
        seed=seed,
        ranks=side.ranks,
        strengths=[row.strengths for row in side.rows] if settings.strength_column else None,
        spread=world(),
    )


def packed(documents: Sequence[Document], micro_tokens: int) -> list[Batch]:
    return [pack(part) for part in best_fit(documents, micro_tokens)]


def scores_of(
    scorer: BatchScorer, documents: Sequence[Document], micro_tokens: int, progress: Progress = Silent()
) -> list[list[float]]:
    """For each document the scores of its answers. No two documents may share a row."""
    found: dict[str, list[float]] = {}
    progress.start("scoring answers", len(documents))
    for batch in packed(documents, micro_tokens):
        scores_B = scorer.scores(batch)
        for number, row in enumerate(batch.rows):
            found[row] = scores_B[batch.prompt_B == number].tolist()
        progress.advance(len(batch.rows))
    progress.finish()
    return [found[document.row] for document in documents]


def accuracy(hits: Hits) -> Estimate:
    """Share of pairs ordered rightly, with its interval over prompts."""
    table = np.array(hits, dtype=np.float64)
    return share(table[:, 0], table[:, 1])


def _shuffled(row: Ranking, seed: int) -> Ranking:
    mixed = np.random.Generator(np.random.Philox(seed)).permutation(row.ranks)
    return replace(row, ranks=tuple(int(rank) for rank in mixed))


def _row_pairs(ranks: Sequence[int], lengths: Sequence[int]) -> list[Pair]:
    return [
        (lengths[i], lengths[j], ranks[i] < ranks[j])
        for i, j in combinations(range(len(ranks)), 2)
        if ranks[i] != ranks[j]
    ]


def _numbered(document: Document, number: int) -> Document:
    """Rankings may share a prompt; rows of a feed may not share a name."""
    return replace(document, row=f"{document.row}#{number}")
