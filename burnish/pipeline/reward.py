"""The reward stage: a model that scores answers, learned from rankings, and how far it can be trusted.

Its accuracy stands beside what it must beat (the best length rule, a model of the same kind trained on shuffled labels)
and what it cannot beat (the ceiling that people's own agreement implies). All are counted on the same held-out pairs,
with intervals over prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw, resampled, set_apart
from burnish.models.critic import critic_of
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype, save_trainable
from burnish.pipeline.ranked import Hits, Pairs, Side, accuracy, evaluated, feed_of, packed, scores_of, sides
from burnish.pipeline.recipe import RewardModel
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import (
    MODEL,
    drop_checkpoints,
    figures,
    keep_adapter,
    learn,
    steps_of,
    trained,
    with_adapter,
)
from burnish.records import durable
from burnish.rewards.model import Combine, EnsembleReward, ModelReward, normalised
from burnish.stats.agreement import Votes, human_ceiling, pairwise_agreement, undisputed
from burnish.stats.baselines import LengthRule, fit_length_rule
from burnish.store.snapshot import read_rows
from burnish.types import Estimate

NORMALISATION = "normalisation"
_NORMALISED_ON = 64
"""Prompts whose answers give the normalisation: with 4 answers each, a mean known to 0.06 standard deviations."""
WATCHER = "watcher"
"""The folder, inside that of the first member, of the model that policies are not paid by."""
_MEMBER = "member-"
"""Folders of an ensemble's second model and what follows, inside that of the first."""


def run(context: Context) -> Facts:
    """Train, measure on held-out prompts or in folds, seal the model with its normalisation, and state the figures."""
    settings = context.recipe.reward
    assert settings is not None
    tokenizer = Tokenizer.load(tuned_model(context))
    found = sides(context, Renderer(tokenizer), settings)
    learned, watched = _set_apart(found.train, settings.watcher, context.recipe.seed)
    report_path = context.folder / "report.json"
    if not (trained(context.folder) and report_path.is_file()):
        durable.write_json(report_path, _measure(context, settings, learned, watched, found.heldout, tokenizer))
    drop_checkpoints(context.folder)
    report: dict[str, JsonValue] = json.loads(report_path.read_bytes())
    ceiling = _ceiling(context)
    return {
        **report,
        **figures(settings, context.folder),
        "human_ceiling": ceiling.as_json() if ceiling else None,
        **found.facts,
    }


def load_reward(
    folder: Path, dtype: torch.dtype, *, combine: Combine = "mean", spread_coef: float = 1.0
) -> EnsembleReward:
    """The sealed reward models of a run, each with the normalisation it was given, and how they are taken together."""
    durable.verify(folder)
    members = tuple(_load_member(each, dtype) for each in [folder, *sorted(folder.glob(f"{_MEMBER}*"))])
    return EnsembleReward(members, combine, spread_coef)


def load_critic(folder: Path, dtype: torch.dtype) -> Trainable:
    """The first of the sealed reward models of a run, as a value function."""
    member = load_reward(folder, dtype).members[0]
    return critic_of(member.module, member.mean, member.std)


def load_watcher(folder: Path, dtype: torch.dtype) -> EnsembleReward:
    """The sealed reward model of a run that policies are not paid by."""
    durable.verify(folder)
    return EnsembleReward((_load_member(folder / WATCHER, dtype),))


def _set_apart(train: Side, share: float | None, seed: int) -> tuple[Side, Side | None]:
    """What the members learn, and what the watcher learns: by prompts, so that neither has seen the other's."""
    if share is None:
        return train, None
    own = set_apart(train.prompts, share, draw(seed, WATCHER))
    return train.part([i for i, its in enumerate(own) if not its]), train.part([i for i, its in enumerate(own) if its])


def _load_member(folder: Path, dtype: torch.dtype) -> ModelReward:
    norm: dict[str, float] = json.loads((folder / f"{NORMALISATION}.json").read_bytes())
    module = load_trainable(folder, dtype=dtype, lm=False, score=True)
    return ModelReward(module.requires_grad_(False), norm["mean"], norm["std"])


def _measure(
    context: Context, settings: RewardModel, train: Side, watched: Side | None, heldout: Side, tokenizer: Tokenizer
) -> dict[str, Any]:
    reward = _final(context, settings, train, watched, tokenizer)
    clear: Hits = []
    if settings.folds:
        hits, control, rule_hits, rule = _by_folds(context, settings, train)
    else:
        scores = scores_of(reward, heldout.documents, settings.micro_tokens)
        hits = heldout.hits(scores, heldout.ordered())
        clear = heldout.hits(scores, _undisputed(heldout, _votes(context)))
        control = heldout.hits_of(_control(context, settings, train, "control"), settings.micro_tokens)
        rule = fit_length_rule(train.all_pairs())
        rule_hits = _rule_hits(rule, heldout)
    return {
        "accuracy": accuracy(hits).as_json(),
        "undisputed": accuracy(clear).as_json() if clear else None,
        "measured": f"{settings.folds}-fold cross-validation by prompt" if settings.folds else "held-out prompts",
        "shuffled": accuracy(control).as_json(),
        "length_rule": {"rule": str(rule), **accuracy(rule_hits).as_json()},
        "watcher": _watcher_accuracy(context, settings, train) if watched else None,
    }


