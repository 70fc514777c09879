"""The order of a campaign's queue. Knows positions and what was judged; not why an item should come first.

`put_first` needs the writer's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from burnish.store import events, leases
from burnish.store.people import SYSTEM
from burnish.store.queries import campaign_row, clock, items
from burnish.store.schema import ItemRow
from burnish.store.views import Item

SELECTION = "selection"
"""The column of a prompt's `meta` that says how it came to be asked about."""


def untouched(session: Session, campaign: int) -> list[Item]:
    """Items that nobody has judged or skipped, by prompt id. Gold ones measure people and are not for choosing."""
    wanted = {row.id for row in session.scalars(_untouched(campaign))}
    return [item for item in items(session, campaign) if item.id in wanted]


def chances(session: Session, wanted: Collection[int]) -> dict[int, float]:
    """Of these items, the probability with which each was chosen, where it was."""
    found = session.execute(select(ItemRow.id, ItemRow.meta).where(ItemRow.id.in_(wanted)))
    return {row.id: row.meta[SELECTION]["probability"] for row in found if SELECTION in row.meta}


def put_first(
    session: Session,
    campaign: int,
    chosen: Mapping[int, Mapping[str, Any]],
    *,
    why: Mapping[str, Any],
    now: datetime | None = None,
) -> None:
    """Let these items come before all others that nobody has touched; those keep their order.

    What is said of each goes into its `meta`, and `why` into the log. An item that was judged meanwhile stays where it
    is, with what is said of it.
    """
    rows = {row.id: row for row in session.scalars(_untouched(campaign).order_by(ItemRow.position))}
    free = list(rows.values())
    places = [row.position for row in free]
    wanted = [rows[item] for item in chosen if item in rows]
    for row in free:
        row.position = -1 - row.position  # two items may never share a place, not even for a moment
    session.flush()
    first = {row.id for row in wanted}
    for place, row in zip(places, [*wanted, *(row for row in free if row.id not in first)], strict=True):
        row.position = place
    for item, said in chosen.items():
        row = session.get_one(ItemRow, item)
        row.meta = {**row.meta, SELECTION: dict(said)}
    session.flush()
    key = campaign_row(session, campaign).key
    events.append(session, at=clock(now), actor=SYSTEM, verb="campaign.order", target=key, payload=dict(why))


def _untouched(campaign: int):
    return select(ItemRow).where(
        ItemRow.campaign_id == campaign, ItemRow.judged == 0, ItemRow.skipped == 0, leases.OPEN
    )
