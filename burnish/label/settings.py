"""The page of what a manager may set of a campaign. Knows HTTP; what follows from it, `store.settings` knows."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.desk import At, Desk, Found, Manager, SignedForm
from burnish.label.forms import whole
from burnish.store.settings import LONGEST_GUIDELINE, MOST_OVERLAP
from burnish.store.views import Campaign

router = APIRouter(prefix="/progress/{campaign}/settings")


@router.get("")
def show_settings(request: Request, at: At, who: Manager, campaign: Found, saved: str = "") -> Response:
    """How many judge each item, whether it is open, and its guideline as it is and as people see it."""
    return _page(request, at, campaign, saved=saved)


@router.post("")
def change_settings(request: Request, at: At, who: Manager, form: SignedForm, campaign: Found) -> Response:
    """Set all of them."""
    try:
        overlap, closed = whole(form, "overlap", MOST_OVERLAP), form.get("closed") == "1"
        guideline = form.get("guideline", "")
        service.change_settings(
            at.store, campaign.id, overlap=overlap, closed=closed, guideline=guideline, by=who.person
        )
    except (StoreError, DataError) as error:
        return _page(request, at, campaign, 422, error=error.problems[0], filled=form)
    return RedirectResponse(f"/progress/{campaign.id}/settings?saved=1", 303)


def _page(request: Request, at: Desk, campaign: Campaign, status: int = 200, **context: Any) -> Response:
    filled = {"overlap": campaign.overlap, "closed": str(int(campaign.closed)), "guideline": campaign.guideline}
    context = {"filled": filled, "most": MOST_OVERLAP, "longest": LONGEST_GUIDELINE, **context}
    return at.page(request, "settings.html", status, campaign=campaign, **context)
