"""Conversations, texts, rankings and labelled answers as documents. Knows the renderer; knows no file and no method."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.chat.talks import Ahead, Shown
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError, Problem
from burnish.records.jsonl import sift
from burnish.types import Example, Labelled, Ranking, Text

_log = logging.getLogger(__name__)
Row = TypeVar("Row")
Made = TypeVar("Made")
PIECE = 256
"""Tokens of a piece of text, where nobody says otherwise."""


def of_rows(make: Callable[[Row], Made], rows: Iterable[Row], name: Callable[[Row], str]) -> list[Made]:
    """What is made of each row. Raises DataError with the problems of all rows that a template refuses, say, under
    their names: a template knows none."""

    def named(row: Row) -> Made:
        try:
            return make(row)
        except DataError as error:
            said = [(": ".join(filter(None, (each.where, each.found))), each.mend) for each in error.problems]
            raise DataError(*(Problem(name(row), *each) for each in said)) from error

    made, problems = sift([*rows], named)
    if problems:
        raise DataError(*problems)
    return made


def example_documents(renderer: Renderer, examples: Iterable[Example]) -> list[Document]:
    """Each conversation as a root. A warning says where answers close no thought and the template has opened one.
    Raises DataError with the problems of all."""
    examples = [*examples]
    _tell_unclosed(renderer, [turn.content for each in examples for turn in each.messages[-1:] if not turn.calls])
    ahead = Ahead(renderer.talks, [(each.messages, each.tools) if each.calls_tools else None for each in examples])

    def made(one: tuple[int, Example]) -> Document:
        return example_document(renderer, one[1], ahead.of(one[0]))

    return of_rows(made, enumerate(examples), lambda one: one[1].id)


def ranked_documents(renderer: Renderer, rankings: Iterable[Ranking]) -> list[Document]:
    """Each ranking as a tree. Warns as `example_documents` does. Raises DataError with the problems of all."""
    rankings = [*rankings]
    _tell_unclosed(renderer, [text for each in rankings for text in each.completions])
    return of_rows(lambda each: ranked_document(renderer, each), rankings, lambda each: each.prompt.id)


def _tell_unclosed(renderer: Renderer, answers: Sequence[str]) -> None:
    """Warn where most answers are none but a thought to the template. A sampled one can end within its thought."""
    owed = renderer.tokenizer.chat.owed
    bare = sum(owed not in text for text in answers)
    if 2 * bare > len(answers):
        said = f"{bare:,} of {len(answers):,} answers have no {owed}, and the chat template has opened what it ends"
        _log.warning("%s: they are thoughts and no answers. Give thoughts too, or begin answers with %s", said, owed)


def example_document(renderer: Renderer, example: Example, shown: Shown | None = None) -> Document:
    """A conversation as a root, of which what the assistant says is learned. `shown`: with its tools, where that was
    asked before."""
    rendered = renderer.example(example.messages, example.tools, shown)
    return Document(row=example.id, ids=rendered.ids, weights=rendered.weights)


def text_documents(tokenizer: Tokenizer, texts: Sequence[Text], length: int, source: str) -> list[Document]:
    """Texts cut to pieces of `length` tokens, of which all but the first are learned; a last piece of one is none.

    Where the tokenizer begins a text with a token, every piece has it: Gemma predicts nothing without it.

    Raises DataError, naming `source`, where no text has two tokens.
    """
    found = [piece for text in texts for piece in _pieces(tokenizer, text, length)]
    if not found:
        raise DataError(Problem(source, "no text has two tokens", "Give longer ones."))
    return found


def _pieces(tokenizer: Tokenizer, text: Text, length: int) -> list[Document]:
    ids, begin = tokenizer.encode(text.content), tokenizer.begin
    room = max(2, length - len(begin))
    pieces = [ids[start : start + room] for start in range(0, len(ids), room)]
    return [
        Document(
            row=f"{text.id}#{number}",
            ids=[*begin, *piece],
            weights=[0.0] * (len(begin) + 1) + [1.0] * (len(piece) - 1),
        )
        for number, piece in enumerate(pieces)
        if len(piece) > 1
    ]


def ranked_document(renderer: Renderer, ranking: Ranking) -> Document:
    """A ranking as a tree: the prompt once, an answer a branch."""
    return Document(
        row=ranking.prompt.id,
        ids=renderer.prompt(ranking.prompt.messages),
        branches=[renderer.answer(text) for text in ranking.completions],
    )


def labelled_document(renderer: Renderer, answers: Sequence[Labelled]) -> Document:
    """Labelled answers to one prompt as a tree: the prompt once, an answer a branch."""
    prompt = answers[0].prompt
    return Document(
        row=prompt.id,
        ids=renderer.prompt(prompt.messages),
        branches=[renderer.answer(each.completion) for each in answers],
    )
