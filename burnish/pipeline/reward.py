"""The reward stage: a model that scores answers, learned from rankings, and how far it can be trusted.

Its accuracy stands beside what it must beat (the best length rule, a model of the same kind trained on shuffled labels)
and what it cannot beat (the ceiling that people's own agreement implies). All are counted on the same held-out pairs,
with intervals over prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue

from burnish.batches import Batch, Document, pack
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import ranked_document
from burnish.data.order import draw
from burnish.data.packing import best_fit
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype, save_trainable
from burnish.pipeline.recipe import RewardModel
from burnish.pipeline.sources import rankings
from burnish.pipeline.speaker import tuned_model
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import (
    MODEL,
    checkpoints,
    drop_checkpoints,
    fitting,
    longest_path,
    metrics_log,
    optim_config,
    steps_of,
    trained,
)
from burnish.records import durable
from burnish.rewards.model import EnsembleReward, ModelReward, normalised
from burnish.stats.agreement import Votes, human_ceiling, pairwise_agreement, undisputed
from burnish.stats.baselines import LengthRule, Pair, fit_length_rule
from burnish.stats.intervals import share
from burnish.store.snapshot import read_rows
from burnish.train.feeds import DatasetFeed
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import RewardModel as RewardObjective
from burnish.train.optim import Optimizer
from burnish.types import Estimate, Ranking

Hits = list[tuple[float, float]]
"""For each prompt: pairs ordered rightly (a tie of scores is half), pairs."""
Pairs = list[tuple[int, int]]
"""Places (better, worse) among the answers of one row."""
NORMALISATION = "normalisation"
_MEMBER = "member-"
"""Folders of an ensemble's second model and what follows, inside that of the first."""


def run(context: Context) -> Facts:
    """Train, measure on held-out prompts or in folds, seal the model with its normalisation, and state the figures."""
    settings = context.recipe.reward
    assert settings is not None
    found = rankings(context)
    tokenizer = Tokenizer.load(tuned_model(context))
    renderer = Renderer(tokenizer)
    train, long_train = _split(context, renderer, found.train)
    heldout, long_heldout = _split(context, renderer, found.heldout)
    report_path = context.folder / "report.json"
    if not (trained(context.folder) and report_path.is_file()):
        durable.write_json(report_path, _measure(context, settings, train, heldout, tokenizer))
    drop_checkpoints(context.folder)
    report: dict[str, JsonValue] = json.loads(report_path.read_bytes())
    ceiling = _ceiling(context)
    return {
        **report,
        "human_ceiling": ceiling.as_json() if ceiling else None,
        "train_prompts": len(train.documents),
        "train_pairs": len(_all_pairs(train)),
        "heldout_pairs": len(_all_pairs(heldout)),
        "dropped_rows": len(found.dropped),
        "too_long": long_train + long_heldout,
    }


def load_reward(folder: Path, dtype: torch.dtype) -> EnsembleReward:
    """The sealed reward models of a run, each with the normalisation it was given."""
    durable.verify(folder)
    return EnsembleReward(tuple(_load_member(each, dtype) for each in [folder, *sorted(folder.glob(f"{_MEMBER}*"))]))


