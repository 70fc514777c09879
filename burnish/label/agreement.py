"""How the people of a campaign agree, and how far each can be relied on: from judgements to figures. Knows no page.

What is compared is two answers of one item: that the first is better, worse, or as good; a single answer is held
against what would be just good enough. An item with many answers has many such pairs, which are not independent, so
that intervals are over items.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from statistics import median

from burnish.errors import Said
from burnish.stats.agreement import cohen_kappa, pairwise_agreement
from burnish.stats.raters import dawid_skene
from burnish.stats.reliability import ac1, alpha, fleiss_kappa
from burnish.store.views import Judgement
from burnish.types import Estimate

MOST = 1000
"""Items that are looked at: the first so many, by prompt id, that more than one person judged."""
Signs = dict[tuple[int, int, int], dict[str, int]]
"""By (item, one answer, the other): what each person said, -1 the first is better, 0 a tie, 1 the other is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Agreement over some items; None where nobody overlaps."""

    name: str
    items: int
    agreeing: Estimate | None
    """Share of pairs that two people ordered alike, of those that both ordered."""
    alpha: Estimate | None
    """Krippendorff's, ordinal."""
    kappa: Estimate | None
    """Fleiss'."""
    ac1: Estimate | None
    """Gwet's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    """One person beside the others."""

    handle: str
    judged: int
    seconds: float
    """Median time of a judgement."""
    accuracy: float
    """Chance that this person calls a pair right, by Dawid and Skene's model over everyone's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A campaign's agreement."""

    parts: tuple[Figures, ...]
    """All of it, then by language and by week where there is more than one."""
    raters: tuple[Rater, ...]
    """The least reliable first."""
    couples: tuple[tuple[str, str, int, float], ...]
    """(one, another, pairs that both judged, Cohen's κ), the lowest first."""


def agreement(languages: Mapping[int, str | None], judgements: Iterable[Judgement]) -> Agreement:
    """The figures of some items, with their languages, from their latest judgements: by two or more people each."""
    kept: dict[int, list[Judgement]] = {item: [] for item in languages}
    for judgement in judgements:
        if judgement.ranks:
            kept[judgement.item].append(judgement)
    parts = {"all": kept}
    by_language = _split(kept, languages)
    by_week = _split(kept, {item: _week(max(each.created for each in those)) for item, those in kept.items()})
    for some in (by_language, by_week):
        parts |= some if len(some) > 1 else {}
    signs = _signs(kept)
    return Agreement(
        parts=tuple(_figures(name, some, signs) for name, some in parts.items()),
        raters=_raters(kept, signs),
        couples=_couples(signs),
    )


def _week(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return Said("%(year)s, week %(week)s", year=str(year), week=f"{week:02}")


def _split(
    said: Mapping[int, list[Judgement]], names: Mapping[int, str | None]
) -> dict[str, dict[int, list[Judgement]]]:
    parts: dict[str, dict[int, list[Judgement]]] = defaultdict(dict)
    for item, name in names.items():
        parts[name or "no language"][item] = said[item]
    return dict(sorted(parts.items()))


def _figures(name: str, said: Mapping[int, list[Judgement]], signs: Signs) -> Figures:
    clusters = [item for item, _, _ in signs if item in said]
    units = [list(each.values()) for (item, _, _), each in signs.items() if item in said]
    return Figures(
        name=name,
        items=len(said),
        agreeing=pairwise_agreement([[each.compared for each in those] for those in said.values()]),
        alpha=alpha(units, clusters=clusters),
        kappa=fleiss_kappa(units, clusters=clusters),
        ac1=ac1(units, clusters=clusters),
    )


def _signs(said: Mapping[int, list[Judgement]]) -> Signs:
    found: Signs = defaultdict(dict)
    for item, those in said.items():
        for judgement in those:
            ranks = judgement.compared
            for i, j in combinations(range(len(ranks)), 2):
                found[item, i, j][judgement.annotator] = (ranks[i] > ranks[j]) - (ranks[i] < ranks[j])
    return found


def _raters(said: Mapping[int, list[Judgement]], signs: Signs) -> tuple[Rater, ...]:
    if not signs:
        return ()
    model = dawid_skene((pair, who, sign) for pair, each in signs.items() for who, sign in each.items())
    seconds: dict[str, list[float]] = defaultdict(list)
    for those in said.values():
        for judgement in those:
            seconds[judgement.annotator].append(judgement.seconds)
    found = [
        Rater(handle=who, judged=len(times), seconds=median(times), accuracy=model.accuracy(who))
        for who, times in seconds.items()
    ]
    return tuple(sorted(found, key=lambda rater: rater.accuracy))


def _couples(signs: Signs) -> tuple[tuple[str, str, int, float], ...]:
    both: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for each in signs.values():
        for one, other in combinations(sorted(each), 2):
            both[one, other].append((each[one], each[other]))
    found = [(*names, len(pairs), cohen_kappa(*map(list, zip(*pairs, strict=True)))) for names, pairs in both.items()]
    return tuple(sorted(found, key=lambda couple: couple[3]))
