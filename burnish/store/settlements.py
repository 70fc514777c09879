"""How items that people judged against each other are settled: by the order of someone who did not judge them.

A settlement stands beside the judgements, which it does not touch, and is append-only as they are. A second thought,
whoever's, is a new row that names the one it is in place of; who writes it says which they had read, so that nobody
overwrites what they have not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, Said, StoreError
from burnish.store import events, leases
from burnish.store.kinds import KINDS
from burnish.store.mapping import as_campaign
from burnish.store.queries import campaign_row, clock, texts
from burnish.store.ranks import own_order
from burnish.store.schema import AnnotatorRow, ItemRow, JudgementRow, SettlementRow
from burnish.store.views import Annotator

SETTLEMENTS = UUID("0d0f6c53-6a1b-4b0e-8f4a-4a2b7f1f7d66")
"""Namespace of settlement ids: one is the UUIDv5 of its submission."""
LONGEST_NOTE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The order that was decided for an item."""

    id: str
    item: int
    prompt_id: str
    adjudicator: str
    """The handle."""
    ranks: tuple[int, ...]
    """In the answers' own order; 1 is best, equal numbers are a tie, no gaps. Where a single answer is good or bad: its
    rank and that of what would be just good enough (`store.ranks.compared`)."""
    note: str
    """Why."""
    created: datetime
    counts: bool
    """Whether it settles the item: not, while its author's work is withdrawn."""


def settle(
    session: Session,
    *,
    item: int,
    by: Annotator,
    submission: str,
    ranks: Sequence[int],
    note: str = "",
    over: str | None = None,
    now: datetime | None = None,
) -> Settlement:
    """Decide an item's order: one rank each, as its answers are shown to `by`; 1 best, equal a tie. A single answer is
    ranked beside what would be just good enough, above or below it. Writes.

    `over` is the id of the settlement that `by` had before them, None for none. The same submission again returns the
    settlement that is there. Raises StoreError for someone who judged the item or whose work is on hold, for an item
    that fewer than two judged, and when somebody else settled it meanwhile.
    """
    now, row = clock(now), session.get_one(ItemRow, item)
    person = session.get_one(AnnotatorRow, by.id)
    order = _places(session, row, person)
    own = list(own_order(ranks, order))
    known = session.scalars(select(SettlementRow).where(SettlementRow.submission == submission)).one_or_none()
    if known:
        if (known.item_id, known.annotator_id, known.ranks, known.note) != (item, by.id, own, note):
            raise StoreError(Problem("submission", "was sent before with another order, which is kept"))
        return _of_item(session, item)
    last = session.scalars(_last().where(SettlementRow.item_id == item)).one_or_none()
    _refuse(session, row, person, own, note)
    if (last.id if last else None) != over:
        found = "was settled by somebody else while you were reading it"
        raise StoreError(Problem(f"item {item}", found, "Look at their order, and decide again if it must be."))
    made = SettlementRow(
        id=str(uuid5(SETTLEMENTS, submission)),
        submission=submission,
        item_id=item,
        annotator_id=by.id,
        ranks=own,
        note=note,
        created=now,
        supersedes=over,
    )
    session.add(made)
    session.flush()
    leases.recount(session, item)
    payload = {"item": item, "prompt": row.prompt_id, "ranks": own, "note": note, "supersedes": over}
    events.append(session, at=now, actor=person.handle, verb="item.settle", target=made.id, payload=payload)
    return _of_item(session, item)


def settlement(session: Session, item: int) -> Settlement | None:
    """The last word on an item, if there was one."""
    found = session.execute(_read().where(SettlementRow.item_id == item)).one_or_none()
    return _as_settlement(found) if found else None


def settled(session: Session, campaign: int) -> list[Settlement]:
    """What settles a campaign's items, the newest first."""
    wanted = _read().where(ItemRow.campaign_id == campaign, AnnotatorRow.standing != "withdrawn")
    newest = wanted.order_by(SettlementRow.created.desc(), SettlementRow.id)
    return list(map(_as_settlement, session.execute(newest)))


def has_judged(session: Session, item: int, annotator: int) -> bool:
    """Whether this person ever ordered the item's answers, whatever they think now."""
    mine = (JudgementRow.item_id == item, JudgementRow.annotator_id == annotator, JudgementRow.ranks.is_not(None))
    return session.scalars(select(JudgementRow.id).where(*mine).limit(1)).first() is not None


def _places(session: Session, item: ItemRow, person: AnnotatorRow) -> list[int]:
    """The positions that are ranked, as this person sees them."""
    campaign, answers = campaign_row(session, item.campaign_id), len(texts(session, item.id))
    return KINDS[as_campaign(campaign).kind].places(leases.shown_order(campaign, item, person, answers))


def _refuse(session: Session, item: ItemRow, person: AnnotatorRow, own: Sequence[int], note: str) -> None:
    place = f"item {item.id}"
    if person.standing != "active":
        raise StoreError(Problem(place, "cannot be settled by someone whose work is on hold"))
    if has_judged(session, item.id, person.id):
        raise StoreError(Problem(place, "was judged by you, so that somebody else has to settle it"))
    if len(own) < 2:
        raise StoreError(Problem(place, "has one answer, and no order that could be settled"))
    if len(texts(session, item.id)) < 2 and own[0] == own[1]:
        raise StoreError(Problem(place, "has one answer, which is good or bad"))
    if item.judged < 2:
        raise StoreError(Problem(place, "was judged by fewer than two people; there is nothing to settle"))
    if len(note) > LONGEST_NOTE:
        found = Said("your reason has %(number)s characters; %(most)s are kept", number=len(note), most=LONGEST_NOTE)
        raise StoreError(Problem("note", found))


def _last() -> Select[SettlementRow]:
    return select(SettlementRow).where(leases.LAST_SETTLEMENT)


def _read() -> Select[SettlementRow, str, str, str]:
    found = select(SettlementRow, ItemRow.prompt_id, AnnotatorRow.handle, AnnotatorRow.standing)
    found = found.join(ItemRow, ItemRow.id == SettlementRow.item_id)
    return found.join(AnnotatorRow, AnnotatorRow.id == SettlementRow.annotator_id).where(leases.LAST_SETTLEMENT)


def _of_item(session: Session, item: int) -> Settlement:
    return _as_settlement(session.execute(_read().where(SettlementRow.item_id == item)).one())


def _as_settlement(found: Row[SettlementRow, str, str, str]) -> Settlement:
    row, prompt_id, handle, standing = found
    return Settlement(
        id=row.id,
        item=row.item_id,
        prompt_id=prompt_id,
        adjudicator=handle,
        ranks=tuple(row.ranks),
        note=row.note,
        created=row.created,
        counts=standing != "withdrawn",
    )
