"""The judging pages. Knows HTTP and the templates; what is done with an answer is `label.service`'s."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.desk import COOKIE, RIGHTS, At, Desk, Id, Judge, SignedForm, sentence
from burnish.label.door import Visitor
from burnish.label.forms import SKIPS, read_ranks, read_reason
from burnish.store.views import Campaign, Task

router = APIRouter()


@router.get("/")
def home(request: Request, at: At) -> Response:
    """The campaigns; before that, the door."""
    who = at.door.visitor(request.cookies.get(COOKIE))
    if who is None:
        return at.page(request, "door.html", 401)
    judging = who.person.role in RIGHTS["judge"] and who.person.standing == "active"
    found = service.campaigns(at.store) if judging else []
    shares = [service.share(at.store, campaign.id, who.person.id) for campaign in found]
    return at.page(request, "home.html", campaigns=list(zip(found, shares, strict=True)))


@router.get("/campaigns/{campaign}")
def show_task(request: Request, at: At, who: Judge, campaign: Id, saved: str = "") -> Response:
    """The visitor's next task. Asking again shows the same one, so that a reload does no harm."""
    found = _campaign(at, campaign)
    task = service.next_task(at.store, campaign, who.person.id)
    if task is None:
        how_far = {
            "share": service.share(at.store, campaign, who.person.id),
            "training": service.training(at.store, campaign, who.person.id),
        }
        return at.page(request, "done.html", campaign=found, saved=saved, **how_far)
    return _task_page(request, at, who, found, task, saved=saved)


@router.post("/campaigns/{campaign}/tasks/{task}")
def answer_task(request: Request, at: At, who: Judge, campaign: Id, task: Id, form: SignedForm) -> Response:
    """Keep the visitor's answer or their reason to skip, then show the next task."""
    found = _campaign(at, campaign)
    asked = _own_task(at, who, campaign, task)
    submission = form.get("submission", "")
    try:
        if form.get("act") == "skip":
            service.skip(at.store, task=task, submission=submission, reason=read_reason(form))
        else:
            ranks = read_ranks(form, len(asked.answers))
            service.submit(at.store, task=task, submission=submission, ranks=ranks)
    except DataError as error:
        return _task_page(request, at, who, found, asked, 422, error=sentence(error), filled=form)
    lesson = service.lesson(at.store, task)
    return RedirectResponse(f"/campaigns/{campaign}/tasks/{task}" if lesson else f"/campaigns/{campaign}?saved=1", 303)


def _task_page(
    request: Request, at: Desk, who: Visitor, campaign: Campaign, task: Task, status: int = 200, **context: Any
) -> Response:
    context = {"filled": {}, **context, "campaign": campaign, "task": task, "skips": SKIPS, "submission": str(uuid4())}
    context["training"] = service.training(at.store, campaign.id, who.person.id)
    return at.page(request, "task.html", status, share=service.share(at.store, campaign.id, who.person.id), **context)


def _campaign(at: Desk, campaign: int) -> Campaign:
    try:
        return service.campaign(at.store, campaign)
    except StoreError as error:
        raise HTTPException(404) from error


def _own_task(at: Desk, who: Visitor, campaign: int, task: int) -> Task:
    """404 alike for a task that is not there and for one of somebody else."""
    try:
        found = service.task(at.store, task)
    except StoreError as error:
        raise HTTPException(404) from error
    if (found.annotator, found.campaign) != (who.person.id, campaign):
        raise HTTPException(404)
    return found
