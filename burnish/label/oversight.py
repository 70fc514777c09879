"""The page of what critiques do for a campaign's people, and of whether and when they are shown. Knows HTTP; no
statistics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.desk import At, Desk, Found, Manager, Overseer, SignedForm
from burnish.label.forms import whole
from burnish.store.gold import EVERY_MEASURED
from burnish.store.views import ASSISTANCE, Campaign

router = APIRouter(prefix="/progress/{campaign}/assistance")


@router.get("")
def show_assistance(request: Request, at: At, who: Overseer, campaign: Found) -> Response:
    """People with critiques beside people without, on items whose right judgement is known. Nobody's single answers are
    shown."""
    return _page(request, at, campaign)


@router.post("")
def set_assistance(request: Request, at: At, who: Manager, form: SignedForm, campaign: Found) -> Response:
    """Whether critiques are shown, when, and in which share of tasks."""
    try:
        given, share = form.get("given", ""), whole(form, "share", 100) / 100
        service.set_assistance(at.store, campaign.id, given, share, by=who.person)
    except (StoreError, DataError) as error:
        return _page(request, at, campaign, 422, error=error.problems[0])
    return RedirectResponse(f"/progress/{campaign.id}/assistance", 303)


def _page(request: Request, at: Desk, campaign: Campaign, status: int = 200, **context: Any) -> Response:
    found = service.assistance(at.store, campaign.id)
    context |= {
        "ways": ASSISTANCE,
        "found": found,
        "every": EVERY_MEASURED,
        "questions": service.gold_questions(at.store, campaign.id),
    }
    return at.page(request, "assistance.html", status, campaign=campaign, **context)
