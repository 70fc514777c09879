"""What critiques do for people, in figures: right more often or less, slower or quicker, led astray by a wrong one.

Knows what people made of items whose right judgement is known; no page and no database. Whoever judged with critiques
is held against who judged without, first judgements both; the pairs were drawn, so that nothing else differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from burnish.errors import Said, plain
from burnish.stats.crossed import Contrast, Value, contrast
from burnish.store.assistance import Known, Look
from burnish.store.views import ASSISTANCE, Assistance, Campaign

LEAST_PEOPLE, LEAST_ITEMS = 5, 10
"""On each side, before anything is concluded: with fewer an interval would say more of chance than of critiques."""
About = Literal["right", "seconds", "right_by_right", "wrong_by_wrong"]
"""Share right; median seconds; share right where the critiques are right; share wrong where they are wrong, which
is how far people rely on them too much."""
VERDICTS: Mapping[About, tuple[str, str]] = {
    "right": (
        "With critiques people are right more often, by %(low)s to %(high)s points.",
        "With critiques people are right less often, by %(low)s to %(high)s points.",
    ),
    "seconds": (
        "With critiques people take longer, by %(low)s to %(high)s seconds.",
        "With critiques people are quicker, by %(low)s to %(high)s seconds.",
    ),
    "right_by_right": (
        "Right critiques help: people are right more often, by %(low)s to %(high)s points.",
        "Even right critiques do harm: people are right less often, by %(low)s to %(high)s points.",
    ),
    "wrong_by_wrong": (
        "People rely too much on critiques: wrong ones lead them astray more often, by %(low)s to %(high)s points.",
        "Wrong critiques lead nobody astray: people are wrong less often, by %(low)s to %(high)s points.",
    ),
}
"""What is concluded where with critiques there is surely more, and where surely less."""
TITLES: Mapping[About, str] = {
    "right": "Right",
    "seconds": "Median seconds",
    "right_by_right": "Right, where the critique is right",
    "wrong_by_wrong": "Wrong, where the critique is wrong",
}
SECONDS = 3600.0
"""A longest time, for the interval of times that are all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Those who judged with critiques, or those without."""

    judgements: int
    people: int
    items: int

    @property
    def enough(self) -> bool:
        return self.people >= LEAST_PEOPLE and self.items >= LEAST_ITEMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One question, and what is known of it."""

    about: About
    aided: Side
    unaided: Side
    found: Contrast | None
    """With critiques, and without; None where a side is too small."""
    says: str
    """The conclusion, or that there is none."""

    @property
    def title(self) -> str:
        return TITLES[self.about]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Second looks, of those who judged first and then saw critiques."""

    looks: int
    better: int
    """Nearer to the right judgement than before: in a pair, from wrong to right."""
    worse: int
    gave_way: int
    """Of those who were wholly right, and saw a wrong critique: how many were not any more."""
    stood: int
    """Of the same: how many still were."""
    waiting: int
    """First judgements whose second look has not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Of one way of giving critiques."""

    given: Assistance
    findings: tuple[Finding, ...]
    changes: Changes | None
    """Of critiques that come after the first judgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assisted:
    """All that a campaign says of it."""

    critiques: Mapping[str, int]
    """How many there are, by who wrote them."""
    drawn: Mapping[str, int]
    """Tasks handed out with no critiques, with them before, and with them after the first judgement."""
    reports: tuple[Report, ...]
    """Of each way in which somebody was given critiques on a known item."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def assisted(known: Sequence[Known], drawn: Mapping[str, int], critiques: Mapping[str, int]) -> Assisted:
    """What a campaign says: its known items, tasks by what was drawn, and critiques by who wrote them."""
    ways: list[Assistance] = [way for way in ASSISTANCE[1:] if any(each.given == way for each in known)]
    return Assisted(critiques=critiques, drawn=drawn, reports=tuple(_report(way, known) for way in ways))


def _report(way: Assistance, known: Sequence[Known]) -> Report:
    aided = [(each, each.aided) for each in known if each.given == way and each.aided]
    unaided = [(each, each.unaided) for each in known if each.unaided]

    def finding(about: About, *, right: bool | None = None) -> Finding:
        sides = [[pair for pair in side if right in (None, pair[0].right)] for side in (aided, unaided)]
        return _finding(about, *sides)

    findings = (
        finding("right"),
        finding("seconds"),
        finding("right_by_right", right=True),
        finding("wrong_by_wrong", right=False),
    )
    return Report(given=way, findings=findings, changes=_changes(known) if way == "after" else None)


def told(campaign: Campaign, found: Assisted) -> str:
    """The same for a terminal."""
    written = ", ".join(f"{count} by {plain(model)}" for model, count in found.critiques.items()) or "none"
    share = f"{campaign.assisted:.0%} of tasks"
    lines = [f"{plain(campaign.name)}: critiques: {written}; shown: {campaign.assistance}, with {share}"]
    if not found.reports:
        lines.append("Nobody has judged a known item with critiques before them: there is nothing to conclude.")
    for report in found.reports:
        lines += ["", f"shown {report.given}"]
        for each in report.findings:
            lines += [f"  {each.title}: {each.says}", *_figures(each)]
        if changes := report.changes:
            nearer = f"nearer to the right judgement {changes.better}, further {changes.worse}"
            lines.append(f"  second looks: {changes.looks}, {nearer}")
            lines.append(f"  right before a wrong critique: gave way {changes.gave_way}, stood {changes.stood}")
    return "\n".join(lines)


def _figures(finding: Finding) -> list[str]:
    if finding.found is None:
        return []
    three = (("with", finding.found.one), ("without", finding.found.other), ("difference", finding.found.difference))
    said = (f"{name} {each.value:.2f} [{each.low:.2f}, {each.high:.2f}]" for name, each in three)
    return [f"    {', '.join(said)}; {finding.aided.judgements} and {finding.unaided.judgements} judgements"]


Looks = Sequence[tuple[Known, Look]]


def _finding(about: About, aided: Looks, unaided: Looks) -> Finding:
    sides, timed, found = (_side(aided), _side(unaided)), about == "seconds", None
    if all(side.enough for side in sides):
        one, other = _values(about, aided), _values(about, unaided)
        found = contrast(one, other, "median" if timed else "mean", bounds=(0.0, SECONDS if timed else 1.0))
    return Finding(about=about, aided=sides[0], unaided=sides[1], found=found, says=_says(about, sides, found))


def _values(about: About, looks: Looks) -> list[Value]:
    def value(look: Look) -> float:
        return look.seconds if about == "seconds" else 1 - look.score if about == "wrong_by_wrong" else look.score

    return [Value(person=each.person, item=each.item, value=value(look)) for each, look in looks]


def _side(looks: Looks) -> Side:
    people, items = {each.person for each, _ in looks}, {each.item for each, _ in looks}
    return Side(judgements=len(looks), people=len(people), items=len(items))


def _says(about: About, sides: Iterable[Side], found: Contrast | None) -> str:
    if found is None:
        few = min(sides, key=lambda side: (side.enough, side.judgements))
        words = {"people": few.people, "items": few.items, "least": LEAST_PEOPLE, "fewest": LEAST_ITEMS}
        return Said(
            "Too few to conclude anything: one side has %(people)s people on %(items)s items, and needs %(least)s on "
            "%(fewest)s.",
            **words,
        )
    low, high = found.difference.low, found.difference.high
    unit = 1 if about == "seconds" else 100
    more, less = VERDICTS[about]
    if low > 0:
        return Said(more, low=unit * low, high=unit * high)
    if high < 0:
        return Said(less, low=-unit * high, high=-unit * low)
    return Said("No difference is shown: it lies between %(low)s and %(high)s.", low=unit * low, high=unit * high)


def _changes(known: Iterable[Known]) -> Changes:
    after = [each for each in known if each.given == "after" and each.unaided]
    looked = [(each, each.aided.score - each.unaided.score) for each in after if each.aided and each.unaided]
    tempted = [by for each, by in looked if each.right is False and each.unaided and each.unaided.score == 1]
    return Changes(
        looks=len(looked),
        better=sum(by > 0 for _, by in looked),
        worse=sum(by < 0 for _, by in looked),
        gave_way=sum(by < 0 for by in tempted),
        stood=sum(by == 0 for by in tempted),
        waiting=len(after) - len(looked),
    )
