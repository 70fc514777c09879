"""Who may be given which item: the seats of an item and the order in which its answers are shown. Knows no ranks.

An item has `overlap` seats. A judgement takes one for good, a live lease (handed out, not yet answered, not run out) takes
one for a while, a skip gives it back; but an item that `overlap` people have skipped is closed: it cannot be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ScalarSelect, Select, exists, func, select
from sqlalchemy.orm import aliased

from burnish.records.durable import digest_value
from burnish.store.schema import AnnotatorRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow

LEASE = timedelta(minutes=15)


def latest() -> ColumnElement[bool]:
    """Of JudgementRow: no later revision supersedes it."""
    later = aliased(JudgementRow)
    return ~exists().where(later.supersedes == JudgementRow.id)


def judged() -> ScalarSelect[int]:
    """Of an ItemRow: by how many people it is judged now."""
    return _count_judgements(JudgementRow.ranks.is_not(None))


def skipped() -> ScalarSelect[int]:
    """Of an ItemRow: how many people say now that they cannot judge it."""
    return _count_judgements(JudgementRow.skip.is_not(None))


def has_room(annotator: int, now: datetime) -> ColumnElement[bool]:
    """Of (ItemRow, CampaignRow): there is a seat for this person, their own lease not counted."""
    return (judged() + _leased_to_others(annotator, now) < CampaignRow.overlap) & (skipped() < CampaignRow.overlap)


def open_items(campaign: int, annotator: int, now: datetime) -> Select[ItemRow]:
    """Items that this person could be given: never one that they answered already. Their own live leases come first."""
    answered = exists().where(JudgementRow.item_id == ItemRow.id, JudgementRow.annotator_id == annotator)
    mine = exists().where(
        AssignmentRow.item_id == ItemRow.id, AssignmentRow.annotator_id == annotator, AssignmentRow.leased_until > now
    )
    return (
        select(ItemRow)
        .join(CampaignRow, CampaignRow.id == ItemRow.campaign_id)
        .where(ItemRow.campaign_id == campaign, ~answered, has_room(annotator, now))
        .order_by(mine.desc(), ItemRow.position)
    )


def shown_order(campaign: CampaignRow, item: ItemRow, annotator: AnnotatorRow, answers: int) -> list[int]:
    """The order in which this person sees this item's answers: a fixed shuffle of (campaign key, prompt id, name).

    It depends on no row number, so that a rerun in a fresh database shows the same.
    """
    draw = [campaign.key, item.prompt_id, annotator.name]
    return sorted(range(answers), key=lambda position: digest_value([*draw, position]))


def in_order(texts: Sequence[str], order: Sequence[int]) -> tuple[str, ...]:
    return tuple(texts[position] for position in order)


def _count_judgements(what: ColumnElement[bool]) -> ScalarSelect[int]:
    found = select(func.count()).select_from(JudgementRow).where(JudgementRow.item_id == ItemRow.id, what, latest())
    return found.correlate(ItemRow).scalar_subquery()


def _leased_to_others(annotator: int, now: datetime) -> ScalarSelect[int]:
    answered = exists().where(JudgementRow.assignment_id == AssignmentRow.id)
    found = (
        select(func.count())
        .select_from(AssignmentRow)
        .where(
            AssignmentRow.item_id == ItemRow.id,
            AssignmentRow.annotator_id != annotator,
            AssignmentRow.leased_until > now,
            ~answered,
        )
    )
    return found.correlate(ItemRow).scalar_subquery()
