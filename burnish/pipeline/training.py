"""What the trained stages share: from a recipe's settings to documents, optimiser and loop. Knows no method."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from burnish.batches import Document
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw
from burnish.errors import DataError, Problem
from burnish.models.adapter import save_adapter
from burnish.models.forward import Trainable
from burnish.models.load import save_trainable
from burnish.models.lora import LoraConfig, adapt, adapted, merge
from burnish.pipeline.recipe import Optim, Ppo
from burnish.pipeline.stage import Context
from burnish.records import durable
from burnish.runs import MetricsLog
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import Feed
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Objective
from burnish.train.optim import OptimConfig, Optimizer

MODEL = "model"
ADAPTER = "adapter"
"""Beside the model that it was merged into."""


def steps_of(settings: Optim, rows: int) -> int:
    """Optimiser steps of `epochs` passes; the last one may reach into a further pass."""
    return -(-rows * settings.epochs // settings.batch_size)


def optim_config(settings: Optim | Ppo, steps: int) -> OptimConfig:
    return OptimConfig(
        lr=settings.lr,
        steps=steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
    )


def with_adapter(module: Trainable, settings: Optim | Ppo, seed: int) -> Trainable:
    """The module, with a new adapter on its frozen backbone where the settings ask for one."""
    if (lora := settings.lora) is not None:
        config = LoraConfig(rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)
        adapt(module, config, seed=draw(seed, "lora"))
    return module


def learn(
    context: Context,
    settings: Optim | Ppo,
    module: Trainable,
    feed: Feed,
    objective: Objective,
    *,
    steps: int,
    save_every: int,
    folder: Path,
    label: str,
) -> None:
    """Train the module in place to `steps` updates, from the newest checkpoint in `folder` if there is one."""
    fit(
        module,
        feed,
        objective,
        Optimizer(module, optim_config(settings, steps)),
        FitConfig(steps=steps, seed=context.recipe.seed, save_every=save_every),
        log=metrics_log(folder),
        checkpoints=Checkpoints(folder / "checkpoints"),
        progress=context.progress,
        label=label,
    )


def metrics_log(folder: Path) -> MetricsLog:
    return MetricsLog(folder / "metrics.jsonl")


def trained(folder: Path) -> bool:
    """Whether the stage's model stands already, whole: a kill after sealing costs nothing."""
    if not (folder / MODEL).is_dir():
        return False
    durable.verify(folder / MODEL)
    return True


def keep_adapter(module: Trainable, folder: Path, base: Path, base_name: str) -> None:
    """Seal the module's adapter and merge it into the weights: what is measured and sealed from here on is one model.
    Nothing happens where there is no adapter."""
    if adapted(module.backbone):
        with durable.folder(folder / ADAPTER) as aside:
            save_adapter(module, aside, base, base_name=base_name)
        merge(module)


def keep(module: Trainable, tokenizer: Tokenizer, folder: Path) -> None:
    """Seal the trained model and drop the checkpoints it came from."""
    with durable.folder(folder / MODEL) as aside:
        save_trainable(module, aside, tokenizer, dtype=next(module.parameters()).dtype)
    drop_checkpoints(folder)


def drop_checkpoints(folder: Path) -> None:
    """Those of the stage, and of the trial models that it trained in folders of its own."""
    for found in [folder / "checkpoints", *folder.glob("*/checkpoints")]:
        shutil.rmtree(found, ignore_errors=True)


def fitting(documents: Sequence[Document], max_length: int, source: str) -> list[Document]:
    """The documents whose longest path is at most `max_length` tokens. None at all is an error."""
    kept = [document for document in documents if document.longest <= max_length]
    if not kept:
        shortest = min((document.longest for document in documents), default=0)
        found = f"no row fits max_length {max_length}; the shortest of {len(documents)} has {shortest} tokens"
        raise DataError(Problem(source, found, f"Raise max_length to {shortest} or more."))
    return kept
