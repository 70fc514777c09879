"""A model folder made to answer conversations. Knows how a folder becomes a generator, nothing of what is asked."""

from __future__ import annotations

from pathlib import Path

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.endpoints.chat import ChatEndpoint
from burnish.endpoints.server import Address
from burnish.errors import ConfigError, Problem
from burnish.models.arithmetic import settle
from burnish.models.folder import read_config
from burnish.models.load import load_trainable, pick_dtype
from burnish.models.sources import resolve
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.settings import DType
from burnish.pipeline.stage import Context
from burnish.records.durable import MANIFEST, verify
from burnish.release.verify import EVIDENCE
from burnish.release.verify import verify as verify_release
from burnish.rollout.chat import ChatGenerator
from burnish.rollout.engine import Engine
from burnish.types import Generator, Progress, Silent


def speaker(model: Path, dtype: DType, progress: Progress = Silent()) -> ChatGenerator:
    """The generator of a model folder; every byte of a sealed one is checked first."""
    if (model / MANIFEST).is_file():
        verify(model)
    tokenizer = Tokenizer.load(model)
    engine = Engine(load_trainable(model, dtype=pick_dtype(dtype)), end_ids=tokenizer.end_ids)
    return ChatGenerator(engine, Renderer(tokenizer), progress)


def opened(model: str, progress: Progress = Silent()) -> ChatGenerator:
    """The generator of a model as a user names it, under the working folder; a release is verified first.

    Raises ModelError where there is no such model, DataError or VerdictError where a release is not whole.
    """
    settle()
    if (Path(model) / EVIDENCE).is_file():
        verify_release(Path(model))
    return speaker(resolve(model, Path.cwd(), progress), "auto", progress)


def answering(name: str, base: Path, dtype: DType, progress: Progress) -> Generator:
    """The generator of a model as a recipe in the folder `base` names it, or of a server. Raises what `resolve`,
    loading and `ChatEndpoint.open` raise."""
    if Address.meant(name):
        return ChatEndpoint.open(name, progress)
    return speaker(resolve(name, base, progress), dtype)


def base_model(context: Context) -> Path:
    """The folder of the model that the recipe starts from.

    Raises ConfigError where the recipe asks for more layers than it has: now, not when a later stage gets there.
    """
    folder = resolve(context.recipe.model, context.base, context.progress)
    _require_layers(context.recipe, int(read_config(folder).get_text_config().num_hidden_layers))
    return folder


def tuned_model(context: Context) -> Path:
    """The folder of the fine-tuned model, or the base model's where the recipe has no sft."""
    return context.inputs["sft"] / "model" if "sft" in context.inputs else base_model(context)


def tuned_name(context: Context) -> str:
    """What the tuned model is called: its place in the run folder, or the base model as the recipe writes it."""
    return "sft/model" if "sft" in context.inputs else context.recipe.model


def _require_layers(recipe: Recipe, count: int) -> None:
    wanted = {
        "reward.layers": recipe.reward and recipe.reward.layers,
        **{f"{name}.unfrozen_layers": section.unfrozen_layers for name, section in recipe.on_policy().items()},
    }
    problems = [
        Problem(name, f"{layers}, but {recipe.model} has {count} layers", f"Use {count} or less, or leave it out.")
        for name, layers in wanted.items()
        if layers and layers > count
    ]
    if problems:
        raise ConfigError(*problems)
