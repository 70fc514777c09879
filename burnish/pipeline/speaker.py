"""A model folder made to answer conversations. Knows how a folder becomes a generator, nothing of what is asked."""

from __future__ import annotations

from pathlib import Path

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.load import load_trainable, pick_dtype, resolve
from burnish.pipeline.recipe import DType
from burnish.pipeline.stage import Context
from burnish.records.durable import MANIFEST, verify
from burnish.rollout.chat import ChatGenerator
from burnish.rollout.engine import Engine
from burnish.types import Progress, Silent


def speaker(model: Path, dtype: DType, progress: Progress = Silent()) -> ChatGenerator:
    """The generator of a model folder; every byte of a sealed one is checked first."""
    if (model / MANIFEST).is_file():
        verify(model)
    tokenizer = Tokenizer.load(model)
    engine = Engine(load_trainable(model, dtype=pick_dtype(dtype)), end_id=tokenizer.end_id)
    return ChatGenerator(engine, Renderer(tokenizer), progress)


def base_model(context: Context) -> Path:
    """The folder of the model that the recipe starts from."""
    return resolve(context.recipe.model, context.base, context.progress)


def tuned_model(context: Context) -> Path:
    """The folder of the fine-tuned model, or the base model's where the recipe has no sft."""
    return context.inputs["sft"] / "model" if "sft" in context.inputs else base_model(context)


def tuned_name(context: Context) -> str:
    """What the tuned model is called: its place in the run folder, or the base model as the recipe writes it."""
    return "sft/model" if "sft" in context.inputs else context.recipe.model
