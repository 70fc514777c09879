"""How people worked of late: how long they took, which places they chose, what they made of gold questions. Knows rows;
no statistics and no verdict."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from burnish.store import gold, leases
from burnish.store.mapping import as_annotator
from burnish.store.schema import AnnotatorRow, AssignmentRow, JudgementRow
from burnish.store.views import Annotator

LATEST = 300
"""Answers of each person that are read: enough to see a share of 57 in 100, and what they do now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """One person's latest answers in a campaign, LATEST at most; skips are left out."""

    person: Annotator
    seconds: tuple[float, ...]
    first: int
    """How many placed the answer that was shown first above the one that was shown last."""
    last: int
    """How many did the reverse; ties are neither."""
    training: gold.Training


def conduct(session: Session, campaign: int) -> list[Conduct]:
    """Of every person who judged something, by handle."""
    rows = session.scalars(select(AnnotatorRow).where(AnnotatorRow.kind == "person"))
    people = sorted(map(as_annotator, rows), key=lambda person: person.handle)
    found = (_of(session, campaign, person) for person in people)
    return [each for each in found if each]


def _of(session: Session, campaign: int, person: Annotator) -> Conduct | None:
    said = select(JudgementRow.seconds, JudgementRow.ranks, AssignmentRow.order)
    said = said.join(AssignmentRow, AssignmentRow.id == JudgementRow.assignment_id)
    said = said.where(AssignmentRow.annotator_id == person.id, AssignmentRow.campaign_id == campaign)
    said = said.where(AssignmentRow.leased_until.is_(None), JudgementRow.ranks.is_not(None), leases.LATEST)
    rows = session.execute(said.order_by(AssignmentRow.id.desc()).limit(LATEST)).all()
    if not rows:
        return None
    ahead = [(ranks or [])[order[-1]] - (ranks or [])[order[0]] for _, ranks, order in rows]
    return Conduct(
        person=person,
        seconds=tuple(seconds for seconds, _, _ in rows),
        first=sum(each > 0 for each in ahead),
        last=sum(each < 0 for each in ahead),
        training=gold.training(session, campaign, person.id),
    )
