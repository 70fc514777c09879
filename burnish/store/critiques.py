"""What models say of answers, to stand beside them. Knows rows; who is shown them, and what comes of it, is
`store.assistance`'s.

An item's critiques come together and never change: what people saw is what is here. Writing needs the writer's
transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.records.durable import digest_value
from burnish.store import events, leases
from burnish.store.mapping import as_prompt
from burnish.store.queries import campaign_row, clock, texts
from burnish.store.schema import AnswerRow, CritiqueRow, ItemRow
from burnish.store.views import Item
from burnish.types import Critique

LONGEST_CRITIQUE = 4_000
"""Characters."""
Critiques = tuple[Critique | None, ...]
"""Of an item's answers, in their own order; None of one of which nothing is said."""
CRITICISED = exists().where(CritiqueRow.answer_id == AnswerRow.id, AnswerRow.item_id == ItemRow.id)
"""Of an ItemRow: something is said of one of its answers at least."""


def add(session: Session, item: int, critiques: Sequence[Critique | None], now: datetime | None = None) -> bool:
    """Keep what is said of an item's answers, in their own order. Returns whether that is new.

    The same again changes nothing. Raises StoreError where other things were said of them, or a text cannot be kept.
    """
    row, known = session.get_one(ItemRow, item), of_item(session, item)
    answers = list(session.scalars(select(AnswerRow.id).where(AnswerRow.item_id == item).order_by(AnswerRow.position)))
    place = f"prompt {row.prompt_id}"
    if len(critiques) != len(answers):
        raise StoreError(Problem(place, f"{len(critiques)} critiques for {len(answers)} answers"))
    if any(each and not 1 <= len(each.text.strip()) <= LONGEST_CRITIQUE for each in critiques):
        raise StoreError(Problem(place, f"a critique has 1 to {LONGEST_CRITIQUE:,} characters", "Shorten it."))
    if any(known) or not any(critiques):
        if any(critiques) and known != tuple(critiques):
            found = "has other critiques already, and people may have read them"
            raise StoreError(Problem(place, found, "Make a new campaign for new critiques."))
        return False
    now = clock(now)
    for answer, said in zip(answers, critiques, strict=True):
        if said:
            made = {"text": said.text, "model": said.model, "right": said.right, "created": now}
            session.add(CritiqueRow(answer_id=answer, **made))
    session.flush()
    told = [each and each.as_json() for each in critiques]
    payload = {"models": sorted({each.model for each in critiques if each}), "digest": digest_value(told)}
    target = f"{campaign_row(session, row.campaign_id).key}/{row.prompt_id}"
    events.append(session, at=now, actor="system", verb="critique.add", target=target, payload=payload)
    return True


def of_item(session: Session, item: int) -> Critiques:
    """What is said of an item's answers, in their own order."""
    return _read(session, AnswerRow.item_id == item).get(item, ())


def by_item(session: Session, campaign: int) -> Mapping[int, Critiques]:
    """The same of all items of a campaign of which something is said."""
    found = _read(session, AnswerRow.item_id.in_(select(ItemRow.id).where(ItemRow.campaign_id == campaign)))
    return {item: said for item, said in found.items() if any(said)}


def count(session: Session, campaign: int) -> dict[str, int]:
    """How many critiques a campaign has, by who wrote them."""
    found = select(CritiqueRow.model, func.count()).join(AnswerRow, AnswerRow.id == CritiqueRow.answer_id)
    found = found.join(ItemRow, ItemRow.id == AnswerRow.item_id).where(ItemRow.campaign_id == campaign)
    return dict(sorted((row[0], row[1]) for row in session.execute(found.group_by(CritiqueRow.model))))


def wanting(session: Session, campaign: int) -> list[Item]:
    """Items of whose answers nothing is said and that somebody may still judge, known ones too, as they come."""
    asked = select(ItemRow).where(ItemRow.campaign_id == campaign, ~CRITICISED, or_(leases.OPEN, ~leases.NOT_GOLD))
    rows = session.scalars(asked.order_by(ItemRow.position)).all()
    return [Item(id=row.id, prompt=as_prompt(row), answers=tuple(texts(session, row.id))) for row in rows]


def _read(session: Session, which: ColumnElement[bool]) -> dict[int, Critiques]:
    rows = select(AnswerRow.item_id, CritiqueRow).outerjoin(CritiqueRow, CritiqueRow.answer_id == AnswerRow.id)
    found: dict[int, list[Critique | None]] = defaultdict(list)
    for item, row in session.execute(rows.where(which).order_by(AnswerRow.item_id, AnswerRow.position)):
        found[item].append(_as_critique(row))
    return {item: tuple(said) for item, said in found.items()}


def _as_critique(row: Any) -> Critique | None:
    return row and Critique(text=row.text, model=row.model, right=row.right)
