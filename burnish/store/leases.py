"""Who may be given which item: the seats of an item and the order in which its answers are shown. What is counted on an
item is counted here.

An item has `overlap` seats. A judgement takes one for good, a live lease (handed out, not yet answered, not run out)
takes one for a while, a skip gives it back; but an item that `overlap` people have skipped is closed, and so is one
that an adjudicator has settled.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
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
UNSYNCED = {"synchronize_session": False}
"""What is counted is read again from the database, never from objects that a session holds."""


def recount(session: Session, which: ColumnElement[bool]) -> None:
    """Count anew what these items have: seats, and how far people are at odds. Every write that changes what is judged
    ends with it."""
    counts = {ItemRow.judged: _said(JudgementRow.ranks), ItemRow.skipped: _said(JudgementRow.skip)}
    session.execute(update(ItemRow).where(which).values(counts), execution_options=UNSYNCED)
    overlap = select(CampaignRow.overlap).where(CampaignRow.id == ItemRow.campaign_id).scalar_subquery()
    wanting = and_(ItemRow.judged < overlap, ItemRow.skipped < overlap, NOT_GOLD, ~SETTLED)
    seats = case((wanting, overlap - ItemRow.judged), else_=0)
    alone = case((ItemRow.judged < 2, 0.0), else_=ItemRow.opposed)
    session.execute(update(ItemRow).where(which).values(open_seats=seats, opposed=alone), execution_options=UNSYNCED)
    _count_opposed(session, which)


def touched_by(annotator: int) -> ColumnElement[bool]:
    """Of an ItemRow: this person judged or settled it."""
    said, decided = (select(row.item_id).where(row.annotator_id == annotator) for row in (JudgementRow, SettlementRow))
    return or_(ItemRow.id.in_(said), ItemRow.id.in_(decided))


def _count_opposed(session: Session, which: ColumnElement[bool]) -> None:
    """Of items that several people judged."""
    said = select(JudgementRow.item_id, JudgementRow.ranks, JudgementRow.details)
    said = said.join(ItemRow, ItemRow.id == JudgementRow.item_id)
    said = said.where(which, ItemRow.judged > 1, NOT_GOLD, JudgementRow.ranks.is_not(None), COUNTS).order_by(
        JudgementRow.item_id
    )
    found = [
        {"id": item, "opposed": opposed([as_compared(ranks, details) for _, ranks, details in rows])}
        for item, rows in groupby(session.execute(said), key=lambda row: row[0])
    ]
    if found:
        session.execute(update(ItemRow), found)


def _said(what: InstrumentedAttribute[Any]) -> ScalarSelect[int]:
    found = select(func.count()).select_from(JudgementRow)
    found = found.where(JudgementRow.item_id == ItemRow.id, what.is_not(None), COUNTS)
    return found.correlate(ItemRow).scalar_subquery()


OPEN = ItemRow.open_seats > literal_column("0")
"""Of an ItemRow: someone is still to judge it. The 0 is written out, not bound, or SQLite would not see that the index
`ix_item_open` fits."""


def has_seat(annotator: int, now: datetime) -> ColumnElement[bool]:
    """Of (ItemRow, CampaignRow): a seat is free for this person, their own lease not counted. Gold is for everybody."""
    others = (
        select(func.count())
        .select_from(AssignmentRow)
        .where(
            AssignmentRow.item_id == ItemRow.id,
            AssignmentRow.annotator_id != annotator,
            AssignmentRow.leased_until > now,
        )
    )
    leased = others.correlate(ItemRow).scalar_subquery()
    return or_(~NOT_GOLD, ItemRow.judged + leased < CampaignRow.overlap)


def unanswered_items(campaign: int, person: AnnotatorRow) -> Select[ItemRow]:
    """Items that someone is still to judge, that this person reads and has not answered."""
    answered = exists().where(JudgementRow.item_id == ItemRow.id, JudgementRow.annotator_id == person.id)
    waiting = select(ItemRow).where(ItemRow.campaign_id == campaign, OPEN, ~answered)
    if not person.languages:
        return waiting
    return waiting.where(or_(ItemRow.language.is_(None), ItemRow.language.in_(person.languages)))


def open_items(campaign: int, person: AnnotatorRow, now: datetime) -> Select[ItemRow]:
    """Items that this person could be given now, in the campaign's order: those that have a seat that nobody holds."""
    free = unanswered_items(campaign, person).join(CampaignRow, CampaignRow.id == ItemRow.campaign_id)
    return free.where(has_seat(person.id, now)).order_by(ItemRow.position)


def held_item(campaign: int, annotator: int, now: datetime) -> Select[ItemRow]:
    """The item that this person holds a live lease on and has not answered."""
    return (
        select(ItemRow)
        .join(AssignmentRow, AssignmentRow.item_id == ItemRow.id)
        .where(AssignmentRow.campaign_id == campaign, AssignmentRow.annotator_id == annotator)
        .where(AssignmentRow.leased_until > now)
        .order_by(ItemRow.position)
    )


def shown_order(campaign: CampaignRow, item: ItemRow, annotator: AnnotatorRow, answers: int) -> list[int]:
    """The order in which this person sees this item's answers: a fixed shuffle of (campaign key, prompt id, handle).

    It depends on no row number, so that a rerun in a fresh database shows the same.
    """
    draw = [campaign.key, item.prompt_id, annotator.handle]
    return sorted(range(answers), key=lambda position: digest_value([*draw, position]))