def _load_member(folder: Path, dtype: torch.dtype) -> ModelReward:
    norm: dict[str, float] = json.loads((folder / f"{NORMALISATION}.json").read_bytes())
    module = load_trainable(folder, dtype=dtype, lm=False, score=True)
    return ModelReward(module.requires_grad_(False), norm["mean"], norm["std"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """One side of the data, aligned: trees, the prompts they belong to, and the ranks of their answers."""

    documents: list[Document]
    prompts: list[str]
    ranks: list[list[int]]

    def part(self, places: Sequence[int]) -> _Split:
        return _Split(
            documents=[self.documents[i] for i in places],
            prompts=[self.prompts[i] for i in places],
            ranks=[self.ranks[i] for i in places],
        )

    def shuffled(self, seed: int) -> _Split:
        """The same with each prompt's ranks in random order: whatever is learned from it is not preference."""
        mixed = [_shuffled(ranks, draw(seed, "shuffle", d.row)) for d, ranks in self._items()]
        return replace(self, ranks=mixed)

    def pairs(self) -> list[list[Pair]]:
        """For each row, its ordered pairs of answers as (tokens, tokens, whether the first won)."""
        return [_row_pairs(ranks, [len(branch) for branch in d.branches]) for d, ranks in self._items()]

    def by_prompt(self, counts: Sequence[tuple[float, float]]) -> Hits:
        """Counts of rows that share a prompt added up: the prompt is the independent unit."""
        added: dict[str, tuple[float, float]] = {}
        for prompt, (right, pairs) in zip(self.prompts, counts, strict=True):
            before = added.get(prompt, (0.0, 0.0))
            added[prompt] = (before[0] + right, before[1] + pairs)
        return list(added.values())

    def ordered(self) -> list[Pairs]:
        """For each row the pairs that its agreed ranks order."""
        return [undisputed([ranks]) for ranks in self.ranks]

    def hits(self, scores: Sequence[Sequence[float]], pairs: Sequence[Pairs]) -> Hits:
        """Per prompt that has any, how many of `pairs` the scores order rightly."""
        counts = [
            (sum(float(s[i] > s[j]) + 0.5 * float(s[i] == s[j]) for i, j in row), float(len(row)))
            for s, row in zip(scores, pairs, strict=True)
        ]
        return [count for count in self.by_prompt(counts) if count[1]]

    def _items(self) -> list[tuple[Document, list[int]]]:
        return list(zip(self.documents, self.ranks, strict=True))


def _split(context: Context, renderer: Renderer, rows: Sequence[Ranking]) -> tuple[_Split, int]:
    """The rows that have an ordered pair and fit, and how many did not fit."""
    assert context.recipe.reward is not None
    limit = context.recipe.reward.max_length
    useful = [row for row in rows if len(set(row.ranks)) > 1]
    made = [_numbered(ranked_document(renderer, row), number) for number, row in enumerate(useful)]
    kept = [i for i, document in enumerate(made) if longest_path(document) <= limit]
    if useful and not kept:
        fitting(made, limit, "rankings")  # says what would fit
    everything = _Split(
        documents=made, prompts=[row.prompt.id for row in useful], ranks=[list(row.ranks) for row in useful]
    )
    return everything.part(kept), len(made) - len(kept)


def _shuffled(ranks: Sequence[int], seed: int) -> list[int]:
    return [int(rank) for rank in np.random.Generator(np.random.Philox(seed)).permutation(ranks)]


def _row_pairs(ranks: Sequence[int], lengths: Sequence[int]) -> list[Pair]:
    return [
        (lengths[i], lengths[j], ranks[i] < ranks[j])
        for i, j in combinations(range(len(ranks)), 2)
        if ranks[i] != ranks[j]
    ]


def _numbered(document: Document, number: int) -> Document:
    """Rankings may share a prompt; rows of a feed may not share a name."""
    return replace(document, row=f"{document.row}#{number}")


def _measure(
    context: Context, settings: RewardModel, train: _Split, heldout: _Split, tokenizer: Tokenizer
) -> dict[str, Any]:
    reward = _final(context, settings, train, tokenizer)
    clear: Hits = []
    if settings.folds:
        hits, control, rule_hits, rule = _by_folds(context, settings, train)
    else:
        scores = scores_of(reward, heldout.documents, settings.micro_tokens)
        hits = heldout.hits(scores, heldout.ordered())
        clear = heldout.hits(scores, _undisputed(heldout, _votes(context)))
        control = _hits(_control(context, settings, train, "control"), heldout, settings.micro_tokens)
        rule = fit_length_rule(_all_pairs(train))
        rule_hits = _rule_hits(rule, heldout)
    return {
        "accuracy": _estimate(hits).as_json(),
        "undisputed": _estimate(clear).as_json() if clear else None,
        "measured": f"{settings.folds}-fold cross-validation by prompt" if settings.folds else "held-out prompts",
        "shuffled": _estimate(control).as_json(),
        "length_rule": {"rule": str(rule), **_estimate(rule_hits).as_json()},
    }


def _final(context: Context, settings: RewardModel, train: _Split, tokenizer: Tokenizer) -> EnsembleReward:
    """The models that PPO will use, sealed; they learn from all training rows."""
    if trained(context.folder):
        return load_reward(context.folder / MODEL, pick_dtype(context.recipe.dtype))
    packed = _packed(train.documents, settings.micro_tokens)
    members = [normalised(_member(context, settings, train, k), packed) for k in range(settings.members)]
    with durable.folder(context.folder / MODEL) as aside:
        for number, member in enumerate(members):
            _save_member(member, _member_folder(aside, number), tokenizer)
    drop_checkpoints(context.folder)
    return EnsembleReward(tuple(members))


def _member_folder(first: Path, number: int) -> Path:
    """Where an ensemble's model `number` lies: the first in the folder itself, the others in folders inside it."""
    return first / f"{_MEMBER}{number + 1:02d}" if number else first


def _member(context: Context, settings: RewardModel, train: _Split, number: int) -> Trainable:
    """The ensemble's model `number`; the first leaves its curves in the stage's own folder."""
    label = f"reward: training {number + 1} of {settings.members}" if settings.members > 1 else "reward: training"
    return _fitted(context, settings, train, _member_folder(context.folder, number), label, member=number)


def _save_member(member: ModelReward, folder: Path, tokenizer: Tokenizer) -> None:
    folder.mkdir(exist_ok=True)
    save_trainable(member.module, folder, tokenizer, dtype=next(member.module.parameters()).dtype)
    durable.write_json(folder / f"{NORMALISATION}.json", {"mean": member.mean, "std": member.std})


def _control(context: Context, settings: RewardModel, train: _Split, name: str) -> ModelReward:
    """A reward model of the same kind whose labels were shuffled: it must come out at one half."""
    mixed = train.shuffled(context.recipe.seed)
    return ModelReward(_fitted(context, settings, mixed, context.folder / name, "reward: shuffled labels"))


def _fitted(
    context: Context, settings: RewardModel, split: _Split, folder: Path, label: str, member: int = 0
) -> Trainable:
    """A reward model of `split`. Members differ in their first score head and in the order of what they read."""
    recipe = context.recipe
    seed = draw(recipe.seed, "member", member) if member else recipe.seed
    torch.manual_seed(draw(seed, "score head"))
    module = load_trainable(
        tuned_model(context), dtype=pick_dtype(recipe.dtype), lm=False, score=True, layers=settings.layers
    )
    steps = steps_of(settings, len(split.documents))
    feed = DatasetFeed(
        split.documents,
        per_step=settings.batch_size,
        micro_tokens=settings.micro_tokens,
        seed=seed,
        ranks=split.ranks,
    )
    fit(
        module,
        feed,
        RewardObjective(),
        Optimizer(module, optim_config(settings, steps)),
        FitConfig(steps=steps, seed=recipe.seed, save_every=settings.save_every),
        log=metrics_log(folder),
        checkpoints=checkpoints(folder),
        progress=context.progress,
        label=label,
    )
    return module


def _by_folds(context: Context, settings: RewardModel, data: _Split) -> tuple[Hits, Hits, Hits, str]:
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


def _one_fold(context: Context, settings: RewardModel, inside: _Split, outside: _Split, fold: int) -> dict[str, Any]:
    folder = context.folder / f"fold-{fold}"
    module = _fitted(context, settings, inside, folder, f"reward: fold {fold + 1} of {settings.folds}")
    hits = _hits(ModelReward(module), outside, settings.micro_tokens)
    # One control is enough to see a leak, and costs as much as a fold: the first fold has it.
    control = _hits(_control(context, settings, inside, "control"), outside, settings.micro_tokens) if not fold else []
    rule = fit_length_rule(_all_pairs(inside))
    return {"hits": hits, "control": control, "ruled": _rule_hits(rule, outside), "rule": str(rule)}


def _packed(documents: Sequence[Document], micro_tokens: int) -> list[Batch]:
    return [pack(part) for part in best_fit(documents, micro_tokens)]


def scores_of(
    reward: ModelReward | EnsembleReward, documents: Sequence[Document], micro_tokens: int
) -> list[list[float]]:
    """For each document the scores of its answers. No two documents may share a row."""
    found: dict[str, list[float]] = {}
    for batch in _packed(documents, micro_tokens):
        scores_B = reward.scores(batch)
        for number, row in enumerate(batch.rows):
            found[row] = scores_B[batch.prompt_B == number].tolist()
    return [found[document.row] for document in documents]


def _hits(reward: ModelReward, split: _Split, micro_tokens: int) -> Hits:
    """Per prompt, over its ordered pairs."""
    return split.hits(scores_of(reward, split.documents, micro_tokens), split.ordered())


def _undisputed(split: _Split, votes: Mapping[str, Votes]) -> list[Pairs]:
    """For each row the pairs that all of its annotators order alike."""
    return [undisputed(votes.get(prompt, ())) for prompt in split.prompts]


def _estimate(hits: Hits) -> Estimate:
    table = np.array(hits, dtype=np.float64)
    return share(table[:, 0], table[:, 1])


def _rule_hits(rule: LengthRule, split: _Split) -> Hits:
    found = [rule.hits(pairs) for pairs in split.pairs()]
    return split.by_prompt([(float(sum(each)), float(len(each))) for each in found])


def _all_pairs(split: _Split) -> list[Pair]:
    return [pair for pairs in split.pairs() for pair in pairs]


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
