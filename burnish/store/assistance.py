"""Whether a model's critiques help people judge: who is shown them is drawn and kept with the task, so that it can be
measured. Knows draws and what was said; no statistics and no page.

Every pair of a person and an item is a draw of its own: a share of them get the item's critiques, before the person's
first judgement or after it, the others never do. What is known to be right are gold questions (`store.gold`): with
planted flaws in their answers, and with critiques that are right or wrong. In a training nothing is drawn, for there
people are measured by themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.records.durable import digest_value
from burnish.store import critiques, events, gold, leases
from burnish.store.mapping import as_compared
from burnish.store.queries import campaign_row, clock
from burnish.store.schema import AnnotatorRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow
from burnish.store.views import ASSISTANCE, Annotator, Assistance


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a person made of a known item at one look."""

    score: float
    """As `store.gold.score`: 1 is right, 0 wrong."""
    seconds: float
    """All that they spent on the item until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One person and one item whose right judgement is known."""

    person: int
    item: int
    given: Assistance
    """What was drawn."""
    right: bool | None
    """Whether the item's critiques are: not, if one of them is wrong; None where nobody knows."""
    unaided: Look | None
    """What they said first without critiques."""
    aided: Look | None
    """What they said first with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """How a judgement was made, of one whose pair was drawn."""

    given: Assistance
    """none: without critiques, though it may have been drawn otherwise."""
    unaided: tuple[int, ...] | None
    """Of one that was made after the critiques: the ranks without, in the answers' own order, as
    `store.ranks.compared` has them."""


def change(
    session: Session, campaign: int, given: str, share: float, *, by: Annotator | None, now: datetime | None = None
) -> None:
    """Whether critiques stand beside answers, and for which share of pairs. What was drawn stays. Writes.

    `by` is None for whoever runs the server.
    """
    if given not in ASSISTANCE:
        raise StoreError(Problem("given", "choose whether critiques are shown, and when"))
    if not 0 <= share <= 1:
        raise StoreError(Problem("share", "takes a share from 0 to 1"))
    row = campaign_row(session, campaign)
    if (row.assistance, row.assisted) == (given, share):
        return
    row.assistance, row.assisted = given, share
    session.flush()
    said = {"assistance": given, "share": share}
    actor = by.handle if by else "system"
    events.append(session, at=clock(now), actor=actor, verb="campaign.assistance", target=row.key, payload=said)


def draw(session: Session, owner: CampaignRow, item: ItemRow, person: AnnotatorRow) -> Assistance | None:
    """What this person gets with this item: a function of campaign, prompt and handle, as the order of answers is.

    None, and nothing is measured, where the campaign gives none or the item has none, in a training, and for those
    who read nothing.
    """
    if owner.assistance == "none" or person.kind != "person" or not any(critiques.of_item(session, item.id)):
        return None
    if item.gold and owner.training and gold.training(session, owner.id, person.id).passed_after is None:
        return None
    drawn = int(digest_value(["assistance", owner.key, item.prompt_id, person.handle])[:16], 16) / 16**16
    return cast(Assistance, owner.assistance) if drawn < owner.assisted else "none"


def second_look(session: Session, campaign: int, annotator: int) -> int | None:
    """The task that this person has judged without its critiques and is to look at again, with them."""
    person, owner = session.get_one(AnnotatorRow, annotator), campaign_row(session, campaign)
    if owner.assistance != "after" or person.standing != "active":
        return None
    mine = (AssignmentRow.campaign_id == campaign, AssignmentRow.annotator_id == annotator)
    waiting = select(AssignmentRow.id).join(JudgementRow, JudgementRow.assignment_id == AssignmentRow.id)
    waiting = waiting.where(*mine, AssignmentRow.assistance == "after", AssignmentRow.leased_until.is_(None))
    waiting = waiting.where(JudgementRow.ranks.is_not(None), ~JudgementRow.aided, leases.LATEST)
    return session.scalars(waiting.order_by(AssignmentRow.id).limit(1)).first()


def known(session: Session, campaign: int) -> list[Known]:
    """What people made of known items whose pair was drawn, by person and item. Skips, and whose work was withdrawn,
    are left out."""
    rights = {item: _right(said) for item, said in critiques.by_item(session, campaign).items()}
    said = select(JudgementRow, AssignmentRow.assistance, ItemRow.gold)
    said = said.join(AssignmentRow, AssignmentRow.id == JudgementRow.assignment_id)
    said = said.join(ItemRow, ItemRow.id == JudgementRow.item_id)
    said = said.join(AnnotatorRow, AnnotatorRow.id == JudgementRow.annotator_id)
    said = said.where(AssignmentRow.campaign_id == campaign, AssignmentRow.assistance.is_not(None), ~leases.NOT_GOLD)
    said = said.where(JudgementRow.ranks.is_not(None), AnnotatorRow.standing != "withdrawn", AnnotatorRow.counts)
    pairs: dict[tuple[int, int], tuple[str | None, dict[bool, Look]]] = {}
    for row, given, right in session.execute(said.order_by(JudgementRow.created, JudgementRow.id)):
        _, looks = pairs.setdefault((row.annotator_id, row.item_id), (given, {}))
        score = gold.score(as_compared(row.ranks, row.details), right or ())
        looks.setdefault(row.aided, Look(score=score, seconds=row.seconds))
    return [
        Known(
            person=person,
            item=item,
            given=cast(Assistance, given),
            right=rights.get(item),
            unaided=looks.get(False),
            aided=looks.get(True),
        )
        for (person, item), (given, looks) in sorted(pairs.items())
    ]


def drawn(session: Session, campaign: int) -> Mapping[str, int]:
    """How many tasks were handed out with what, known ones or not."""
    found = select(AssignmentRow.assistance, func.count()).where(
        AssignmentRow.campaign_id == campaign, AssignmentRow.assistance.is_not(None)
    )
    return {row[0] or "none": row[1] for row in session.execute(found.group_by(AssignmentRow.assistance))}


def beside(session: Session, campaign: int, items: Collection[int] | None = None) -> Mapping[str, Beside]:
    """By judgement, how those were made whose pair was drawn: latest revisions, gold questions not among them. Of some
    items alone where they are named."""
    wanted = select(JudgementRow, AssignmentRow.assistance)
    wanted = wanted.join(AssignmentRow, AssignmentRow.id == JudgementRow.assignment_id)
    wanted = wanted.join(ItemRow, ItemRow.id == JudgementRow.item_id)
    wanted = wanted.where(AssignmentRow.campaign_id == campaign, AssignmentRow.assistance.is_not(None), leases.NOT_GOLD)
    wanted = wanted.where(JudgementRow.ranks.is_not(None))
    if items is not None:
        wanted = wanted.where(JudgementRow.item_id.in_(items))
    before: dict[int, tuple[int, ...]] = {}
    for row, _ in session.execute(wanted.where(~JudgementRow.aided).order_by(JudgementRow.created, JudgementRow.id)):
        before.setdefault(row.assignment_id, as_compared(row.ranks, row.details))
    return {
        row.id: Beside(
            given=cast(Assistance, given if row.aided else "none"),
            unaided=before.get(row.assignment_id) if row.aided else None,
        )
        for row, given in session.execute(wanted.where(leases.LATEST))
    }


def _right(said: critiques.Critiques) -> bool | None:
    told = {each.right for each in said if each}
    return False if False in told else True if True in told else None