def _watcher_accuracy(context: Context, settings: RewardModel, others: Side) -> dict[str, float]:
    """On what the members learned: the watcher has seen none of it."""
    watcher = load_watcher(context.folder / MODEL, pick_dtype(context.recipe.dtype))
    return accuracy(others.hits_of(watcher, settings.micro_tokens)).as_json()


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
    return first / f"{_MEMBER}{number + 1:02d}" if number else first


def _member(context: Context, settings: RewardModel, train: Side, number: int) -> Trainable:
    """The ensemble's model `number`; the first leaves its curves in the stage's own folder."""
    label = f"reward: training {number + 1} of {settings.members}" if settings.members > 1 else "reward: training"
    if settings.bootstrap:
        train = train.part(resampled(train.prompts, draw(context.recipe.seed, "bootstrap", number)))
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


def _control(context: Context, settings: RewardModel, train: Side, name: str) -> ModelReward:
    """A reward model of the same kind whose labels were shuffled: it must come out at one half."""
    mixed = train.shuffled(context.recipe.seed)
    return ModelReward(_fitted(context, settings, mixed, context.folder / name, "reward: shuffled labels"))


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
        save_every=settings.save_every,
        folder=folder,
        label=label,
        held=feed_of(held, settings, len(held.documents), seed) if held else None,
    )
    return module


def _by_folds(context: Context, settings: RewardModel, data: Side) -> tuple[Hits, Hits, Hits, str]:
    """Every prompt is held out once. A finished fold is kept, so that a killed run does not train it again."""
    fold_of = {prompt: draw(context.recipe.seed, "fold", prompt) % settings.folds for prompt in data.prompts}
    hits, control, ruled, rules = [], [], [], []
    for fold in range(settings.folds):
        kept = context.folder / f"fold-{fold}.json"
        if not kept.is_file():
            inside = data.part([i for i, p in enumerate(data.prompts) if fold_of[p] != fold])
            outside = data.part([i for i, p in enumerate(data.prompts) if fold_of[p] == fold])
            durable.write_json(kept, _one_fold(context, settings, inside, outside, fold))
        found: dict[str, Any] = json.loads(kept.read_bytes())
        hits += found["hits"]
        control += found["control"]
        ruled += found["ruled"]
        rules.append(found["rule"])
    return hits, control, ruled, "; ".join(sorted(set(rules)))


def _one_fold(context: Context, settings: RewardModel, inside: Side, outside: Side, fold: int) -> dict[str, Any]:
    folder = context.folder / f"fold-{fold}"
    module = _fitted(context, settings, inside, folder, f"reward: fold {fold + 1} of {settings.folds}")
    hits = outside.hits_of(ModelReward(module), settings.micro_tokens)
    # One control is enough to see a leak, and costs as much as a fold: the first fold has it.
    control = outside.hits_of(_control(context, settings, inside, "control"), settings.micro_tokens) if not fold else []
    rule = fit_length_rule(inside.all_pairs())
    return {"hits": hits, "control": control, "ruled": _rule_hits(rule, outside), "rule": str(rule)}


def _spread(documents: Sequence[Document], count: int) -> Sequence[Document]:
    """At most `count` of the documents, evenly from first to last: files are often sorted."""
    return documents[:: -(-len(documents) // count)]


def _undisputed(split: Side, votes: Mapping[str, Votes]) -> list[Pairs]:
    """For each row the pairs that all of its annotators order alike."""
    return [undisputed(votes.get(prompt, ())) for prompt in split.prompts]


def _rule_hits(rule: LengthRule, split: Side) -> Hits:
    found = [rule.hits(pairs) for pairs in split.pairs()]
    return split.by_prompt([(float(sum(each)), float(len(each))) for each in found])


def _ceiling(context: Context) -> Estimate | None:
    """What a perfect model would score on the held-out prompts, as far as the annotators' agreement tells."""
    votes = list(_votes(context).values())
    agreement = pairwise_agreement(votes) if votes else None
    people = round(sum(len(each) for each in votes) / max(1, len(votes)))
    return human_ceiling(agreement, people) if agreement else None


def _votes(context: Context) -> dict[str, Votes]:
    """What each annotator said of the held-out prompts; empty for rankings that came from elsewhere."""
    if "collect" not in context.inputs:
        return {}
    rows = read_rows(context.inputs["collect"] / "snapshot", "heldout")
    return {row.ranking.prompt.id: [ranks for _, ranks in row.votes] for row in rows}
