"""Items about which people are at odds, the worst first. Knows items and what was said of them; no page.

A million judgements are not read for it: how far people are at odds is counted on the item whenever somebody says
something (`store.leases.recount`), and only the items of one page are read whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap

from sqlalchemy import Select, func, literal_column, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.store import leases
from burnish.store.mapping import as_judgement, as_prompt, judgement_rows
from burnish.store.queries import campaign_row, texts
from burnish.store.schema import AnnotatorRow, ItemRow, JudgementRow
from burnish.store.settlements import Settlement, settlement
from burnish.store.views import Item, Judgement

PAGE = 10
"""Items of one page."""
OPPOSED = ItemRow.opposed > literal_column("0")
"""Of an ItemRow: two people ordered some pair of its answers against each other. The 0 is written out for the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """An item with all that counts of what was said of it."""

    item: Item
    opposed: float
    """Share of pairs that two people ordered against each other."""
    order: tuple[int, ...]
    """order[i] is the position of the answer that its reader sees in place i: drawn as for those who judge, so that a
    place tells no model."""
    said: tuple[Judgement, ...]
    """Ranks, by handle; skips are left out."""
    settlement: Settlement | None
    """The last word on it, if there was one."""


def disputes(session: Session, campaign: int, reader: int, page: int = 1) -> list[Dispute]:
    """One page of a campaign's disputes as `reader` (an annotator) sees them, the worst first; what is settled is none.
    Pages count from 1."""
    campaign_row(session, campaign)
    rows = session.scalars(_open(campaign).offset(PAGE * (page - 1)).limit(PAGE)).all()
    return _read(session, rows, reader)


def disputed(session: Session, campaign: int) -> int:
    """How many disputes a campaign has."""
    return session.scalar(select(func.count()).select_from(_open(campaign).subquery())) or 0


def dispute(session: Session, campaign: int, item: int, reader: int) -> Dispute:
    """One item that several people judged. Raises StoreError for any other, and for a gold question."""
    row = session.get(ItemRow, item)
    if row is None or row.campaign_id != campaign or row.judged < 2 or row.gold:
        raise StoreError(Problem("item", f"{item} is none of this campaign's that several people judged"))
    return _read(session, [row], reader)[0]


def _open(campaign: int) -> Select[ItemRow]:
    wanted = select(ItemRow).where(ItemRow.campaign_id == campaign, OPPOSED, ~leases.SETTLED)
    return wanted.order_by(ItemRow.opposed.desc(), ItemRow.id.desc())


def _read(session: Session, rows: Sequence[ItemRow], reader: int) -> list[Dispute]:
    said: dict[int, list[Judgement]] = {row.id: [] for row in rows}
    wanted = judgement_rows().where(JudgementRow.item_id.in_(said), JudgementRow.ranks.is_not(None), leases.COUNTS)
    for judgement in starmap(as_judgement, session.execute(wanted)):
        said[judgement.item].append(judgement)
    person = session.get_one(AnnotatorRow, reader)
    return [_dispute(session, row, said[row.id], person) for row in rows]


def _dispute(session: Session, row: ItemRow, said: list[Judgement], reader: AnnotatorRow) -> Dispute:
    answers = tuple(texts(session, row.id))
    order = leases.shown_order(campaign_row(session, row.campaign_id), row, reader, len(answers))
    return Dispute(
        item=Item(id=row.id, prompt=as_prompt(row), answers=answers),
        opposed=row.opposed,
        order=tuple(order),
        said=tuple(sorted(said, key=lambda each: each.annotator)),
        settlement=settlement(session, row.id),
    )
