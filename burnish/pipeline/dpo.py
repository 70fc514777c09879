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
from burnish.pipeline.key import folder_content
from burnish.pipeline.objectives import direct_preference
from burnish.pipeline.ranked import Side, accuracy, sides
from burnish.pipeline.recipe import Dpo
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import (
    MODEL,
    drop_checkpoints,
    keep,
    keep_adapter,
    learn,
    metrics_log,
    steps_of,
    trained,
    with_adapter,
)
from burnish.records import durable
from burnish.train.direct import DirectPreference
from burnish.train.feeds import DatasetFeed, Feed
from burnish.train.messages import world
from burnish.train.objectives import predicted
from burnish.train.references import ReferencedFeed, reference_logprobs

REFERENCES = ".references"
"""Folder of a run for what references said: it outlives a change of settings that they do not depend on."""


def run(context: Context) -> Facts:
    """Train, seal the policy, measure it on held-out rankings, and state the figures."""
    settings = context.recipe.dpo
    assert settings is not None
    tokenizer = Tokenizer.load(tuned_model(context))
    found = sides(context, Renderer(tokenizer), settings.max_length)
    if not trained(context.folder):
        _train(context, settings, found.train, tokenizer)
    drop_checkpoints(context.folder)
    report = context.folder / "report.json"
    if not report.is_file():
        durable.write_json(report, _measured(context, settings, found.heldout))
    measured: dict[str, Any] = json.loads(report.read_bytes())
    losses = [row["loss"] for row in metrics_log(context.folder).read()]
    return {
        **measured,
        "loss": settings.loss,
        "beta": settings.strength,
        **found.facts,
        "steps": len(losses),
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }


def _train(context: Context, settings: Dpo, train: Side, tokenizer: Tokenizer) -> None:
    recipe = context.recipe
    start = tuned_model(context)
    module = with_adapter(load_trainable(start, dtype=pick_dtype(recipe.dtype)), settings, recipe.seed)
    objective = direct_preference(settings)
    steps = steps_of(settings, len(train.documents))
    learn(
        context,
        module,
        _feed(context, settings, train, module, objective),
        steps=steps,
        save_every=settings.save_every,
        folder=context.folder,
        label="dpo: training",
    )
    keep_adapter(module, context.folder, start, tuned_name(context))
    keep(module, tokenizer, context.folder)


def _feed(context: Context, settings: Dpo, train: Side, untrained: Trainable, objective: DirectPreference) -> Feed:
    """The rankings, with what the reference said: that is the module itself, before any step."""
    recipe = context.recipe
    feed = DatasetFeed(
        train.documents,
        per_step=settings.batch_size,
        micro_tokens=settings.micro_tokens,
        seed=recipe.seed,
        ranks=train.ranks,
        spread=world(),
    )
    if objective.reference_free:
        return feed
    dtype = str(next(untrained.parameters()).dtype)
    key = durable.digest_value([folder_content(tuned_model(context)), dtype, feed.digest()])
    reference = reference_logprobs(
        untrained,
        feed,
        context.run / REFERENCES / key[:16],
        save_every=settings.save_every,
        progress=context.progress,
        label="dpo: reference",
    )
    return ReferencedFeed(feed, reference)


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
    hits = heldout.hits_of(_Implicit(objective, policy, reference), settings.micro_tokens)
    return {"accuracy": accuracy(hits).as_json() if hits else None}
