"""The pages about items that people judged against each other. Knows HTTP; what a dispute is, `store.disputes`
knows."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from burnish.label import service
from burnish.label.desk import Adjudicator, At, Found, PageNumber
from burnish.store.disputes import PAGE

router = APIRouter(prefix="/campaigns/{campaign}/disagreements")


@router.get("")
def show_disputes(request: Request, at: At, who: Adjudicator, campaign: Found, page: PageNumber = 1) -> Response:
    """The items about which people are at odds, the worst first, with what each said. People go by their handle."""
    found, count = service.disputes(at.store, campaign.id, who.person, page)
    return at.page(request, "disagreements.html", campaign=campaign, found=found, count=count, page=page, per_page=PAGE)
