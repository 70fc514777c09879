"""How reliable each of several people is, without knowing the truth. Knows labels and who gave them.

Dawid and Skene's model: each item has one true class, and each person a table of how often they call class j what is
class i. Expectation and maximisation take turns: whose word counts follows from the tables, and the tables from the
items' likely classes. It assumes that people err independently of one another, given the true class: a bias that all
share looks like the truth.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 500
SETTLED = 1e-8
"""EM ends when no likely class moves by more."""
Floats = NDArray[np.float64]
Label = tuple[Hashable, Hashable, Hashable]
"""(item, person, label). A person may label an item more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """What the labels say of items and people. Classes are in the order of `classes`."""

    classes: tuple[Hashable, ...]
    prior: Floats
    """Share of each class, [class]."""
    items: dict[Hashable, Floats]
    """How likely each class is an item's, [class]."""
    people: dict[Hashable, Floats]
    """What a person calls each class: [true class, label], rows adding up to 1. A class of which a person saw nothing
    has a row of zeros."""

    def accuracy(self, person: Hashable) -> float:
        """Chance that this person labels an item right, over classes as common as they are here."""
        seen = self.people[person].sum(1)
        return float((self.prior * np.diag(self.people[person])).sum() / (self.prior * seen).sum())


def dawid_skene(labels: Iterable[Label]) -> Reliability:
    """Maximum likelihood from the majority's opinion as the start (Dawid and Skene 1979)."""
    rows = list(labels)
    assert rows, "no labels"
    items, people = ({row[at]: None for row in rows} for at in (0, 1))
    classes = sorted({row[2] for row in rows}, key=repr)
    places = [{name: place for place, name in enumerate(names)} for names in (items, people, classes)]
    said_IPJ = np.zeros((len(items), len(people), len(classes)))
    for row in rows:
        said_IPJ[tuple(place[name] for place, name in zip(places, row, strict=True))] += 1
    prior_K, tables_PKJ, likely_IK = _settled(said_IPJ)
    return Reliability(
        classes=tuple(classes),
        prior=prior_K,
        items={name: likely_IK[place] for name, place in places[0].items()},
        people={name: tables_PKJ[place] for name, place in places[1].items()},
    )


def _settled(said_IPJ: Floats) -> tuple[Floats, Floats, Floats]:
    likely_IK = said_IPJ.sum(1) / said_IPJ.sum((1, 2))[:, None]
    prior_K, tables_PKJ = _maximised(said_IPJ, likely_IK)
    for _ in range(ROUNDS):
        before, likely_IK = likely_IK, _expected(said_IPJ, prior_K, tables_PKJ)
        prior_K, tables_PKJ = _maximised(said_IPJ, likely_IK)
        if np.abs(likely_IK - before).max() < SETTLED:
            break
    return prior_K, tables_PKJ, likely_IK


def _maximised(said_IPJ: Floats, likely_IK: Floats) -> tuple[Floats, Floats]:
    """Equations 2.3 and 2.4."""
    counts_PKJ = np.einsum("ik,ipj->pkj", likely_IK, said_IPJ)
    seen_PK = counts_PKJ.sum(2, keepdims=True)
    return likely_IK.mean(0), np.divide(counts_PKJ, seen_PK, out=np.zeros_like(counts_PKJ), where=seen_PK > 0)


def _expected(said_IPJ: Floats, prior_K: Floats, tables_PKJ: Floats) -> Floats:
    """Equation 2.5, in logarithms."""
    smallest = np.finfo(np.float64).tiny
    words_IK = np.einsum("ipj,pkj->ik", said_IPJ, np.log(np.maximum(tables_PKJ, smallest)))
    log_IK = np.log(np.maximum(prior_K, smallest)) + words_IK
    likely_IK = np.exp(log_IK - log_IK.max(1, keepdims=True))
    return likely_IK / likely_IK.sum(1, keepdims=True)
