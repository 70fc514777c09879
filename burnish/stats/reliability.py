"""How far people agree beyond chance: α, κ and AC1, with intervals. Knows values that people gave to units.

A unit is what several people gave one value each (an item, or two answers of it); None is a value that is missing.
Units of one item are not independent, so that an interval draws whole items, which the caller names as `clusters`.
Every coefficient is a function of a few tables that add up over units: a draw is a weighted sum of them.

Dimensions: U units, C clusters, V values in their order, D draws.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from burnish.stats.intervals import DRAWS, LEVEL, REACH
from burnish.types import Estimate

Floats = NDArray[np.float64]
Unit = Sequence[float | None]
Clusters = Sequence[Hashable] | None
Distance = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What units come to, summed over units in as many ways as there are draws."""

    values_V: Floats
    pairs_DVV: Floats
    """How often two values met in a unit, each unit with m values weighing m: Krippendorff's coincidences."""
    agreement_D: Floats
    """Share of two people of a unit who gave one value, over the units where two met."""
    met_D: Floats
    """Units where two met."""
    shares_DV: Floats
    """How often each value was given, each unit weighing one."""


def alpha(
    units: Sequence[Unit], distance: Distance = "ordinal", *, clusters: Clusters = None, seed: int = 0
) -> Estimate | None:
    """Krippendorff's α: 1 - observed / expected disagreement (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability"). None where no two people met, or where all gave one and the same value."""

    def of(tables: Tables) -> Floats:
        pairs_DVV, met_DV = tables.pairs_DVV, tables.pairs_DVV.sum(2)
        total_D = met_DV.sum(1)
        square_DVV = _squared_distance(tables.values_V, met_DV, distance)
        observed_D = (pairs_DVV * square_DVV).sum((1, 2)) / total_D
        expected_D = (met_DV[:, :, None] * met_DV[:, None, :] * square_DVV).sum((1, 2)) / (total_D * (total_D - 1))
        return 1 - observed_D / expected_D

    return _estimate(units, of, clusters, seed)


def fleiss_kappa(units: Sequence[Unit], *, clusters: Clusters = None, seed: int = 0) -> Estimate | None:
    """κ whose chance is how common each value is over all people (Fleiss 1971). Who judges, and how many, may differ
    from unit to unit; a unit's shares then count as much as another's (Gwet 2014, "Handbook of Inter-Rater
    Reliability")."""

    def of(tables: Tables) -> Floats:
        return _beyond(tables, (_shares(tables) ** 2).sum(1))

    return _estimate(units, of, clusters, seed)


def ac1(units: Sequence[Unit], *, clusters: Clusters = None, seed: int = 0) -> Estimate | None:
    """Gwet's AC1 (Gwet 2008): a chance that does not grow as nearly everyone gives one and the same value."""

    def of(tables: Tables) -> Floats:
        shares_DV = _shares(tables)
        return _beyond(tables, (shares_DV * (1 - shares_DV)).sum(1) / (len(tables.values_V) - 1))

    return _estimate(units, of, clusters, seed)


def _shares(tables: Tables) -> Floats:
    return tables.shares_DV / tables.shares_DV.sum(1, keepdims=True)


def _beyond(tables: Tables, chance_D: Floats) -> Floats:
    return (tables.agreement_D / tables.met_D - chance_D) / (1 - chance_D)


def _squared_distance(values_V: Floats, met_DV: Floats, distance: Distance) -> Floats:
    """δ² between two values; ordinal ones are as far apart as values were given between them."""
    match distance:
        case "nominal":
            return 1 - np.eye(len(values_V))[None]
        case "interval":
            return (values_V[:, None] - values_V[None, :])[None] ** 2
        case "ordinal":
            middle_DV = met_DV.cumsum(1) - met_DV / 2
            return (middle_DV[:, :, None] - middle_DV[:, None, :]) ** 2


def _estimate(units: Sequence[Unit], of: Callable[[Tables], Floats], clusters: Clusters, seed: int) -> Estimate | None:
    """The coefficient, percentile bootstrap over clusters. A draw without a value (all people said the same) is left
    out; n is the number of clusters in which two people met."""
    said = [(_said(unit), key) for unit, key in zip(units, clusters or range(len(units)), strict=True)]
    kept = [(unit, key) for unit, key in said if unit]
    order = {key: place for place, key in enumerate(dict.fromkeys(key for _, key in kept))}
    n, size = len({key for unit, key in kept if len(unit) > 1}), len(order)
    if not n:
        return None
    whole = _tables([unit for unit, _ in kept], np.array([order[key] for _, key in kept], dtype=np.int64))
    rng = np.random.default_rng(seed)
    taken = rng.multinomial(size, np.full(size, 1 / size), size=DRAWS).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(of(whole(np.ones((1, size))))[0])
        replicas = of(whole(taken))
    replicas = replicas[np.isfinite(replicas)]
    if not np.isfinite(value):
        return None
    low, high = np.quantile(replicas, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    low, high = min(float(low), value), max(float(high), value)
    return Estimate(value=value, low=low, high=high, n=n, mde=REACH * float(replicas.std()))


def _said(unit: Unit) -> list[float]:
    return [value for value in unit if value is not None]


def _tables(units: Sequence[Sequence[float]], cluster_U: NDArray[np.int64]) -> Callable[[Floats], Tables]:
    """A function of the clusters' weights, a row a draw. Units are summed by cluster first: an item with nine answers
    has 36 of them."""
    values_V, which = np.unique(np.array([v for unit in units for v in unit], np.float64), return_inverse=True)
    counts_UV = np.zeros((len(units), len(values_V)))
    np.add.at(counts_UV, (np.repeat(np.arange(len(units)), [len(unit) for unit in units]), which), 1)
    people_U = counts_UV.sum(1)
    met_U = people_U > 1
    each_UVV = counts_UV[:, :, None] * counts_UV[:, None, :] - counts_UV[:, :, None] * np.eye(len(values_V))
    pairs_UVV = each_UVV / np.maximum(people_U - 1, 1)[:, None, None]
    agreement_U = np.trace(pairs_UVV, axis1=1, axis2=2) / people_U
    pairs_CVV, agreement_C, met_C, shares_CV = (
        _by_cluster(each, cluster_U) for each in (pairs_UVV, agreement_U, met_U, counts_UV / people_U[:, None])
    )

    def summed(weights_DC: Floats) -> Tables:
        return Tables(
            values_V=values_V,
            pairs_DVV=np.tensordot(weights_DC, pairs_CVV, 1),
            agreement_D=weights_DC @ agreement_C,
            met_D=weights_DC @ met_C,
            shares_DV=weights_DC @ shares_CV,
        )

    return summed


def _by_cluster(each_U: NDArray[Any], cluster_U: NDArray[np.int64]) -> Floats:
    sums_C = np.zeros((int(cluster_U.max()) + 1, *each_U.shape[1:]))
    np.add.at(sums_C, cluster_U, each_U)
    return sums_C
