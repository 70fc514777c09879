"""The pages for those who look after a campaign: how far it is, and how its people agree. Knows HTTP; no statistics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from burnish.label import service
from burnish.label.desk import At, Found, Overseer

router = APIRouter()


@router.get("/progress")
def show_progress(request: Request, at: At, who: Overseer) -> Response:
    """Every campaign, with what is done, left and skipped."""
    found = service.campaigns(at.store)
    return at.page(request, "progress.html", rows=[(each, service.progress(at.store, each.id)) for each in found])


@router.get("/progress/{campaign}")
def show_agreement(request: Request, at: At, who: Overseer, campaign: Found) -> Response:
    """How the people of one campaign agree. Nobody's single answers are shown."""
    names = {person.handle: person.name for person, _ in service.people(at.store)}
    agreement = service.agreement(at.store, campaign.id)
    return at.page(request, "agreement.html", campaign=campaign, agreement=agreement, names=names)
