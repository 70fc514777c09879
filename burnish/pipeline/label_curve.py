"""What choosing would have saved on data whose order is known: accuracy of a reward model against number of labels.

A panel of one is simulated: it says the known order, and the other one with a chance of `error`; what it says of an
item is the same whoever asks. The reward model is the linear one of `burnish.pipeline.suggest` on frozen features,
measured on pairs of prompts that nobody asks about. Each way of choosing begins with the same labels, drawn by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw
from burnish.errors import DataError, Problem
from burnish.models.arithmetic import settle
from burnish.models.load import load_trainable, pick_dtype
from burnish.models.sources import resolve
from burnish.pipeline.frozen import asked_side, principal, read_features
from burnish.pipeline.suggest import COMPONENTS, DRAWS, MEASURES
from burnish.records.durable import digest_value, write_bytes
from burnish.records.formats import read_rankings
from burnish.stats.intervals import mean_interval
from burnish.stats.linear import logistic, preferences
from burnish.stats.selection import choose, disagreement
from burnish.types import Progress, Ranking

Floats = NDArray[np.float64]
WAYS = ("chance", *MEASURES)
"""Of choosing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is asked."""

    seeds: int = 10
    first: int = 20
    """Labels drawn by chance, with which each way begins."""
    step: int = 20
    most: int = 200
    floor: float = 0.2
    error: float = 0.2
    held_out: float = 0.4
    limit: int | None = None
    """Rows of the file."""

    def counts(self) -> list[int]:
        return list(range(self.first, self.most + 1, self.step))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Pairs with features, the better answer first."""

    difference_NF: Floats
    """Features of the better answer less those of the worse one."""
    prompts: Sequence[str]


def curve(data: Path, model: str, plan: Plan, cache: Path | None, progress: Progress) -> dict[str, Any]:
    """Accuracy by way of choosing and number of labels: means over seeds, and differences to chance, with intervals.

    `less_chance` begins with the second number of labels: with the first ones all ways are the same.

    `cache` is a folder in which features are kept. Raises DataError where the file has too few pairs for the plan.
    """
    rows = [row for row in read_rankings(data, drop_bad=True)[0] if len(set(row.ranks)) > 1][: plan.limit]
    world = World(
        difference_NF=_differences(_features(rows, model, cache, progress), rows),
        prompts=[row.prompt.id for row in rows],
    )
    runs: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    progress.start("asking the simulated panel", plan.seeds)
    for seed in range(1, plan.seeds + 1):
        for way, found in simulated(world, plan, seed, data).items():
            runs[way].append(found)
        progress.advance()
    progress.finish()
    return {
        "data": str(data),
        "model": model,
        "pairs": len(rows),
        "seeds": plan.seeds,
        "error": plan.error,
        "floor": plan.floor,
        "labels": plan.counts(),
        "accuracy": {way: _over_seeds(found, (0.0, 1.0)) for way, found in runs.items()},
        "less_chance": {
            way: _over_seeds((np.array(found) - np.array(runs["chance"]))[:, 1:].tolist(), (-1.0, 1.0))
            for way, found in runs.items()
            if way != "chance"
        },
    }


def simulated(world: World, plan: Plan, seed: int, data: Path) -> dict[str, list[float]]:
    """By way of choosing, the accuracy at each number of labels of one seed."""
    held = np.array([draw(seed, "held out", prompt) % 10_000 < 10_000 * plan.held_out for prompt in world.prompts])
    pool, test_NF = np.flatnonzero(~held), world.difference_NF[held]
    if len(pool) < plan.most or not len(test_NF):
        found = f"{len(pool)} pairs to ask about and {len(test_NF)} to measure on; {plan.most} and some are wanted"
        raise DataError(Problem(str(data), found, "Lower --labels, or give more rows."))
    rng = np.random.default_rng(draw(seed, "panel"))
    flipped = rng.random(len(held)) < plan.error
    sign = np.where(rng.random(len(held)) < 0.5, 1.0, -1.0)  # whether the better answer is the first of its pair
    asked_NF = world.difference_NF * sign[:, None]
    won = np.where(flipped, sign < 0, sign > 0).astype(np.float64)
    begun = rng.choice(pool, plan.first, replace=False)
    return {way: _accuracies(asked_NF, won, test_NF, pool, begun, plan, draw(seed, way) % 2**32, way) for way in WAYS}


