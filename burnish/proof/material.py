"""The documents that the laws are tried on: a user's rows or our own, rendered for one model. Knows files and the
renderer; knows no method and no weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.data.documents import example_documents, ranked_document
from burnish.errors import DataError, Problem
from burnish.proof.samples import EXAMPLES, RANKINGS
from burnish.records.formats import holds_rankings, read_examples, read_rankings
from burnish.types import Example, Message, Prompt, Ranking

LOOKED_AT = 64
"""First rows of a file that are looked at."""
TAKEN = 4
"""The shortest of those that are taken: they cost less, and but for windows (`past`) a law holds for short documents or
for none."""
REACHED = 512
"""Windows of fewer tokens are reached: so long is a row at most where a recipe does not say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What was read, before there is a model."""

    examples: Sequence[Example]
    rankings: Sequence[Ranking]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Documents of both kinds."""

    conversations: Sequence[Document]
    """Roots of which what the assistant says is learned."""
    trees: Sequence[Document]
    """Prompts with two or more answers."""
    ranks: Mapping[str, Sequence[int]]
    """Ranks of each tree's answers, by its row; at least two of a tree differ."""
    rows: int
    """How many were looked at."""
    longest: int
    """Tokens of the longest document of those, taken or not."""
    lengthened: int = 0
    """Tokens that the last document of each kind was given before its own: those of the longest window reached."""
    unreached: Sequence[int] = ()
    """Windows that no document was made longer than."""


def read_rows(data: Path | None, limit: int = LOOKED_AT) -> Rows:
    """The first rows of a file of conversations or rankings, `limit` at most, or our own. Raises DataError."""
    if data is None:
        return Rows(examples=EXAMPLES, rankings=RANKINGS)
    problems: list[Problem] = []
    if holds_rankings(data):
        found, problems = read_rankings(data, drop_bad=True)
        rankings = [row for row in found if len(set(row.ranks)) > 1][:limit]
        rows = Rows(examples=[_best(row, number) for number, row in enumerate(rankings)], rankings=rankings)
    else:
        examples = read_examples(data)[:limit]
        rows = Rows(examples=examples, rankings=_paired(examples))
    if len(rows.examples) < 2:
        few = f"{len(rows.examples)} usable rows, and the laws are about two or more documents"
        mend = "Add rows, or leave --data out: burnish brings a few of its own."
        raise DataError(Problem(str(data), few, mend), *problems)
    return rows


def render(renderer: Renderer, rows: Rows) -> Material:
    """The shortest rows of each kind as documents. Raises DataError where the chat template refuses them."""
    conversations = example_documents(renderer, rows.examples)
    trees = [
        replace(ranked_document(renderer, each), row=f"{each.prompt.id}#{number}")
        for number, each in enumerate(rows.rankings)
    ]
    ranks = {tree.row: each.ranks for tree, each in zip(trees, rows.rankings, strict=True)}
    return Material(
        conversations=_shortest(conversations),
        trees=_shortest(trees),
        ranks=ranks,
        rows=len(conversations),
        longest=max(document.tokens for document in (*conversations, *trees)),
    )


def past(material: Material, windows: Sequence[int], room: int | None) -> Material:
    """The same documents, of which the last of each kind stands past every window of fewer than `REACHED` tokens.

    Args: room, tokens of a sequence at most; a window that leaves too few for that is not reached either.
    """
    kinds = {"conversations": material.conversations, "trees": material.trees}
    longest = max(made[-1].longest for made in kinds.values())
    most = REACHED if room is None else min(REACHED, room - longest + 1)
    reached = [window for window in windows if window < most]
    if reached:
        longer = {kind: [*made[:-1], _lengthened(made[-1], max(reached))] for kind, made in kinds.items()}
        material = replace(material, **longer, lengthened=max(reached))
    return replace(material, unreached=[window for window in windows if window not in reached])


def _lengthened(document: Document, tokens: int) -> Document:
    """With so many tokens before its own: those of its root, over and over. None of them is learned."""
    before = list(islice(cycle(document.ids), tokens))
    weights = None if document.weights is None else [0.0] * tokens + list(document.weights)
    return replace(document, ids=[*before, *document.ids], weights=weights)


def _shortest(documents: Sequence[Document]) -> list[Document]:
    """The shortest, of other roots first: some laws need two prompts."""
    ordered = sorted(documents, key=lambda document: document.tokens)
    first = {tuple(document.ids): document.row for document in reversed(ordered)}
    taken = set(first.values())
    return sorted(ordered, key=lambda document: (document.row not in taken, document.tokens))[:TAKEN]


def _best(ranking: Ranking, number: int) -> Example:
    answer = Message(role="assistant", content=ranking.best)
    return Example(id=f"{ranking.prompt.id}#{number}", messages=(*ranking.prompt.messages, answer))


def _paired(examples: Sequence[Example]) -> Sequence[Ranking]:
    """Each conversation's last answer, and that of its neighbour, which is worse: it answers something else. Ours,
    where fewer than two do without tools: of those no tree is made."""
    examples = [each for each in examples if not each.calls_tools]
    if len(examples) < 2:
        return RANKINGS
    return [
        Ranking(
            prompt=Prompt(id=example.id, messages=example.messages[:-1]),
            completions=(example.messages[-1].content, other.messages[-1].content),
            ranks=(1, 2),
        )
        for example, other in zip(examples, [*examples[1:], *examples[:1]], strict=True)
    ]
