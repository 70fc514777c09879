"""What a reward model's figures are: accuracy, calibration, slices, single annotators. Knows scores, not how they came.

All are of the same pairs, which no measured model has learned from, with intervals over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from burnish.pipeline.ranked import Hits, Pairs, accuracy
from burnish.pipeline.scored import Scored
from burnish.stats.agreement import counted_agreement, undisputed
from burnish.stats.calibration import calibration
from burnish.types import Estimate, Ranking

Said = Mapping[str, Sequence[tuple[str, tuple[int, ...]]]]
"""By prompt id, who gave its answers which ranks."""
VALUES = 8
"""A column with more different values has no slices."""
LEAST = 5
"""Prompts that a slice, or an annotator, must have."""
LONGER = 1.25
"""An answer is called longer than another from so many times its tokens."""


def figures(scored: Scored, said: Said) -> dict[str, Any]:
    """What the stage states about its model, as JSON values. There must be an ordered pair."""
    everything = scored.side.ordered()
    agreed = [undisputed([ranks for _, ranks in said.get(prompt, ())]) for prompt in scored.side.prompts]
    return {
        "accuracy": _json(scored.accuracy(everything)),
        "undisputed": _json(scored.accuracy(agreed)),
        "calibration": calibration(*scored.log_odds()).as_json(),
        "slices": [*_columns(scored), *_lengths(scored), *_disputes(scored)],
        "annotators": _annotators(scored, said),
    }


def _columns(scored: Scored) -> list[dict[str, Any]]:
    """A slice for each value of each column that sorts the rows into a few kinds."""
    names = sorted({name for row in scored.side.rows for name in row.prompt.meta})
    slices: list[dict[str, Any]] = []
    for name in names:
        values = {_kind(row, name) for row in scored.side.rows} - {None}
        if 2 <= len(values) <= VALUES:
            for value in sorted(map(str, values)):
                pairs = scored.chosen(lambda row, i, j, n=name, v=value: str(_kind(row, n)) == v)
                slices += _slice(scored, name, value, pairs)
    return slices if len(slices) > 1 else []


def _kind(row: Ranking, column: str) -> str | None:
    """What a row's column says, where that is a word, a yes or no, or a whole number."""
    value = row.prompt.meta.get(column)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, str | int) else None


def _lengths(scored: Scored) -> list[dict[str, Any]]:
    """Whether the preferred answer is the longer one: a model that scores length is right in the first slice alone."""
    tokens = [[len(branch) for branch in document.branches] for document in scored.side.documents]
    kinds: dict[str, list[Pairs]] = {"longer": [], "of like length": [], "shorter": []}
    for lengths, pairs in zip(tokens, scored.side.ordered(), strict=True):
        sorted_in = {name: [] for name in kinds}
        for i, j in pairs:
            longer, shorter = lengths[i] >= LONGER * lengths[j], lengths[j] >= LONGER * lengths[i]
            sorted_in["longer" if longer else "shorter" if shorter else "of like length"].append((i, j))
        for name, found in sorted_in.items():
            kinds[name].append(found)
    return [found for name, pairs in kinds.items() for found in _slice(scored, "preferred answer is", name, pairs)]


def _disputes(scored: Scored) -> list[dict[str, Any]]:
    """Thirds of the pairs by how far the members of an ensemble differ: whether that tells where it errs."""
    spreads = scored.spreads()
    if len(scored.stds) == 1:
        return []
    edges = np.quantile([spread for row in spreads for spread in row], [1 / 3, 2 / 3])
    found: list[dict[str, Any]] = []
    for third, name in enumerate(("agree most", "lie between", "agree least")):
        pairs = [
            [pair for pair, spread in zip(row, of_row, strict=True) if np.searchsorted(edges, spread) == third]
            for row, of_row in zip(scored.side.ordered(), spreads, strict=True)
        ]
        found += _slice(scored, "members", name, pairs)
    return found


def _slice(scored: Scored, column: str, value: str, pairs: Sequence[Pairs]) -> list[dict[str, Any]]:
    found = scored.accuracy(pairs)
    if found is None or found.n < LEAST:
        return []
    return [{"column": column, "value": value, "pairs": sum(map(len, pairs)), "accuracy": found.as_json()}]


def _annotators(scored: Scored, said: Said) -> list[dict[str, Any]]:
    """For each annotator, how often the model orders a pair as they do, and how often the others do."""
    found: list[dict[str, Any]] = []
    for name in sorted({who for votes in said.values() for who, _ in votes}):
        own = [undisputed([ranks for who, ranks in said.get(p, ()) if who == name]) for p in scored.side.prompts]
        model, others = scored.accuracy(own), _with_others(name, said, scored.side.prompts)
        if model and model.n >= LEAST:
            found.append({"annotator": name, "model": model.as_json(), "others": _json(others)})
    return found


def _with_others(name: str, said: Said, prompts: Sequence[str]) -> Estimate | None:
    """Share of comparisons with another annotator on which the two agree."""
    counts: Hits = []
    for prompt in dict.fromkeys(prompts):
        mine = [ranks for who, ranks in said.get(prompt, ()) if who == name]
        told = [counted_agreement([mine[0], ranks]) for who, ranks in said.get(prompt, ()) if mine and who != name]
        if compared := sum(pairs for _, pairs in told):
            counts.append((float(sum(agreeing for agreeing, _ in told)), float(compared)))
    return accuracy(counts) if counts else None


def _json(estimate: Estimate | None) -> dict[str, float] | None:
    return estimate.as_json() if estimate else None
