"""The reward stage: a model that scores answers, learned from rankings, and how far it can be trusted.

Its figures (`burnish.pipeline.reward_report`) stand beside what it must beat (the best length rule, a model of the same
kind trained on shuffled labels) and what it cannot beat (the ceiling that people's own agreement implies). All are
counted on the same held-out pairs, with intervals over prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw, resampled, set_apart
from burnish.errors import ModelError, Problem
from burnish.models.adapter import Trunk
from burnish.models.critic import critic_of
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype, save_trainable
from burnish.pipeline.disagreement import write_disagreement
from burnish.pipeline.preflight import MEMBER
from burnish.pipeline.probes import liked
from burnish.pipeline.ranked import Side, Sides, accuracy, evaluated, feed_of, packed, sides
from burnish.pipeline.recipe import RewardModel
from burnish.pipeline.reward_measures import Measuring, ceiling, require_measurable
from burnish.pipeline.scored import scored
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import (
    ADAPTER,
    MODEL,
    drop_checkpoints,
    figures,
    keep_adapter,
    learn,
    steps_of,
    trained,
    with_adapter,
    within,
)
from burnish.records import durable
from burnish.rewards.model import Combine, EnsembleReward, ModelReward, normalised

NORMALISATION = "normalisation"
_NORMALISED_ON = 64
"""Prompts whose answers give the normalisation: with 4 answers each, a mean known to 0.06 standard deviations."""
WATCHER = "watcher"
"""The folder, inside that of the first member, of the model that policies are not paid by."""


def run(context: Context) -> Facts:
    """Train, measure on held-out prompts or in folds, seal the model with its normalisation, and state the figures."""
    settings = context.recipe.reward
    assert settings is not None
    settings = within(settings, tuned_model(context))
    tokenizer = Tokenizer.load(tuned_model(context))
    found = sides(context, Renderer(tokenizer), settings)
    report_path = context.folder / "report.json"
    if not (trained(context.folder) and report_path.is_file()):
        durable.write_json(report_path, _measure(context, settings, found, tokenizer))
    drop_checkpoints(context.folder)
    report: dict[str, Any] = json.loads(report_path.read_bytes())
    del report["annotators"]  # people's names stay in the run
    most = ceiling(context)
    return {
        **report,
        **figures(settings, context.folder),
        "likes": liked(report["probes"]),
        "human_ceiling": most.as_json() if most else None,
        **found.facts,
    }


def load_reward(
    folder: Path,
    dtype: torch.dtype,
    *,
    combine: Combine = "mean",
    spread_coef: float = 1.0,
    trunk: Trunk | None = None,
) -> EnsembleReward:
    """The sealed reward models of a run, each with the normalisation it was given, and how they are taken together.

    `trunk`: where their adapters lie beside them and were trained on its weights, they are adapters on it, which differ
    from the models themselves by rounding; of a run's own reward stage alone.

    Raises ModelError where there is none, DataError where one was changed.
    """
    if not (folder / f"{NORMALISATION}.json").is_file():
        mend = "Give the folder reward/model of a run that burnish reward made."
        raise ModelError(Problem(str(folder), "holds no reward model", mend))
    durable.verify(folder)
    names = ["", *sorted(each.name for each in folder.glob(f"{MEMBER}*"))]
    members = tuple(_load_member(folder, each, dtype, trunk) for each in names)
    return EnsembleReward(members, combine, spread_coef)


def load_critic(folder: Path, dtype: torch.dtype, trunk: Trunk | None = None) -> Trainable:
    """The first of the sealed reward models of a run, as a value function. `trunk` as for `load_reward`."""
    durable.verify(folder)
    member = _load_member(folder, "", dtype, trunk)
    return critic_of(member.module, member.mean, member.std)


def load_watcher(folder: Path, dtype: torch.dtype, trunk: Trunk | None = None) -> EnsembleReward:
    """The sealed reward model of a run that policies are not paid by. `trunk` as for `load_reward`."""
    durable.verify(folder)
    return EnsembleReward((_load_member(folder, WATCHER, dtype, trunk),))


def _set_apart(train: Side, share: float | None, seed: int) -> tuple[Side, Side | None]:
    """What the members learn, and what the watcher learns: unit by unit, so that neither has seen the other's."""
    if share is None:
        return train, None
    own = set_apart(train.units, share, draw(seed, WATCHER))
    return train.part([i for i, its in enumerate(own) if not its]), train.part([i for i, its in enumerate(own) if its])


def _load_member(first: Path, name: str, dtype: torch.dtype, trunk: Trunk | None) -> ModelReward:
    """`name`: of its folder inside the first one's, and of its adapter's inside the stage's; empty: the first."""
    folder = first / name
    norm: dict[str, float] = json.loads((folder / f"{NORMALISATION}.json").read_bytes())
    module = trunk.scoring(first.parent / name / ADAPTER) if trunk else None
    module = module or load_trainable(folder, dtype=dtype, lm=False, score=True)
    return ModelReward(module.requires_grad_(False), norm["mean"], norm["std"])


