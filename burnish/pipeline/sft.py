"""The sft stage: the base model learns the assistant's turns of conversations."""

from __future__ import annotations

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import example_document
from burnish.errors import DataError, Problem
from burnish.models.load import load_trainable, pick_dtype
from burnish.pipeline.recipe import Sft
from burnish.pipeline.sources import conversations
from burnish.pipeline.speaker import base_model
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import (
    drop_checkpoints,
    fitting,
    keep,
    keep_adapter,
    learn,
    metrics_log,
    steps_of,
    trained,
    with_adapter,
)
from burnish.train.feeds import DatasetFeed
from burnish.train.messages import world


def run(context: Context) -> Facts:
    """Train, seal the model, and state what was learned from."""
    settings = context.recipe.sft
    assert settings is not None
    base = base_model(context)
    tokenizer = Tokenizer.load(base)
    found = _documents(context, Renderer(tokenizer))
    documents = fitting(found, settings.max_length, settings.data or "reward.rankings")
    if not trained(context.folder):
        _train(context, settings, documents, tokenizer)
    drop_checkpoints(context.folder)
    losses = [row["loss"] for row in metrics_log(context.folder).read()]
    tokens = sum(document.tokens for document in documents)
    return {
        "examples": len(documents),
        "too_long": len(found) - len(documents),
        "tokens": tokens,
        "supervised_share": round(sum(document.targets for document in documents) / tokens, 4),
        "steps": len(losses),
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }


def _documents(context: Context, renderer: Renderer) -> list[Document]:
    documents = [example_document(renderer, example) for example in conversations(context)]
    if not any(document.targets for document in documents):
        raise DataError(Problem("sft.data", "no token of the assistant's to learn in any conversation"))
    return [document for document in documents if document.targets]


def _train(context: Context, settings: Sft, documents: list[Document], tokenizer: Tokenizer) -> None:
    recipe = context.recipe
    base = base_model(context)
    module = with_adapter(load_trainable(base, dtype=pick_dtype(recipe.dtype)), settings, recipe.seed)
    steps = steps_of(settings, len(documents))
    feed = DatasetFeed(
        documents,
        per_step=settings.batch_size,
        micro_tokens=settings.micro_tokens,
        seed=recipe.seed,
        spread=world(),
    )
    learn(
        context,
        module,
        feed,
        steps=steps,
        save_every=settings.save_every,
        folder=context.folder,
        label="sft: training",
    )
    keep_adapter(module, context.folder, base, recipe.model)
    keep(module, tokenizer, context.folder)
