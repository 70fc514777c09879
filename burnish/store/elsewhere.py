"""Judgements that were not made on the pages: imported from a file, or asked of a model. Knows no file and no model.

They become rows like any other, with a line in the audit log, by the same function that takes people's. Who made them
signs in nowhere. Every function needs the writer's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.store import leases, tasks
from burnish.store.details import NOTHING_MORE, Details
from burnish.store.queries import campaign_row, clock
from burnish.store.schema import AnnotatorRow, AnswerRow, AssignmentRow, ItemRow, JudgementRow
from burnish.store.views import Campaign


def record(
    session: Session,
    *,
    item: int,
    annotator: int,
    submission: str,
    ranks: Sequence[int] | None = None,
    good: bool | None = None,
    skip: str | None = None,
    chances: Sequence[float] | None = None,
    seconds: float = 0.0,
    now: datetime | None = None,
) -> bool:
    """Keep what was said elsewhere of an item, in its answers' own order, or of a single answer whether it is good.
    Returns whether it is new.

    The same submission again changes nothing. Raises StoreError where it says something else now, or where the item has
    all of its judgements; who does not count needs no seat.
    """
    new = session.scalar(select(JudgementRow.id).where(JudgementRow.submission == submission)) is None
    row, person, now = session.get_one(ItemRow, item), session.get_one(AnnotatorRow, annotator), clock(now)
    if new and ranks and person.counts and not leases.has_seat(session, item, annotator, now):
        overlap = campaign_row(session, row.campaign_id).overlap
        mend = "Import into a campaign of its own, or one that asks for more judgements of each item."
        raise StoreError(
            Problem(
                f"prompt {row.prompt_id}",
                f"has the {overlap} judgements that it should get, or people are at them",
                mend,
            )
        )
    held = _held(session, row, annotator, now)
    tasks.submit(
        session,
        task=held.id,
        submission=submission,
        ranks=ranks,
        details=NOTHING_MORE if good is None else Details(good=good),
        skip=skip,
        chances=chances,
        seconds=seconds,
        now=now,
    )
    return new


def require_order(campaign: Campaign) -> None:
    """Raises StoreError for a campaign that does not ask which answer is better."""
    if campaign.kind not in ("pairwise", "ranking"):
        found = f"asks for a {campaign.kind.replace('_', ' or ')}, and not which answer is better"
        raise StoreError(Problem(f"campaign {campaign.name}", found, "Give one of the kind pairwise or ranking."))


def _held(session: Session, item: ItemRow, annotator: int, now: datetime) -> AssignmentRow:
    mine = select(AssignmentRow).where(AssignmentRow.item_id == item.id, AssignmentRow.annotator_id == annotator)
    held = session.scalars(mine).one_or_none()
    if held is None:
        answers = session.scalar(select(func.count()).where(AnswerRow.item_id == item.id)) or 0
        held = AssignmentRow(
            campaign_id=item.campaign_id,
            item_id=item.id,
            annotator_id=annotator,
            order=list(range(answers)),
            shown=now,
            leased_until=None,
        )
        session.add(held)
        session.flush()
    return held