def _accuracies(
    asked_NF: Floats,
    won: Floats,
    test_NF: Floats,
    pool: NDArray[np.int64],
    begun: NDArray[np.int64],
    plan: Plan,
    seed: int,
    way: str,
) -> list[float]:
    known = [int(place) for place in begun]
    measure = {"chance": disagreement, **MEASURES}[way]
    found: list[float] = []
    for count in plan.counts():
        fitted = preferences(asked_NF[known], won[known])
        scores = test_NF @ fitted.mean_F
        found.append(float(np.mean((scores > 0) + 0.5 * (scores == 0))))
        left = np.setdiff1d(pool, known)
        weights_DF = fitted.drawn(DRAWS, seed + count)
        pairs = [logistic(weights_DF @ each[:, None]) for each in asked_NF[left]]
        floor = 1.0 if way == "chance" else plan.floor
        chosen = choose(pairs, plan.step, measure=measure, floor=floor, seed=seed + count)
        known += [int(left[each.place]) for each in chosen]
    return found


def _features(rows: Sequence[Ranking], model: str, cache: Path | None, progress: Progress) -> list[Floats]:
    settle()
    folder = resolve(model, Path.cwd(), progress)
    renderer = Renderer(Tokenizer.load(folder))
    side = asked_side(renderer, [row.prompt for row in rows], [row.completions for row in rows])
    kept = None
    if cache is not None:
        texts = [[document.ids, document.branches] for document in side.documents]
        kept = cache / f"features-{digest_value([model, texts])[:16]}.npy"
        if kept.is_file():
            return _parted(np.load(kept, allow_pickle=False), rows)
    module = load_trainable(folder, dtype=pick_dtype("auto"), lm=False, score=True)
    found = read_features(module, side, progress)
    if kept is not None:
        _keep(kept, found)
    return found


def _keep(path: Path, found: Sequence[Floats]) -> None:
    stream = BytesIO()
    np.save(stream, np.concatenate(found), allow_pickle=False)
    write_bytes(path, stream.getvalue())


def _parted(table: Floats, rows: Sequence[Ranking]) -> list[Floats]:
    ends = np.cumsum([len(row.completions) for row in rows])[:-1]
    return list(np.split(table, ends))


def _differences(found: Sequence[Floats], rows: Sequence[Ranking]) -> Floats:
    """Of each row, the best answer's features less the worst one's."""
    seen = principal(found, COMPONENTS)
    return np.array(
        [
            features_AF[row.ranks.index(min(row.ranks))] - features_AF[row.ranks.index(max(row.ranks))]
            for features_AF, row in zip(seen, rows, strict=True)
        ]
    )


def _over_seeds(runs: Sequence[Sequence[float]], bounds: tuple[float, float]) -> list[dict[str, float]]:
    return [mean_interval(column, bounds).as_json() for column in zip(*runs, strict=True)]


def table(found: Mapping[str, Any]) -> list[list[object]]:
    """Rows for people: number of labels, accuracy of each way, and how far the best of them is from chance."""
    head: list[object] = ["labels", *WAYS]
    return [head, *([count, *_cells(found, place)] for place, count in enumerate(found["labels"]))]


def _cells(found: Mapping[str, Any], place: int) -> Iterable[str]:
    for way in WAYS:
        accuracy = found["accuracy"][way][place]["value"]
        if place == 0 or way == "chance":
            yield f"{accuracy:.3f}"
        else:
            less = found["less_chance"][way][place - 1]
            yield f"{accuracy:.3f} ({less['value']:+.3f} [{less['low']:+.3f}, {less['high']:+.3f}])"
