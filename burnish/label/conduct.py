"""The page about how a campaign's people work, and what is asked of them first. Knows HTTP; no statistics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.desk import At, Desk, Found, Manager, SignedForm
from burnish.label.forms import whole
from burnish.store.conduct import LATEST
from burnish.store.gold import every
from burnish.store.views import Campaign

router = APIRouter(prefix="/progress/{campaign}/people")


@router.get("")
def show_signs(request: Request, at: At, who: Manager, campaign: Found) -> Response:
    """Each person's time, places and gold questions, and what of it needs a look."""
    return _page(request, at, campaign)


@router.post("")
def set_training(request: Request, at: At, who: Manager, form: SignedForm, campaign: Found) -> Response:
    """How many gold questions come first, and how good people must be at them."""
    try:
        number, percent = whole(form, "training", 1000), whole(form, "pass", 100)
        service.set_training(at.store, campaign.id, number, percent / 100, by=who.person)
    except (StoreError, DataError) as error:
        return _page(request, at, campaign, 422, error=error.problems[0])
    return RedirectResponse(f"/progress/{campaign.id}/people", 303)


def _page(request: Request, at: Desk, campaign: Campaign, status: int = 200, **context: object) -> Response:
    signs = service.signs(at.store, campaign)
    questions = service.gold_questions(at.store, campaign.id)
    context = {**context, "signs": signs, "questions": questions, "latest": LATEST, "every": every(campaign.assistance)}
    return at.page(request, "signs.html", status, campaign=campaign, **context)
