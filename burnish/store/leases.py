"""Who may be given which item: the seats of an item and the order in which its answers are shown. What is counted on an
item is counted here.

An item has `overlap` seats. A judgement takes one for good, a live lease (handed out, not yet answered, not run out)
takes one for a while, a skip gives it back; but an item that `overlap` people have skipped is closed, and so is one
that an adjudicator has settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from burnish.records.durable import digest_value
from burnish.store.mapping import as_compared
from burnish.store.ranks import opposed
from burnish.store.schema import AnnotatorRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow, SettlementRow

LEASE = timedelta(minutes=15)
NOT_GOLD = ItemRow.gold.is_(None)
"""Of an ItemRow: its right judgement is not known, and is what people are asked for."""
_LATER = aliased(JudgementRow)
LATEST = ~exists().where(_LATER.supersedes == JudgementRow.id)
"""Of a JudgementRow: no later revision supersedes it."""
_JUDGE = aliased(AnnotatorRow)
_UNCOUNTED = or_(_JUDGE.standing == "withdrawn", ~_JUDGE.counts)
COUNTS = and_(LATEST, ~exists().where(_JUDGE.id == JudgementRow.annotator_id, _UNCOUNTED))
"""Of a JudgementRow: as LATEST, and its annotator counts, whose work was not withdrawn."""
_LATER_SETTLEMENT = aliased(SettlementRow)
LAST_SETTLEMENT = ~exists().where(_LATER_SETTLEMENT.supersedes == SettlementRow.id)
"""Of a SettlementRow: none supersedes it."""
SETTLED = exists().where(
    SettlementRow.item_id == ItemRow.id,
    LAST_SETTLEMENT,
    exists().where(_JUDGE.id == SettlementRow.annotator_id, _JUDGE.standing != "withdrawn"),
)
"""Of an ItemRow: an adjudicator decided its order, and their work was not withdrawn."""
CAMPAIGN, PERSON, NOW = bindparam("campaign"), bindparam("person"), bindparam("now")
"""What statements are given when they are asked (`looking`). Those of every page are built once: building one takes
longer than asking it."""


def recount(session: Session, item: int) -> None:
    """Count anew what an item has: seats, and how far people are at odds. Every write that changes what is judged ends
    with this or with `recount_all`."""
    _OF_ONE.execute(session, {"item": item})


def recount_all(session: Session, which: ColumnElement[bool]) -> None:
    """As `recount`, of all these items."""
    _recounting(which).execute(session, {})


def touched_by(annotator: int) -> ColumnElement[bool]:
    """Of an ItemRow: this person judged or settled it."""
    said, decided = (select(row.item_id).where(row.annotator_id == annotator) for row in (JudgementRow, SettlementRow))
    return or_(ItemRow.id.in_(said), ItemRow.id.in_(decided))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recount:
    """The statements that count items anew."""

    seats: Update
    orders: Select[int, list[int] | None, dict[str, Any] | None]
    """(item, ranks, details) of what several people said, by item."""

    def execute(self, session: Session, which: Mapping[str, Any]) -> None:
        session.connection().execute(self.seats, which)  # objects that a session holds are not what is counted
        found = [
            {"id": item, "opposed": opposed([as_compared(ranks, details) for _, ranks, details in rows])}
            for item, rows in groupby(session.execute(self.orders, which), key=lambda row: row[0])
        ]
        if found:
            session.execute(update(ItemRow), found)


def _said(what: InstrumentedAttribute[Any]) -> ScalarSelect[int]:
    found = select(func.count()).select_from(JudgementRow)
    found = found.where(JudgementRow.item_id == ItemRow.id, what.is_not(None), COUNTS)
    return found.correlate(ItemRow).scalar_subquery()


def _recounting(which: ColumnElement[bool]) -> _Recount:
    judged, skipped = _said(JudgementRow.ranks), _said(JudgementRow.skip)
    overlap = select(CampaignRow.overlap).where(CampaignRow.id == ItemRow.campaign_id).scalar_subquery()
    wanting = and_(judged < overlap, skipped < overlap, NOT_GOLD, ~SETTLED)
    seats = case((wanting, overlap - judged), else_=0)
    alone = case((judged < 2, 0.0), else_=ItemRow.opposed)
    orders = select(JudgementRow.item_id, JudgementRow.ranks, JudgementRow.details)
    orders = orders.join(ItemRow, ItemRow.id == JudgementRow.item_id)
    orders = orders.where(which, ItemRow.judged > 1, NOT_GOLD, JudgementRow.ranks.is_not(None), COUNTS)
    return _Recount(
        seats=update(ItemRow).where(which).values(judged=judged, skipped=skipped, open_seats=seats, opposed=alone),
        orders=orders.order_by(JudgementRow.item_id),
    )


_OF_ONE = _recounting(ItemRow.id == bindparam("item"))
OPEN = ItemRow.open_seats > literal_column("0")
"""Of an ItemRow: someone is still to judge it. The 0 is written out, not bound, or SQLite would not see that the index
`ix_item_open` fits."""


def _has_seat() -> ColumnElement[bool]:
    others = (
        select(func.count())
        .select_from(AssignmentRow)
        .where(
            AssignmentRow.item_id == ItemRow.id, AssignmentRow.annotator_id != PERSON, AssignmentRow.leased_until > NOW
        )
    )
    leased = others.correlate(ItemRow).scalar_subquery()
    return or_(~NOT_GOLD, ItemRow.judged + leased < CampaignRow.overlap)


HAS_SEAT = _has_seat()
"""Of (ItemRow, CampaignRow): a seat is free for PERSON at NOW, their own lease not counted. Gold is for everybody."""
_SEATED = (
    select(ItemRow.id)
    .join(CampaignRow, CampaignRow.id == ItemRow.campaign_id)
    .where(ItemRow.id == bindparam("item"), HAS_SEAT)
)
_READ = or_(ItemRow.language.is_(None), ItemRow.language.in_(bindparam("languages", expanding=True)))


def has_seat(session: Session, item: int, annotator: int, now: datetime) -> bool:
    """Whether a judgement of this annotator's would have a seat. A live lease of somebody else keeps its own."""
    return session.scalar(_SEATED, {"item": item, "person": annotator, "now": now}) is not None


