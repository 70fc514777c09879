"""The pages for those who look after a campaign: how far it is, how its people agree, and which
models they prefer. Knows HTTP; no statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from burnish.label import service
from burnish.label.desk import At, Desk, Found, Overseer, has
from burnish.store.views import Campaign

if TYPE_CHECKING:
    from burnish.label.alarms import Signs

router = APIRouter()


@router.get("/progress")
def show_progress(request: Request, at: At, who: Overseer) -> Response:
    """Every campaign, with what is done, left and skipped; for managers, with whose work needs a look."""
    found = service.campaigns(at.store)
    looks = has(who.person, "manage")
    rows = [(each, service.progress(at.store, each.id), _alarms(at, each) if looks else []) for each in found]
    return at.page(request, "progress.html", rows=rows)


@router.get("/progress/{campaign}")
def show_agreement(request: Request, at: At, who: Overseer, campaign: Found) -> Response:
    """How the people of one campaign agree. Nobody's single answers are shown."""
    names = {person.handle: person.name for person, _ in service.people(at.store)}
    agreement = service.agreement(at.store, campaign.id)
    return at.page(request, "agreement.html", campaign=campaign, agreement=agreement, names=names)


@router.get("/progress/{campaign}/models")
def show_models(
    request: Request, at: At, who: Overseer, campaign: Found, language: str = "", alike: bool = False
) -> Response:
    """Which models people prefer; `alike` asks as if all answers were equally long."""
    found, boards = service.standings(at.store, campaign.id, language=language or None, same_length=alike)
    context = {"campaign": campaign, "found": found, "boards": boards, "language": language, "alike": alike}
    return at.page(request, "models.html", **context)


def _alarms(at: Desk, campaign: Campaign) -> list[Signs]:
    return [signs for signs in service.signs(at.store, campaign) if signs.alarms]
