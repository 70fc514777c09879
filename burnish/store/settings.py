"""What may be changed of a campaign while people judge. Knows what follows for its items; no page.

Gold questions at first, and how many of them must be right, are `store.gold`'s.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from burnish.errors import Problem, Said, StoreError
from burnish.store import events, leases
from burnish.store.queries import campaign_row, clock
from burnish.store.schema import ItemRow
from burnish.store.views import Annotator

LONGEST_GUIDELINE = 20_000
"""Characters."""
MOST_OVERLAP = 100


def change(
    session: Session,
    campaign: int,
    *,
    overlap: int,
    closed: bool,
    guideline: str,
    by: Annotator | None,
    now: datetime | None = None,
) -> None:
    """How many people judge each item, whether anybody is given more, and what they are told. Writes.

    With another overlap, the seats of all items are counted anew; while a million are, others who write wait. Another
    guideline is a new version; the log keeps the texts of all of them, and each judgement's line the version in force.
    """
    if not 1 <= overlap <= MOST_OVERLAP:
        found = Said("from 1 to %(most)s people judge each item, not %(asked)s", most=MOST_OVERLAP, asked=overlap)
        raise StoreError(Problem("overlap", found))
    guideline = guideline.replace("\r\n", "\n").strip()
    if len(guideline) > LONGEST_GUIDELINE:
        raise StoreError(
            Problem("guideline", Said("the guideline has more than %(most)s characters", most=LONGEST_GUIDELINE))
        )
    row = campaign_row(session, campaign)
    if row.live is not None and overlap != 1:
        raise StoreError(Problem("overlap", "in a live campaign each answer is judged by who wrote the message, alone"))
    asked = {"overlap": overlap, "closed": closed, "guideline": guideline}
    changed = {field: value for field, value in asked.items() if getattr(row, field) != value}
    if not changed:
        return
    for field, value in changed.items():
        setattr(row, field, value)
    if "guideline" in changed:
        row.guideline_version += 1
        changed["guideline_version"] = row.guideline_version
    session.flush()
    if "overlap" in changed:
        leases.recount_all(session, ItemRow.campaign_id == campaign)
    actor = by.handle if by else "system"
    events.append(session, at=clock(now), actor=actor, verb="campaign.settings", target=row.key, payload=changed)
