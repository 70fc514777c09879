"""Who may be given which item: the seats of an item and the order in which its answers are shown. Knows no ranks.

An item has `overlap` seats. A judgement takes one for good, a live lease (handed out, not yet answered, not run out)
takes one for a while, a skip gives it back; but an item that `overlap` people have skipped is closed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ScalarSelect, Select, exists, func, select
from sqlalchemy.orm import aliased

from burnish.records.durable import digest_value
from burnish.store.schema import AnnotatorRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow

LEASE = timedelta(minutes=15)
_LATER = aliased(JudgementRow)
LATEST = ~exists().where(_LATER.supersedes == JudgementRow.id)
"""Of a JudgementRow: no later revision supersedes it."""


def _count_judgements(what: ColumnElement[bool]) -> ScalarSelect[int]:
    found = select(func.count()).select_from(JudgementRow).where(JudgementRow.item_id == ItemRow.id, what, LATEST)
    return found.correlate(ItemRow).scalar_subquery()


JUDGED = _count_judgements(JudgementRow.ranks.is_not(None))
"""Of an ItemRow: by how many people it is judged now."""
SKIPPED = _count_judgements(JudgementRow.skip.is_not(None))
"""Of an ItemRow: how many people say now that they cannot judge it."""
_UNANSWERED = ~exists().where(JudgementRow.assignment_id == AssignmentRow.id)


def has_seat(annotator: int, now: datetime) -> ColumnElement[bool]:
    """Of (ItemRow, CampaignRow): a seat is free for this person, their own lease not counted."""
    others = (
        select(func.count())
        .select_from(AssignmentRow)
        .where(
            AssignmentRow.item_id == ItemRow.id,
            AssignmentRow.annotator_id != annotator,
            AssignmentRow.leased_until > now,
            _UNANSWERED,
        )
    )
    leased = others.correlate(ItemRow).scalar_subquery()
    return JUDGED + leased < CampaignRow.overlap


def open_items(campaign: int, annotator: int, now: datetime) -> Select[ItemRow]:
    """Items that this person could be given, in the campaign's order: never one that they answered already."""
    answered = exists().where(JudgementRow.item_id == ItemRow.id, JudgementRow.annotator_id == annotator)
    return (
        select(ItemRow)
        .join(CampaignRow, CampaignRow.id == ItemRow.campaign_id)
        .where(ItemRow.campaign_id == campaign, ~answered, has_seat(annotator, now), CampaignRow.overlap > SKIPPED)
        .order_by(ItemRow.position)
    )


def held_item(campaign: int, annotator: int, now: datetime) -> Select[ItemRow]:
    """The item that this person holds a live lease on and has not answered."""
    return (
        select(ItemRow)
        .join(AssignmentRow, AssignmentRow.item_id == ItemRow.id)
        .where(ItemRow.campaign_id == campaign, AssignmentRow.annotator_id == annotator)
        .where(AssignmentRow.leased_until > now, _UNANSWERED)
        .order_by(ItemRow.position)
    )


def shown_order(campaign: CampaignRow, item: ItemRow, annotator: AnnotatorRow, answers: int) -> list[int]:
    """The order in which this person sees this item's answers: a fixed shuffle of (campaign key, prompt id, name).

    It depends on no row number, so that a rerun in a fresh database shows the same.
    """
    draw = [campaign.key, item.prompt_id, annotator.name]
    return sorted(range(answers), key=lambda position: digest_value([*draw, position]))