def looking(campaign: int, person: AnnotatorRow, **now: datetime) -> dict[str, Any]:
    """What the statements about the items for a person are given; those about leases take `now` too."""
    return {"campaign": campaign, "person": person.id, "languages": person.languages, **now}


def items_for(which: ColumnElement[bool], reads_all: bool) -> Select[ItemRow]:
    """Such items of a campaign that a person reads and has not answered."""
    answered = exists().where(JudgementRow.item_id == ItemRow.id, JudgementRow.annotator_id == PERSON)
    found = select(ItemRow).where(ItemRow.campaign_id == CAMPAIGN, which, ~answered)
    return found if reads_all else found.where(_READ)


@cache
def unanswered_items(reads_all: bool) -> Select[ItemRow]:
    """Items that someone is still to judge, that a person reads and has not answered."""
    return items_for(OPEN, reads_all)


@cache
def open_items(reads_all: bool) -> Select[ItemRow]:
    """Items that a person could be given now, in the campaign's order: those that have a seat that nobody holds."""
    free = unanswered_items(reads_all).join(CampaignRow, CampaignRow.id == ItemRow.campaign_id)
    return free.where(HAS_SEAT).order_by(ItemRow.position)


DONE = select(func.count()).where(
    AssignmentRow.annotator_id == PERSON, AssignmentRow.campaign_id == CAMPAIGN, AssignmentRow.leased_until.is_(None)
)


def done(session: Session, campaign: int, annotator: int) -> int:
    """How many tasks a person has judged or skipped."""
    return session.scalar(DONE, {"campaign": campaign, "person": annotator}) or 0


HELD_ITEM = (
    select(ItemRow)
    .join(AssignmentRow, AssignmentRow.item_id == ItemRow.id)
    .where(AssignmentRow.campaign_id == CAMPAIGN, AssignmentRow.annotator_id == PERSON)
    .where(AssignmentRow.leased_until > NOW)
    .order_by(ItemRow.position)
    .limit(1)
)
"""The item that a person holds a live lease on and has not answered."""


def shown_order(campaign: CampaignRow, item: ItemRow, annotator: AnnotatorRow, answers: int) -> list[int]:
    """The order in which this person sees this item's answers: a fixed shuffle of (campaign key, prompt id, handle).

    It depends on no row number, so that a rerun in a fresh database shows the same.
    """
    draw = [campaign.key, item.prompt_id, annotator.handle]
    return sorted(range(answers), key=lambda position: digest_value([*draw, position]))
