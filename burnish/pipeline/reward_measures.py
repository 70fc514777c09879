"""How far a reward model can be trusted: on held-out prompts or in folds, beside a control that learned noise.

Knows the sides of the data and is told how a model is fitted to one; knows no optimiser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw
from burnish.errors import DataError, Problem
from burnish.models.forward import Trainable
from burnish.pipeline.probes import probe
from burnish.pipeline.ranked import Hits, Side, accuracy
from burnish.pipeline.recipe import RewardModel
from burnish.pipeline.reward_report import Said, figures
from burnish.pipeline.scored import Scored, scored
from burnish.pipeline.stage import Context
from burnish.records import durable
from burnish.rewards.model import BatchScorer, EnsembleReward, ModelReward
from burnish.stats.agreement import human_ceiling, pairwise_agreement
from burnish.stats.baselines import LengthRule, fit_length_rule
from burnish.store.snapshot import SPLITS, Split, read_rows
from burnish.types import Estimate

Fit = Callable[[Side, Path, str], Trainable]
"""A model of a side; its checkpoints lie in the folder, and the text says what is being trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """What measuring a reward model takes beside the model and the data."""

    context: Context
    settings: RewardModel
    tokenizer: Tokenizer
    fit: Fit

    def held_out(self, reward: EnsembleReward, train: Side, measured: Scored) -> dict[str, Any]:
        """The figures of the trained model itself, of what it says of the held-out side."""
        heldout, rule = measured.side, fit_length_rule(train.all_pairs())
        return {
            "measured": "held-out prompts",
            **figures(measured, votes(self.context)),
            "shuffled": accuracy(self._control(train, heldout)).as_json(),
            "length_rule": {"rule": str(rule), **accuracy(_rule_hits(rule, heldout)).as_json()},
            "probes": self._probed(reward, measured),
        }

    def in_folds(self, data: Side) -> dict[str, Any]:
        """The figures of single models, each measured on the prompts that it was not shown: every prompt once.

        A finished fold is kept, so that a killed run does not train it again.
        """
        fold_of = folds_of(data.units, self.settings.folds, self.context.recipe.seed)
        places: list[int] = []
        folds: list[dict[str, Any]] = []
        for fold in range(self.settings.folds):
            kept = self.context.folder / f"fold-{fold}.json"
            outside = [i for i, unit in enumerate(data.units) if fold_of[unit] == fold]
            if not kept.is_file():
                inside = [i for i, unit in enumerate(data.units) if fold_of[unit] != fold]
                durable.write_json(kept, self._one_fold(data.part(inside), data.part(outside), fold))
            places += outside
            folds.append(json.loads(kept.read_bytes()))
        members = [row for each in folds for row in each["members"]]
        return {
            "measured": f"{self.settings.folds}-fold cross-validation by prompt",
            **figures(Scored(side=data.part(places), members=members, stds=[1.0]), votes(self.context)),
            "shuffled": accuracy(folds[0]["control"]).as_json(),
            "length_rule": {
                "rule": "; ".join(sorted({each["rule"] for each in folds})),
                **accuracy([hits for each in folds for hits in each["ruled"]]).as_json(),
            },
            "probes": folds[0]["probes"],
        }

    def _one_fold(self, inside: Side, outside: Side, fold: int) -> dict[str, Any]:
        folder = self.context.folder / f"fold-{fold}"
        model = ModelReward(self.fit(inside, folder, f"reward: fold {fold + 1} of {self.settings.folds}"))
        measured = scored([model], outside, self.settings.micro_tokens, self.context.progress)
        rule = fit_length_rule(inside.all_pairs())
        found: dict[str, Any] = {"members": measured.members, "ruled": _rule_hits(rule, outside), "rule": str(rule)}
        if fold:
            return found
        # One control is enough to see a leak, and costs as much as a fold; what one model likes, the others like too.
        return found | {"control": self._control(inside, outside), "probes": self._probed(model, measured)}

    def _control(self, train: Side, heldout: Side) -> Hits:
        """Of a model of the same kind that learned from shuffled labels: it must come out at one half."""
        mixed = train.shuffled(self.context.recipe.seed)
        module = self.fit(mixed, self.context.folder / "control", "reward: shuffled labels")
        return heldout.hits_of(ModelReward(module), self.settings.micro_tokens, self.context.progress)

    def _probed(self, scorer: BatchScorer, measured: Scored) -> list[dict[str, Any]]:
        return probe(
            scorer,
            Renderer(self.tokenizer),
            measured.side.rows,
            unit=measured.std(),
            max_length=self.settings.max_length,
            micro_tokens=self.settings.micro_tokens,
            progress=self.context.progress,
        )


def folds_of(units: Iterable[str], folds: int, seed: int) -> dict[str, int]:
    """In which fold each independent unit is held out."""
    return {unit: draw(seed, "fold", unit) % folds for unit in units}


def require_measurable(context: Context, settings: RewardModel, train: Side, heldout: Side) -> None:
    """Raises DataError where nothing would be held out."""
    if settings.folds:
        fold_of = folds_of(train.units, settings.folds, context.recipe.seed)
        told = {fold_of[unit] for unit, of_row in zip(train.units, train.pairs(), strict=True) if of_row}
        if len(told) < max(2, settings.folds):
            found = f"{len(told)} of {settings.folds} folds hold a prompt with two answers in order"
            raise DataError(Problem("reward.folds", found, "Set fewer folds, or give more rows."))
    elif not heldout.all_pairs():
        found = "no held-out prompt has two answers in order that fit max_length, so that nothing can be measured"
        raise DataError(Problem("reward.held_out", found, "Give more rows, raise held_out, or set reward.folds: 5."))


def ceiling(context: Context) -> Estimate | None:
    """What a perfect model would score on the held-out prompts, as far as the annotators' agreement tells."""
    said = [[ranks for _, ranks in each] for each in votes(context, "heldout").values()]
    agreement = pairwise_agreement(said) if said else None
    people = round(sum(len(each) for each in said) / max(1, len(said)))
    return human_ceiling(agreement, people) if agreement else None


def votes(context: Context, *splits: Split) -> Said:
    """What each annotator said, of all prompts where no split is named; empty for rankings that came from elsewhere."""
    if "collect" not in context.inputs:
        return {}
    snapshot = context.inputs["collect"] / "snapshot"
    rows = [row for split in splits or SPLITS for row in read_rows(snapshot, split)]
    return {row.ranking.prompt.id: row.votes for row in rows}


def _rule_hits(rule: LengthRule, split: Side) -> Hits:
    found = [rule.hits(pairs) for pairs in split.pairs()]
    return [hits for hits in split.by_unit([(float(sum(each)), float(len(each))) for each in found]) if hits[1]]
