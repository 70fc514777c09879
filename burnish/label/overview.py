"""The pages for those who look after a campaign: how far it is, and how its people agree. Knows HTTP; no statistics."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from burnish.errors import StoreError
from burnish.label import service
from burnish.label.desk import At, Id, Overseer

router = APIRouter()


@router.get("/progress")
def show_progress(request: Request, at: At, who: Overseer) -> Response:
    """Every campaign, with what is done, left and skipped."""
    found = service.campaigns(at.store)
    return at.page(request, "progress.html", rows=[(each, service.progress(at.store, each.id)) for each in found])


@router.get("/progress/{campaign}")
def show_agreement(request: Request, at: At, who: Overseer, campaign: Id) -> Response:
    """How the people of one campaign agree. Nobody's single answers are shown."""
    try:
        found = service.campaign(at.store, campaign)
    except StoreError as error:
        raise HTTPException(404) from error
    names = {person.handle: person.name for person, _ in service.people(at.store)}
    agreement = service.agreement(at.store, campaign)
    return at.page(request, "agreement.html", campaign=found, agreement=agreement, names=names)
