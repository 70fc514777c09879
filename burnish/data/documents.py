"""Conversations and rankings as documents. Knows the renderer and documents; knows no file and no method."""

from __future__ import annotations

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.types import Example, Ranking


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
