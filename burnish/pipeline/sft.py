"""The sft stage: the base model learns the assistant's turns of conversations."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import example_documents
from burnish.errors import DataError, Problem
from burnish.pipeline.recipe import Sft
from burnish.pipeline.sources import conversations
from burnish.pipeline.speaker import base_model
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import drop_checkpoints, figures, fitting, teach, trained, within
from burnish.train.feeds import DatasetFeed
from burnish.train.messages import world
from burnish.types import Example


def run(context: Context) -> Facts:
    """Train, seal the model, and state what was learned from."""
    settings = context.recipe.sft
    assert settings is not None
    base = base_model(context)
    settings = within(settings, base)
    tokenizer = Tokenizer.load(base)
    renderer = Renderer(tokenizer)
    examples, held = conversations(context)
    found = _documents(renderer, examples)
    documents = fitting(found, settings, settings.data or "rankings")
    if not trained(context.folder):
        evaluated = fitting(_documents(renderer, held), settings, "sft.eval_data") if held else []
        _train(context, settings, documents, evaluated, tokenizer)
    drop_checkpoints(context.folder)
    tokens = sum(document.tokens for document in documents)
    facts = figures(settings, context.folder)
    if settings.mean == "sum":  # in another unit, and so under other names
        facts |= {f"summed_{end}": facts.pop(f"loss_{end}") for end in ("first", "last")}
    return {
        "examples": len(documents),
        "too_long": len(found) - len(documents),
        "tokens": tokens,
        "supervised_share": round(sum(document.targets for document in documents) / tokens, 4),
        **facts,
    }


def _documents(renderer: Renderer, examples: Sequence[Example]) -> list[Document]:
    documents = example_documents(renderer, examples)
    if not any(document.targets for document in documents):
        raise DataError(Problem("sft.data", "no token of the assistant's to learn in any conversation"))
    return [document for document in documents if document.targets]


def _train(
    context: Context, settings: Sft, documents: list[Document], evaluated: list[Document], tokenizer: Tokenizer
) -> None:
    def feed(rows: list[Document], per_step: int) -> DatasetFeed:
        seed = context.recipe.seed
        return DatasetFeed(rows, per_step=per_step, micro_tokens=settings.micro_tokens, seed=seed, spread=world())

    feeds = feed(documents, settings.batch_size), feed(evaluated, len(evaluated)) if evaluated else None
    start, name = base_model(context), context.recipe.model
    teach(context, settings, start, name, tokenizer, lambda _: feeds, rows=len(documents))
