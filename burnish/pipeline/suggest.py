"""Which items of a campaign people should judge next, by a reward model's ensemble or by a linear model of what was
judged so far. Writes their order into the store; asks nobody.

Without a reward model, features are those of a model that learns nothing (`burnish.pipeline.frozen`), and the ensemble
is drawn from what a linear preference model leaves open (`burnish.stats.linear`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import ConfigError, Problem, StoreError
from burnish.models.arithmetic import settle
from burnish.models.load import load_trainable, pick_dtype
from burnish.models.sources import resolve
from burnish.pipeline.frozen import asked_side, budget_of, principal, read_features
from burnish.pipeline.reward import load_reward
from burnish.pipeline.reward_terms import reward_folder
from burnish.pipeline.scored import differences, scored
from burnish.stats.linear import logistic, preferences
from burnish.stats.selection import Measure, choose, disagreement, information
from burnish.store import elsewhere, order, queries
from burnish.store.ranks import agreed
from burnish.store.session import Store
from burnish.store.views import Campaign, Item
from burnish.types import Progress

By = Literal["information", "disagreement"]
MEASURES: Mapping[By, Measure] = {"information": information, "disagreement": disagreement}
COMPONENTS = 64
"""Features of the linear model."""
DRAWS = 64
"""Members of its ensemble."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be chosen, and how."""

    budget: int
    floor: float = 0.2
    """Share of the budget drawn evenly from what has not the greatest values."""
    by: By = "information"
    seed: int = 0


def suggest(
    store: Store, name: str, wanted: Wanted, *, reward: Path | None, model: str, progress: Progress
) -> dict[str, Any]:
    """Put what is worth most to the front of a campaign's queue, and keep the chance of each: what was done.

    `reward` is a run that has a reward model, or its folder; without one, `model` gives features. Where that has
    nobody's judgements to learn from yet, all is drawn by chance. Raises StoreError where no item is left to choose
    from, ConfigError where the reward model has one member.
    """
    with store.reading() as session:
        campaign = queries.named(session, name)
        elsewhere.require_order(campaign)
        items = order.untouched(session, campaign.id)
        judged = _judged(session, campaign)
    if not items:
        mend = "Add some: burnish label new NAME --from FILE"
        raise StoreError(Problem(f"campaign {name}", "every item was judged or skipped by somebody already", mend))
    floor = wanted.floor
    if reward is not None:
        chances = _by_ensemble(reward, items)
    elif judged:
        chances = _by_judgements(model, items, judged, wanted.seed, progress)
    else:
        chances, floor = [np.empty((0, 0))] * len(items), 1.0
    chosen = choose(chances, wanted.budget, measure=MEASURES[wanted.by], floor=floor, seed=wanted.seed)
    why = {
        "by": "chance" if floor == 1 else wanted.by,
        "budget": wanted.budget,
        "floor": floor,
        "seed": wanted.seed,
        "of": len(items),
        "reward": None if reward is None else str(reward),
        "model": model if reward is None and judged else None,
    }
    told = {items[each.place].id: {"probability": each.probability, "by": each.by, "of": len(items)} for each in chosen}
    with store.transaction() as session:
        order.put_first(session, campaign.id, told, why=why)
    measured = sum(each.by == "measure" for each in chosen)
    return {
        "campaign": campaign.name,
        **why,
        "chosen": len(chosen),
        "by_measure": measured,
        "by_chance": len(chosen) - measured,
        "learned_from": len(judged),
        "prompts": [items[each.place].prompt.id for each in chosen],
    }


def _judged(session: Any, campaign: Campaign) -> list[tuple[Item, tuple[int, ...]]]:
    """Items that people put in order, with the agreed one."""
    votes: dict[int, list[tuple[int, ...]]] = {}
    for said in queries.judgements(session, campaign.id):
        if said.ranks:
            votes.setdefault(said.item, []).append(said.ranks)
    known = {item.id: item for item in queries.items(session, campaign.id)}
    found = [(known[item], agreed(each)) for item, each in votes.items()]
    return [(item, ranks) for item, ranks in found if len(set(ranks)) > 1]


def _by_ensemble(reward: Path, items: Sequence[Item]) -> list[Floats]:
    """What each member of a reward model gives each pair of each item, [M, P] an item."""
    settle()
    folder = reward_folder(reward)
    found = load_reward(folder, pick_dtype("auto"))
    if len(found.members) < 2:
        mend = "Train one with --set reward.members=3, or leave --reward out."
        raise ConfigError(Problem("--reward", "this reward model has one member, who never disagrees", mend))
    renderer = Renderer(Tokenizer.load(folder))
    side = asked_side(renderer, [item.prompt for item in items], [item.answers for item in items])
    said = scored(found.members, side, budget_of(side))
    return [_chances(scores, said.stds) for scores in said.members]


def _by_judgements(
    model: str, items: Sequence[Item], judged: Sequence[tuple[Item, tuple[int, ...]]], seed: int, progress: Progress
) -> list[Floats]:
    """The same of an ensemble drawn from what a linear model leaves open."""
    settle()
    folder = resolve(model, Path.cwd(), progress)
    module = load_trainable(folder, dtype=pick_dtype("auto"), lm=False, score=True)
    every = [*items, *(item for item, _ in judged)]
    renderer = Renderer(Tokenizer.load(folder))
    side = asked_side(renderer, [item.prompt for item in every], [item.answers for item in every])
    seen = principal(read_features(module, side, progress), COMPONENTS)
    difference_NF, won_N = comparisons(seen[len(items) :], [ranks for _, ranks in judged])
    weights_DF = preferences(difference_NF, won_N).drawn(DRAWS, seed)
    return [logistic(weights_DF @ _pairs(each).T) for each in seen[: len(items)]]


def comparisons(rows: Sequence[Floats], ranks: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
    """Differences between the features of every two answers of a row, and how each came out: 1, 0, or ½ for a tie."""
    differences_NF = np.concatenate([_pairs(row) for row in rows])
    won = [0.5 + (b > a) / 2 - (a > b) / 2 for each in ranks for a, b in combinations(each, 2)]
    return differences_NF, np.array(won)


def _pairs(row_AF: Floats) -> Floats:
    """Of every two answers, the first's features less the second's."""
    return np.array([row_AF[i] - row_AF[j] for i, j in combinations(range(len(row_AF)), 2)])


def _chances(scores: Sequence[Sequence[float]], stds: Sequence[float]) -> Floats:
    """What each member gives each pair, [M, P]."""
    pairs = combinations(range(len(scores[0])), 2)
    return expit(np.array([differences(scores, stds, i, j) for i, j in pairs])).T


def told(found: Mapping[str, Any]) -> str:
    """What `suggest` did, for people."""
    how = {"chance": "all by chance, since nobody has judged anything yet"}
    measured = f"{found['by_measure']} by {found['by']}, {found['by_chance']} by chance"
    return f"{found['campaign']}: {found['chosen']} of {found['of']} come first, {how.get(found['by'], measured)}"
