"""The kto stage: the tuned model learns from answers called good or bad, one at a time (Ethayarajh et al. 2024).

It starts where dpo and ppo start, at the tuned model, which is the reference too. Answers to one prompt are one tree,
so that the prompt passes the model once. What was learned is measured on held-out prompts: how many of the good answers
became likelier than the reference has them, and how many of the bad ones less likely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from burnish.batches import Document, pack
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import labelled_document, of_rows
from burnish.data.packing import best_fit
from burnish.errors import DataError, Problem
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype
from burnish.pipeline.recipe import Kto
from burnish.pipeline.referenced import referenced
from burnish.pipeline.sources import apart, labelled
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import MODEL, drop_checkpoints, figures, fitting, teach, trained, within
from burnish.records import durable
from burnish.records.formats import read_labelled
from burnish.stats.intervals import share
from burnish.train.direct import log_ratios
from burnish.train.feeds import DatasetFeed, Feed, mismatched
from burnish.train.messages import world
from burnish.train.objectives import predicted
from burnish.types import Labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """Prompts with their labelled answers, aligned."""

    documents: list[Document]
    labels: list[list[bool]]

    @property
    def answers(self) -> int:
        return sum(map(len, self.labels))

    @property
    def desirable(self) -> int:
        return sum(map(sum, self.labels))


def run(context: Context) -> Facts:
    """Train, seal the policy, measure it on held-out answers, and state the figures."""
    settings = context.recipe.kto
    assert settings is not None
    settings = within(settings, tuned_model(context))
    tokenizer = Tokenizer.load(tuned_model(context))
    renderer = Renderer(tokenizer)
    learned, evaluated, heldout = _rows(context, settings)
    train, found = _side(renderer, learned, settings), _side(renderer, heldout, settings) if heldout else None
    if not trained(context.folder):
        _train(context, settings, train, _side(renderer, evaluated, settings) if evaluated else None, tokenizer)
    drop_checkpoints(context.folder)
    report = context.folder / "report.json"
    if not report.is_file():
        durable.write_json(report, _measured(context, settings, found) if found else {})
    measured: dict[str, Any] = json.loads(report.read_bytes())
    return {
        **measured,
        "beta": settings.beta,
        "answers": train.answers,
        "desirable": train.desirable,
        "prompts": len(train.documents),
        "too_long": len({row.prompt.id for row in learned}) - len(train.documents),
        **figures(settings, context.folder),
    }


def _rows(context: Context, settings: Kto) -> tuple[list[Labelled], list[Labelled], list[Labelled]]:
    """Those to learn from, to evaluate on meanwhile, and to measure on at the end; no prompt is in two of them."""
    learned, heldout = labelled(context)
    evaluated: list[Labelled] = []
    if settings.eval_data is not None:
        evaluated = read_labelled(context.path(settings.eval_data))
    elif settings.eval_every is not None:
        learned, evaluated = apart(learned, [row.prompt.unit for row in learned], settings, context.recipe.seed)
    if len({row.desirable for row in learned}) < 2:
        found = f"the {len(learned)} answers to learn from are all of one kind"
        raise DataError(Problem("kto.data", found, "Give more rows, or lower held_out."))
    return learned, evaluated, heldout


def _side(renderer: Renderer, rows: Sequence[Labelled], settings: Kto) -> _Side:
    """A tree a prompt. Raises DataError where none fits `max_length`."""
    by_prompt: dict[str, list[Labelled]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt.id, []).append(row)
    documents = of_rows(
        lambda answers: labelled_document(renderer, answers), by_prompt.values(), lambda answers: answers[0].prompt.id
    )
    kept = fitting(documents, settings, settings.data or "collect")
    return _Side(documents=kept, labels=[[each.desirable for each in by_prompt[d.row]] for d in kept])


def _train(context: Context, settings: Kto, train: _Side, evaluated: _Side | None, tokenizer: Tokenizer) -> None:
    def feed(module: Trainable, side: _Side, per_step: int) -> Feed:
        found = DatasetFeed(
            side.documents,
            per_step=per_step,
            micro_tokens=settings.micro_tokens,
            seed=context.recipe.seed,
            desirable=side.labels,
            measured=mismatched(side.documents, min(settings.max_length, settings.micro_tokens)),
            spread=world(),
        )
        return referenced(context, found, module, save_every=settings.save_every, label="kto: reference")

    def feeds(module: Trainable) -> tuple[Feed, Feed | None]:
        evaluating = feed(module, evaluated, len(evaluated.documents)) if evaluated else None
        return feed(module, train, settings.batch_size), evaluating

    start, name = tuned_model(context), tuned_name(context)
    teach(context, settings, start, name, tokenizer, feeds, rows=len(train.documents))


@torch.no_grad()
def _measured(context: Context, settings: Kto, heldout: _Side) -> dict[str, Any]:
    """Shares of the held-out answers that the sealed policy moved as their labels ask, of each kind by itself: where
    most answers are good, a policy that raised all of them would look well in one figure."""
    dtype = pick_dtype(context.recipe.dtype)
    policy, reference = (load_trainable(each, dtype=dtype) for each in (context.folder / MODEL, tuned_model(context)))
    labels = {d.row: labels for d, labels in zip(heldout.documents, heldout.labels, strict=True)}
    moved: dict[str, list[float]] = {}
    for part in best_fit(heldout.documents, settings.micro_tokens):
        batch = pack(part)
        batch = batch.with_extra(ref_logprobs_N=predicted(reference(batch)))
        ratio_B = log_ratios(predicted(policy(batch)), batch)
        for number, row in enumerate(batch.rows):
            moved[row] = ratio_B[batch.prompt_B == number].tolist()
    return {"raised": _moved(labels, moved, good=True), "lowered": _moved(labels, moved, good=False)}


def _moved(labels: Mapping[str, list[bool]], moved: Mapping[str, list[float]], *, good: bool) -> Any:
    """The share of one kind of answers that moved its way; one that did not move counts half."""
    sign = 1 if good else -1
    table = [
        [
            0.5 + 0.5 * float(np.sign(sign * ratio))
            for label, ratio in zip(labels[row], moved[row], strict=True)
            if label is good
        ]
        for row in labels
    ]
    found = [(sum(each), float(len(each))) for each in table if each]
    return share(*np.array(found, dtype=np.float64).T).as_json() if found else None
