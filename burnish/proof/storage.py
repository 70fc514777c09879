"""Measures of what the disk gives back: a resumed run, a saved model. Knows checkpoints and folders; judges nothing."""

from __future__ import annotations

import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.batches import pack
from burnish.models.load import load_trainable, save_trainable
from burnish.proof.law import Measured
from burnish.proof.subject import Subject, Trial, with_heads
from burnish.records import durable
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import DatasetFeed, Work
from burnish.train.loop import FitConfig, fit
from burnish.train.optim import OptimConfig, Optimizer

UPDATES = 2
"""One before the checkpoint, one after it: the fewest with which lost moments show."""


def resumed(subject: Subject, method: str, way: str) -> Measured:
    """Tensors of weights and optimiser that differ between a run of two updates and one cut after the first.

    The first run leaves the checkpoint that the second one starts from, so that three updates are made in all.
    """
    trial = subject.trial(method, way)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep=1)
        straight = _trained(subject, trial, way, checkpoints, began=0)
        again = _trained(subject, trial, way, checkpoints, began=1)
    return Measured.one(_differing(straight, again), f"{len(straight)} tensors")


def saved(subject: Subject) -> Measured:
    """Tensors that differ between a model whose weights were moved and what its saved folder loads as: weights, heads,
    log-probabilities, values and scores."""
    module = subject.load()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1 + 2**-12)
    batch = pack(subject.material.trees)
    with tempfile.TemporaryDirectory() as folder:
        with durable.folder(Path(folder) / "model") as filling:
            save_trainable(module, filling, subject.tokenizer, dtype=torch.float32)
        again = load_trainable(Path(folder) / "model", dtype=torch.float32, value=True, score=True)
    states: list[dict[str, str]] = []
    for each in (module, again):
        with torch.no_grad():
            output = each(batch)
        said = {"logprobs": output.logprobs_N, "values": output.values_N, "scores": output.scores_B}
        states.append(_digests({**each.state_dict(), **said}))
    return Measured.one(_differing(*states), f"{len(states[0])} tensors")


def _trained(subject: Subject, trial: Trial, way: str, checkpoints: Checkpoints, *, began: int) -> dict[str, str]:
    """Digests of what a run of two updates ends with; it has to begin after `began` of them."""
    module = with_heads(subject.load(way), trial.method.heads)
    optimizer = Optimizer(module, OptimConfig(lr=1e-4, steps=UPDATES))
    start = fit(
        module,
        _Fed(trial),
        trial.method.objective,
        optimizer,
        FitConfig(steps=UPDATES, seed=0, save_every=1),
        checkpoints=checkpoints,
        progress=subject.progress,
        label="with a checkpoint" if not began else "resumed",
    )
    assert start == began
    return _digests({**module.state_dict(), **optimizer.tensors()})


class _Fed(DatasetFeed):
    """The feed of data sets, and what the method's own feed adds."""

    def __init__(self, trial: Trial) -> None:
        longest = max(document.tokens for document in trial.documents)
        super().__init__(trial.documents, per_step=2, micro_tokens=longest, seed=0)
        self._trial = trial

    def next(self, step: int) -> Work:
        return Work([self._trial.filled(batch) for batch in super().next(step).batches])


def _digests(tensors: dict[str, Any]) -> dict[str, str]:
    return {name: sha256(_bytes(tensor)).hexdigest() for name, tensor in tensors.items()}


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().data


def _differing(one: dict[str, str], other: dict[str, str]) -> int:
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())
