"""Handing out tasks and taking what people say of them. Knows leases and revisions; no web, no simulated people.

Every writing function needs the writer's transaction (`store.transaction()`): it has the write lock from its start, so
that no one else takes a seat between the question and the answer. Wrong requests raise StoreError.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Row, Select, and_, bindparam, func, or_, select, true
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.records.durable import digest_value
from burnish.store import assistance, critiques, events, gold, leases
from burnish.store.conversations import pending
from burnish.store.details import NOTHING_MORE, Details
from burnish.store.kinds import settled
from burnish.store.mapping import as_campaign, as_judgement, as_task
from burnish.store.queries import campaign_row, clock, texts
from burnish.store.ranks import own_order
from burnish.store.schema import AnnotatorRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow
from burnish.store.views import Judgement, Share, Task

JUDGEMENTS = UUID("5b1f1d9e-6c0e-4a55-9c86-2f8a4c7d1e03")
"""Namespace of judgement ids: one is the UUIDv5 of its submission, so that the same submissions give the same ids."""

COUNTED = 1000
"""How many of the items that are left to a person are counted: nobody needs to know of more."""

_MET = (
    select(CampaignRow, AnnotatorRow)
    .join_from(CampaignRow, AnnotatorRow, true())
    .where(CampaignRow.id == leases.CAMPAIGN, AnnotatorRow.id == leases.PERSON)
)
_HELD = (
    select(AssignmentRow, ItemRow, AnnotatorRow, CampaignRow)
    .join(ItemRow, ItemRow.id == AssignmentRow.item_id)
    .join(AnnotatorRow, AnnotatorRow.id == AssignmentRow.annotator_id)
    .join(CampaignRow, CampaignRow.id == AssignmentRow.campaign_id)
    .where(AssignmentRow.id == bindparam("task"))
)
_MINE = select(AssignmentRow).where(
    AssignmentRow.item_id == bindparam("item"), AssignmentRow.annotator_id == leases.PERSON
)
_LAST_ANSWERED = (
    select(AssignmentRow.id)
    .where(
        AssignmentRow.campaign_id == leases.CAMPAIGN,
        AssignmentRow.annotator_id == leases.PERSON,
        AssignmentRow.leased_until.is_(None),
    )
    .order_by(AssignmentRow.shown.desc(), AssignmentRow.id.desc())
    .limit(1)
)
_OF_TASK = and_(JudgementRow.assignment_id == bindparam("task"), leases.LATEST)
_LAST = select(JudgementRow).where(_OF_TASK)
_BEFORE = select(JudgementRow).where(or_(JudgementRow.submission == bindparam("submission"), _OF_TASK))
"""The last revision of a task, and what was kept of a submission."""


def next_task(
    session: Session, campaign: int, annotator: int, now: datetime | None = None, *, prompt_id: str | None = None
) -> Task | None:
    """Lend this person the next item (with `prompt_id`: that one) for 15 minutes; None when there is none for them.

    Someone who holds a live lease gets the same item again, with a fresh lease. In a live campaign it is what they were
    answered last. Writes.
    """
    now = clock(now)
    owner, person = campaign_row(session, campaign), session.get_one(AnnotatorRow, annotator)
    given = person.standing == "active" and not owner.closed
    item = _wanted(session, owner, person, now, prompt_id) if given else None
    if item is None:
        return None
    answers = texts(session, item.id)
    held = session.scalars(_MINE, {"item": item.id, "person": annotator}).one_or_none()
    if held is None:
        order = leases.shown_order(owner, item, person, len(answers))
        given = assistance.draw(session, owner, item, person)
        held = AssignmentRow(
            campaign_id=campaign, item_id=item.id, annotator_id=annotator, order=order, assistance=given
        )
        session.add(held)
    held.shown, held.leased_until = now, now + leases.LEASE
    if held.assistance == "before":
        held.advised = held.advised or now
    session.flush()
    return _shown(session, held, item, answers)


def met(session: Session, campaign: int, annotator: int) -> object:
    """A campaign and a person, read at once. As long as somebody keeps what this returns, the session has both, and who
    asks for one of them by its id asks no database."""
    return session.execute(_MET, {"campaign": campaign, "person": annotator}).all()


def find(session: Session, task: int) -> Task | None:
    """A task that was handed out, live or not; None where there is none."""
    found = session.execute(_HELD, {"task": task}).one_or_none()
    return _shown(session, found[0], found[1]) if found else None


def look(session: Session, task: int, now: datetime | None = None) -> Task:
    """A task that was judged, for its person to look at again. Critiques that come after the first judgement are before
    them from here on. Writes."""
    held, item, _, _ = _held(session, task)
    last = _last(session, task)
    if held.assistance == "after" and last and last.ranks and not last.aided:
        now = clock(now)
        held.advised, held.shown = held.advised or now, now
        session.flush()
    return _shown(session, held, item)


def said(session: Session, task: int) -> Judgement | None:
    """What its person says of a task now: their latest revision."""
    _, item, person, _ = _held(session, task)
    last = _last(session, task)
    return last and as_judgement(last, item.prompt_id, person.handle)


def submit(
    session: Session,
    *,
    task: int,
    submission: str,
    ranks: Sequence[int] | None = None,
    details: Details = NOTHING_MORE,
    skip: str | None = None,
    seconds: float | None = None,
    now: datetime | None = None,
    revise: bool = False,
    chances: Sequence[float] | None = None,
) -> Judgement:
    """Keep what a person said: `ranks` in the order shown to them (1 best, equal a tie) where the kind of campaign
    takes them, and `details` beside or instead, in the same order; or why they `skip`. Writes.

    The same submission again returns the judgement that is there. Raises StoreError for what this campaign cannot take,
    when the submission was used for something else, when this task was judged already (`revise` appends a revision
    instead), or when the lease ran out and others took the seats. `seconds` is the time taken; without it, the time
    since the task was last handed out, and for a revision that of the first answer, with the time of the second look
    where critiques came in between. `chances` are a model's; who does not count needs no seat.
    """
    now = clock(now)
    held, item, person, owner = _held(session, task)
    said, beside = _check(held, owner, submission, ranks, details, skip)
    before = session.scalars(_BEFORE, {"task": task, "submission": submission}).all()
    if known := next((row for row in before if row.submission == submission), None):
        if (known.assignment_id, known.ranks, known.details, known.skip) != (task, said, beside, skip):
            raise StoreError(Problem("submission", "was sent before with another answer, which is kept"))
        return as_judgement(known, item.prompt_id, person.handle)
    if person.standing != "active":
        raise StoreError(
            Problem(f"task {task}", "is of someone whose work is on hold; nothing more is taken from them")
        )
    last = next(iter(before), None)  # all that is left is of this task, and its last
    if last and not revise:
        raise StoreError(Problem(f"task {task}", "was judged already; the first answer is kept"))
    if said and person.counts and not (last and last.ranks) and not leases.has_seat(session, item.id, person.id, now):
        # a live lease keeps its seat, so that only one that ran out can meet a full item
        found = "was lent out for too long, and others have judged it since"
        raise StoreError(Problem(f"task {task}", found, "Go on with the next one."))
    row = JudgementRow(
        id=str(uuid5(JUDGEMENTS, submission)),
        submission=submission,
        assignment_id=task,
        item_id=held.item_id,
        annotator_id=held.annotator_id,
        ranks=said,
        details=beside,
        skip=skip,
        chances=None if chances is None else list(chances),
        seconds=_taken(held, last, now) if seconds is None else max(0.0, seconds),
        created=now,
        supersedes=last.id if last else None,
        aided=held.advised is not None,
    )
    session.add(row)
    held.leased_until = None
    session.flush()
    leases.recount(session, item.id)
    return _logged(session, as_judgement(row, item.prompt_id, person.handle), owner.guideline_version)


def share(session: Session, campaign: int, annotator: int) -> Share:
    """How far one person is. A million items are not counted: what is left, up to COUNTED."""
    owner, person = campaign_row(session, campaign), session.get_one(AnnotatorRow, annotator)
    done, last, left = session.execute(_share(not person.languages), leases.looking(campaign, person)).one()
    if owner.live is not None:
        return Share(done=done, last=last, left=int(pending(session, campaign, annotator) is not None))
    left += gold.left(session, owner, person)
    return Share(done=done, last=last, left=0 if owner.closed else left)


def _wanted(
    session: Session, owner: CampaignRow, person: AnnotatorRow, now: datetime, prompt_id: str | None
) -> ItemRow | None:
    if owner.live is not None:
        return pending(session, owner.id, person.id)
    looking = leases.looking(owner.id, person, now=now)
    if prompt_id is not None:
        only = leases.open_items(not person.languages).where(ItemRow.prompt_id == prompt_id)
        return session.scalars(only, looking).one_or_none()
    return session.scalars(leases.HELD_ITEM, looking).first() or gold.next_item(session, owner, person, now)


def _shown(session: Session, held: AssignmentRow, item: ItemRow, answers: Sequence[str] | None = None) -> Task:
    """`answers` where somebody has read them already."""
    said = critiques.of_item(session, item.id) if held.advised else ()
    return as_task(held, item, texts(session, item.id) if answers is None else answers, said)


def _held(session: Session, task: int) -> Row[AssignmentRow, ItemRow, AnnotatorRow, CampaignRow]:
    """All that belongs to a task. Raises StoreError where there is none."""
    found = session.execute(_HELD, {"task": task}).one_or_none()
    if found is None:
        raise StoreError(Problem("task", f"there is no task {task} here"))
    return found


def _check(
    held: AssignmentRow,
    owner: CampaignRow,
    submission: str,
    ranks: Sequence[int] | None,
    details: Details,
    skip: str | None,
) -> tuple[list[int] | None, dict[str, Any] | None]:
    """Ranks and details in the answers' own order, as they are kept; None for a skip, and for no details."""
    if not 1 <= len(submission) <= 100:
        raise StoreError(Problem("submission", "has no id of 1 to 100 characters"))
    if (ranks is not None or bool(details.said)) == (skip is not None):
        raise StoreError(Problem(f"task {held.id}", "takes either ranks or a reason to skip"))
    if skip is not None:
        if not 1 <= len(skip) <= 200:
            raise StoreError(Problem("skip", "needs a reason of 1 to 200 characters"))
        return None, None
    asked = as_campaign(owner)
    shown = settled(asked.kind, asked.asks, len(held.order), ranks, details)
    return list(own_order(shown, held.order)), details.own_order(held.order).as_json() or None


