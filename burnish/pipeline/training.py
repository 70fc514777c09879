"""What the trained stages share: from a recipe's settings to documents, optimiser and loop. Knows no method."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from burnish.batches import Document
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError, Problem
from burnish.models.forward import Trainable
from burnish.models.load import save_trainable
from burnish.pipeline.recipe import Optim, Ppo
from burnish.records import durable
from burnish.runs import MetricsLog
from burnish.train.checkpoint import Checkpoints
from burnish.train.optim import OptimConfig

MODEL = "model"


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


def metrics_log(folder: Path) -> MetricsLog:
    return MetricsLog(folder / "metrics.jsonl")


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder / "checkpoints")


def trained(folder: Path) -> bool:
    """Whether the stage's model stands already, whole: a kill after sealing costs nothing."""
    if not (folder / MODEL).is_dir():
        return False
    durable.verify(folder / MODEL)
    return True


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
    kept = [document for document in documents if longest_path(document) <= max_length]
    if not kept:
        shortest = min((longest_path(document) for document in documents), default=0)
        found = f"no row fits max_length {max_length}; the shortest of {len(documents)} has {shortest} tokens"
        raise DataError(Problem(source, found, f"Raise max_length to {shortest} or more."))
    return kept


def longest_path(document: Document) -> int:
    """Tokens of the longest sequence that the document stands for."""
    return len(document.ids) + max((len(branch) for branch in document.branches), default=0)
