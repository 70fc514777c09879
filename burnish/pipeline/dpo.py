"""The dpo stage: the tuned model learns from rankings without a reward model (Rafailov et al. 2023 and relatives).

It starts where ppo starts, at the tuned model, which is the reference too: the two can be compared, and a recipe may
have either. What it learned is measured on the held-out rankings, by its own implicit reward.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype
from burnish.pipeline.objectives import direct_preference
from burnish.pipeline.ranked import Side, accuracy, evaluated, feed_of, sides
from burnish.pipeline.recipe import Dpo
from burnish.pipeline.referenced import referenced
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import MODEL, drop_checkpoints, figures, teach, trained, within
from burnish.records import durable
from burnish.train.direct import DirectPreference
from burnish.train.feeds import Feed
from burnish.train.objectives import predicted


def run(context: Context) -> Facts:
    """Train, seal the policy, measure it on held-out rankings, and state the figures."""
    settings = context.recipe.dpo
    assert settings is not None
    settings = within(settings, tuned_model(context))
    tokenizer = Tokenizer.load(tuned_model(context))
    found = sides(context, Renderer(tokenizer), settings)
    if not trained(context.folder):
        _train(context, settings, found.train, tokenizer)
    drop_checkpoints(context.folder)
    report = context.folder / "report.json"
    if not report.is_file():
        durable.write_json(report, _measured(context, settings, found.heldout))
    measured: dict[str, Any] = json.loads(report.read_bytes())
    return {
        **measured,
        "loss": settings.loss,
        "beta": settings.strength,
        **found.facts,
        **figures(settings, context.folder),
    }


def _train(context: Context, settings: Dpo, train: Side, tokenizer: Tokenizer) -> None:
    objective = direct_preference(settings)
    learned, held = evaluated(context, settings, train)

    def feed(module: Trainable, side: Side, per_step: int) -> Feed:
        found = feed_of(side, settings, per_step, context.recipe.seed)
        if objective.reference_free:
            return found
        return referenced(context, found, module, save_every=settings.save_every, label="dpo: reference")

    def feeds(module: Trainable) -> tuple[Feed, Feed | None]:
        evaluating = feed(module, held, len(held.documents)) if held else None
        return feed(module, learned, settings.batch_size), evaluating

    start, name = tuned_model(context), tuned_name(context)
    teach(context, settings, start, name, tokenizer, feeds, rows=len(learned.documents))


@dataclass(frozen=True, slots=True)
class _Implicit:
    """The policy as a scorer of answers: what its objective compares."""

    objective: DirectPreference
    policy: Trainable
    reference: Trainable | None

    @torch.no_grad()
    def scores(self, batch: Batch) -> Tensor:
        """One number an answer. Shape B."""
        if self.reference is not None:
            batch = batch.with_extra(ref_logprobs_N=predicted(self.reference(batch)))
        return self.objective.values(predicted(self.policy(batch)), batch)


def _measured(context: Context, settings: Dpo, heldout: Side) -> dict[str, Any]:
    """The share of held-out pairs that the sealed policy's implicit reward orders as people did."""
    dtype = pick_dtype(context.recipe.dtype)
    objective = direct_preference(settings)
    policy = load_trainable(context.folder / MODEL, dtype=dtype)
    reference = None if objective.reference_free else load_trainable(tuned_model(context), dtype=dtype)
    hits = heldout.hits_of(_Implicit(objective, policy, reference), settings.micro_tokens, context.progress)
    return {"accuracy": accuracy(hits).as_json() if hits else None}
