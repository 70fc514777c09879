"""How a campaign stands, in figures: who has done how much, agreement, position bias, models beside people.

Knows the store and the statistics; neither a page nor a terminal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from burnish.label.agreement import MOST, agreement
from burnish.stats.agreement import counted_agreement
from burnish.stats.intervals import share
from burnish.store import order, queries
from burnish.store.ranks import agreed
from burnish.store.session import Store
from burnish.store.views import Annotator, Campaign, Counts, Judgement
from burnish.types import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What one annotator has done in a campaign."""

    name: str
    kind: str
    counts: bool
    judged: int
    skipped: int
    seconds: float
    """Median time of a judgement; 0 where nobody measured it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A model against the people who judged the same items."""

    name: str
    about: Mapping[str, Any]
    """Which model it is, and the principles that it judges by."""
    items: int
    agreeing: Estimate | None
    """Share of the pairs that the people's agreed order settles which the model orders alike; its ties are half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One campaign. An estimate is None where nothing says anything about it."""

    campaign: Campaign
    counts: Counts
    done: tuple[Done, ...]
    agreeing: Estimate | None
    """Share of pairs that two annotators order alike."""
    agreeing_of_all: Estimate | None
    """Where items were chosen (`burnish label suggest`): the same, weighted back to all that could have been."""
    alpha: Estimate | None
    """Krippendorff's, ordinal."""
    first: Estimate | None
    """How often the answer shown earlier won, of all pairs that were ordered on the pages: without bias a half."""
    models: tuple[Beside, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summary(store: Store, name: str) -> Summary:
    """The figures of the campaign of this name. Raises StoreError where there is none."""
    with store.reading() as session:
        campaign = queries.named(session, name)
        shared = queries.judged_together(session, campaign.id, MOST)
        said = queries.judgements(session, campaign.id)
        beside = queries.judgements_beside(session, campaign.id)
        orders = queries.shown_orders(session, campaign.id)
        counts = queries.progress(session, campaign.id)
        chances = order.chances(session, shared)
        people = {person.handle: person for person in queries.annotators(session)}
    whole = agreement(shared, (each for each in said if each.item in shared)).parts[0]
    human = [each for each in said if people[each.annotator].kind != "model"]
    models = [each for each in [*said, *beside] if people[each.annotator].kind == "model"]
    return Summary(
        campaign=campaign,
        counts=counts,
        done=_done([*said, *beside], people),
        agreeing=whole.agreeing,
        agreeing_of_all=_of_all(chances, said),
        alpha=whole.alpha,
        first=_first(said, orders),
        models=_models(human, models, people),
    )


def _done(said: Sequence[Judgement], people: Mapping[str, Annotator]) -> tuple[Done, ...]:
    by_handle: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in said:
        by_handle[judgement.annotator].append(judgement)
    found = [
        Done(
            name=people[handle].name,
            kind=people[handle].kind,
            counts=people[handle].counts,
            judged=sum(each.ranks is not None for each in those),
            skipped=sum(each.skip is not None for each in those),
            seconds=median(each.seconds for each in those),
        )
        for handle, those in by_handle.items()
    ]
    return tuple(sorted(found, key=lambda each: (each.kind, each.name)))


def _of_all(chances: Mapping[int, float], said: Iterable[Judgement]) -> Estimate | None:
    votes: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for judgement in said:
        if judgement.ranks and judgement.item in chances:
            votes[judgement.item].append(judgement.compared)
    counts = [(counted_agreement(each), chances[item]) for item, each in votes.items()]
    return _share([[agreeing / chance, compared / chance] for (agreeing, compared), chance in counts])


def _first(said: Iterable[Judgement], orders: Mapping[str, Sequence[int]]) -> Estimate | None:
    won: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for judgement in said:
        if judgement.ranks and judgement.id in orders:
            shown = [judgement.ranks[place] for place in orders[judgement.id]]
            for earlier, later in combinations(shown, 2):
                won[judgement.item][0] += earlier < later
                won[judgement.item][1] += earlier != later
    return _share(won.values())


def _models(
    human: Iterable[Judgement], models: Iterable[Judgement], people: Mapping[str, Annotator]
) -> tuple[Beside, ...]:
    votes: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for judgement in human:
        if judgement.ranks:
            votes[judgement.item].append(judgement.ranks)
    met: dict[str, list[list[float]]] = defaultdict(list)
    for judgement in models:
        told = met[judgement.annotator]
        if judgement.ranks and judgement.item in votes:
            told.append(_hits(agreed(votes[judgement.item]), judgement.ranks))
    return tuple(
        Beside(name=people[handle].name, about=people[handle].about or {}, items=len(hits), agreeing=_share(hits))
        for handle, hits in sorted(met.items())
    )


def _hits(right: Sequence[int], ranks: Sequence[int]) -> list[float]:
    """(pairs ordered alike, pairs that are ordered)."""
    pairs = [(i, j) if right[i] < right[j] else (j, i) for i, j in combinations(range(len(right)), 2)]
    settled = [(better, worse) for better, worse in pairs if right[better] != right[worse]]
    hits = sum((ranks[i] < ranks[j]) + 0.5 * (ranks[i] == ranks[j]) for i, j in settled)
    return [hits, float(len(settled))]


def _share(counts: Iterable[Sequence[float]]) -> Estimate | None:
    table = np.array([each for each in counts if each[1]], dtype=np.float64).reshape(-1, 2)
    return share(table[:, 0], table[:, 1]) if len(table) else None
