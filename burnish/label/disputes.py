"""The pages about items that people judged against each other, and settling one. Knows HTTP; what a dispute is and who
may settle it, the store knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.desk import Adjudicator, At, Desk, Found, Id, PageNumber, SignedForm
from burnish.label.door import Visitor
from burnish.store.disputes import PAGE, Dispute
from burnish.store.kinds import KINDS
from burnish.store.settlements import LONGEST_NOTE
from burnish.store.views import Campaign

router = APIRouter(prefix="/campaigns/{campaign}/disagreements")


@router.get("")
def show_disputes(request: Request, at: At, who: Adjudicator, campaign: Found, page: PageNumber = 1) -> Response:
    """The items about which people are at odds, the worst first, with what each said. People go by their handle."""
    found, count = service.disputes(at.store, campaign.id, who.person, page)
    settled = service.settled(at.store, campaign.id) if page == 1 else []
    context = {"found": found, "count": count, "page": page, "per_page": PAGE, "settled": settled}
    return at.page(request, "disagreements.html", campaign=campaign, **context)


def dispute_of(at: At, who: Adjudicator, campaign: Found, item: Id) -> tuple[Dispute, bool]:
    """The item of the address, and whether the visitor judged it; 404 for one that fewer than two people judged."""
    try:
        return service.dispute(at.store, campaign.id, item, who.person)
    except StoreError as error:
        raise HTTPException(404) from error


Disputed = Annotated[tuple[Dispute, bool], Depends(dispute_of)]


@router.get("/{item}")
def show_dispute(request: Request, at: At, who: Adjudicator, campaign: Found, disputed: Disputed) -> Response:
    """One item, with a form to settle it for those who did not judge it."""
    return _page(request, at, campaign, disputed)


@router.post("/{item}")
def settle(
    request: Request, at: At, who: Adjudicator, form: SignedForm, campaign: Found, disputed: Disputed
) -> Response:
    """Decide the item's order, or decide it again."""
    try:
        _settle(at, who, campaign, disputed[0], form)
    except (StoreError, DataError) as error:
        return _page(request, at, campaign, disputed, 422, error=error.problems[0], filled=form)
    return RedirectResponse(f"/campaigns/{campaign.id}/disagreements", 303)


def _settle(at: Desk, who: Visitor, campaign: Campaign, dispute: Dispute, form: Mapping[str, str]) -> None:
    service.settle(
        at.store,
        dispute.item.id,
        who.person,
        submission=form.get("submission", ""),
        ranks=KINDS[campaign.kind].decide(form, len(dispute.order)),
        note=form.get("note", "").strip(),
        over=form.get("over") or None,
    )


def _page(
    request: Request, at: Desk, campaign: Campaign, disputed: tuple[Dispute, bool], status: int = 200, **context: object
) -> Response:
    dispute, judged = disputed
    last = dispute.settlement
    decided = KINDS[campaign.kind].decided(tuple(last.ranks[own] for own in dispute.order)) if last else {}
    context = {"filled": decided, **context, "dispute": dispute, "judged": judged, "submission": str(uuid4())}
    return at.page(request, "disagreement.html", status, campaign=campaign, longest=LONGEST_NOTE, **context)