def _taken(held: AssignmentRow, last: JudgementRow | None, now: datetime) -> float:
    """Seconds. Somebody who comes back to an answer has done other work in between; not so at a second look, which
    comes at once."""
    passed = max(0.0, (now - held.shown).total_seconds())
    if last is None:
        return passed
    return last.seconds + passed if held.advised and not last.aided else last.seconds


def _last(session: Session, task: int) -> JudgementRow | None:
    return session.scalars(_LAST, {"task": task}).one_or_none()


@cache
def _share(reads_all: bool) -> Select[int, int | None, int]:
    """What a person has answered, the task that they answered last, and how many items are left to them, up to
    COUNTED."""
    waiting = leases.unanswered_items(reads_all).with_only_columns(ItemRow.id)
    first = waiting.order_by(ItemRow.position).limit(COUNTED)  # or PostgreSQL would compare all with all they judged
    left = select(func.count()).select_from(first.subquery())
    return select(leases.DONE.scalar_subquery(), _LAST_ANSWERED.scalar_subquery(), left.scalar_subquery())


def _logged(session: Session, said: Judgement, guideline: int) -> Judgement:
    ranks = None if said.ranks is None else list(said.ranks)
    payload = {"task": said.task, "ranks": ranks, "skip": said.skip, "supersedes": said.supersedes}
    payload |= {"chances": list(said.chances)} if said.chances else {}
    payload |= {"guideline_version": guideline} if guideline else {}
    payload |= {"aided": True} if said.aided else {}
    if beside := said.details.as_json():
        payload["details"] = digest_value(beside)  # what people write may have to be forgotten; a hashed line cannot be
    events.append(session, at=said.created, actor=said.annotator, verb="judgement.add", target=said.id, payload=payload)
    return said
