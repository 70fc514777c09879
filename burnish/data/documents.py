"""Conversations, rankings and labelled answers as documents. Knows the renderer; knows no file and no method."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.types import Example, Labelled, Ranking


def example_document(renderer: Renderer, example: Example) -> Document:
    """A conversation as a root, of which what the assistant says is learned."""
    rendered = renderer.example(example.messages)
    return Document(row=example.id, ids=rendered.ids, weights=rendered.weights)


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