def _measure(context: Context, settings: RewardModel, found: Sides, tokenizer: Tokenizer) -> dict[str, Any]:
    train, watched = _set_apart(found.train, settings.watcher, context.recipe.seed)
    require_measurable(context, settings, train, found.heldout)
    fit = partial(_fitted, context, settings)
    measuring = Measuring(context=context, settings=settings, tokenizer=tokenizer, fit=fit)
    report = _of_members(measuring, _final(context, settings, train, watched, tokenizer), train, found.heldout)
    return {
        **(measuring.in_folds(train) if settings.folds else report),
        "watcher": _watcher_accuracy(context, settings, train) if watched else None,
    }


def _of_members(measuring: Measuring, reward: EnsembleReward, train: Side, heldout: Side) -> dict[str, Any]:
    """Where the members differ, and their figures; none where folds are measured, which are trained when the members
    have been let go."""
    context, settings = measuring.context, measuring.settings
    several = settings.members > 1
    if settings.folds and not several:
        return {}
    score = partial(scored, reward.members, micro_tokens=settings.micro_tokens, progress=context.progress)
    said = score(heldout)
    if several:
        write_disagreement(context.folder, score(train), said)
    return {} if settings.folds else measuring.held_out(reward, train, said)


def _watcher_accuracy(context: Context, settings: RewardModel, others: Side) -> dict[str, float]:
    """On what the members learned: the watcher has seen none of it."""
    watcher = load_watcher(context.folder / MODEL, pick_dtype(context.recipe.dtype))
    return accuracy(others.hits_of(watcher, settings.micro_tokens, context.progress)).as_json()


def _final(
    context: Context, settings: RewardModel, train: Side, watched: Side | None, tokenizer: Tokenizer
) -> EnsembleReward:
    """The models that PPO will use, sealed; they learn from all rows of `train`. Beside them the one that watches."""
    if trained(context.folder):
        return load_reward(context.folder / MODEL, pick_dtype(context.recipe.dtype))
    batches = packed(_spread(train.documents, _NORMALISED_ON), settings.micro_tokens)
    members = [normalised(_member(context, settings, train, k), batches) for k in range(settings.members)]
    watcher = normalised(_watcher(context, settings, watched), batches) if watched else None
    with durable.folder(context.folder / MODEL) as aside:
        for number, member in enumerate(members):
            _save_member(member, _member_folder(aside, number), tokenizer)
        if watcher:
            _save_member(watcher, aside / WATCHER, tokenizer)
    drop_checkpoints(context.folder)
    return EnsembleReward(tuple(members))


def _member_folder(first: Path, number: int) -> Path:
    """Where an ensemble's model `number` lies: the first in the folder itself, the others in folders inside it."""
    return first / f"{MEMBER}{number + 1:02d}" if number else first


def _member(context: Context, settings: RewardModel, train: Side, number: int) -> Trainable:
    """The ensemble's model `number`; the first leaves its curves in the stage's own folder."""
    label = f"reward: training {number + 1} of {settings.members}" if settings.members > 1 else "reward: training"
    if settings.bootstrap:
        train = train.part(resampled(train.units, draw(context.recipe.seed, "bootstrap", number)))
    return _merged(context, settings, train, _member_folder(context.folder, number), label, number)


def _watcher(context: Context, settings: RewardModel, watched: Side) -> Trainable:
    """The model that policies are not paid by."""
    return _merged(context, settings, watched, context.folder / WATCHER, "reward: training the watcher", -1)


def _merged(context: Context, settings: RewardModel, split: Side, folder: Path, label: str, member: int) -> Trainable:
    module = _fitted(context, settings, split, folder, label, member=member)
    keep_adapter(module, folder, tuned_model(context), tuned_name(context))
    return module


def _save_member(member: ModelReward, folder: Path, tokenizer: Tokenizer) -> None:
    folder.mkdir(exist_ok=True)
    save_trainable(member.module, folder, tokenizer, dtype=next(member.module.parameters()).dtype)
    durable.write_json(folder / f"{NORMALISATION}.json", {"mean": member.mean, "std": member.std})


def _fitted(
    context: Context, settings: RewardModel, split: Side, folder: Path, label: str, member: int = 0
) -> Trainable:
    """A reward model of `split`. Members differ in their first score head and in the order of what they read."""
    recipe = context.recipe
    seed = draw(recipe.seed, "member", member) if member else recipe.seed
    torch.manual_seed(draw(seed, "score head"))
    module = load_trainable(
        tuned_model(context), dtype=pick_dtype(recipe.dtype), lm=False, score=True, layers=settings.layers
    )
    module = with_adapter(module, settings, seed)
    learned, held = evaluated(context, settings, split)
    learn(
        context,
        module,
        feed_of(learned, settings, settings.batch_size, seed),
        steps=steps_of(settings, len(learned.documents)),
        rows=len(learned.documents),
        save_every=settings.save_every,
        folder=folder,
        label=label,
        held=feed_of(held, settings, len(held.documents), seed) if held else None,
    )
    return module


def _spread(documents: Sequence[Document], count: int) -> Sequence[Document]:
    """At most `count` of the documents, evenly from first to last: files are often sorted."""
    return documents[:: -(-len(documents) // count)]
