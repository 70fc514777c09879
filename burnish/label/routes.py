"""The judging pages. Knows HTTP and the templates; what is done with an answer is `label.service`'s."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from burnish.errors import DataError
from burnish.label import service
from burnish.label.desk import RIGHTS, At, Desk, Found, Judge, OwnTask, SignedForm
from burnish.label.door import Visitor
from burnish.label.forms import HARMS, OTHERS, SKIPS, fill, read, read_reason
from burnish.label.talking import conversation_page, is_open
from burnish.store.details import LIKERT, LONGEST_EDIT, LONGEST_RATIONALE, STRENGTHS
from burnish.store.views import Campaign, Task

router = APIRouter()
WORDS = {
    "skips": SKIPS,
    "strengths": STRENGTHS,
    "grades": LIKERT,
    "harms": HARMS,
    "others": OTHERS,
    "longest_rationale": LONGEST_RATIONALE,
    "longest_edit": LONGEST_EDIT,
}
"""What a judging page offers, whichever task it shows."""


@router.get("/")
def home(request: Request, at: At) -> Response:
    """The campaigns; before that, the door."""
    who = at.who(request)
    if who is None:
        return at.page(request, "door.html", 401)
    judging = who.person.role in RIGHTS["judge"] and who.person.standing == "active"
    found = service.campaigns(at.store) if judging else []
    shares = [service.share(at.store, campaign.id, who.person.id) for campaign in found]
    return at.page(request, "home.html", campaigns=list(zip(found, shares, strict=True)))


@router.get("/campaigns/{campaign}")
def show_task(request: Request, at: At, who: Judge, campaign: Found, saved: str = "") -> Response:
    """The visitor's next task; in a live campaign, without one, the conversation. Asking again shows the same, so that
    a reload does no harm. Before there is another, what they judged without critiques is looked at once more with them,
    where the campaign has it so."""
    if again := _second_look(at, who, campaign):
        return RedirectResponse(again, 303)
    task = service.next_task(at.store, campaign.id, who.person.id)
    if task is None and is_open(campaign, who):
        return conversation_page(request, at, who, campaign, saved=saved)
    if task is None:
        return at.page(request, "done.html", campaign=campaign, saved=saved, **_how_far(at, who, campaign))
    return _task_page(request, at, who, campaign, task, saved=saved)


@router.get("/campaigns/{campaign}/tasks/{task}")
def show_answer(request: Request, at: At, who: Judge, campaign: Found, task: OwnTask) -> Response:
    """What the visitor said of a task, to change it. A task that is not answered has its turn by itself."""
    said = service.said(at.store, task.id)
    if said is None:
        return RedirectResponse(f"/campaigns/{campaign.id}", 303)
    task = service.look(at.store, task.id)
    second = {"second": "1"} if task.critiques and not said.aided else {}
    return _task_page(request, at, who, campaign, task, filled={"again": "1", **second, **fill(said, campaign, task)})


@router.post("/campaigns/{campaign}/tasks/{task}")
def answer_task(request: Request, at: At, who: Judge, form: SignedForm, campaign: Found, task: OwnTask) -> Response:
    """Keep the visitor's answer or their reason to skip, then show the next task. A form that says that it is a second
    thought (`again`) takes the place of the first answer."""
    submission, again = form.get("submission", ""), form.get("again") == "1"
    try:
        if form.get("act") == "skip":
            service.skip(at.store, task=task.id, submission=submission, reason=read_reason(form), revise=again)
        else:
            ranks, details = read(form, campaign, task)
            service.submit(at.store, task=task.id, submission=submission, ranks=ranks, details=details, revise=again)
    except DataError as error:
        return _task_page(request, at, who, campaign, task, 422, error=error.problems[0], filled=form)
    onward = f"/tasks/{task.id}/lesson" if service.lesson(at.store, task.id) else "?saved=1"
    address = _second_look(at, who, campaign) or f"/campaigns/{campaign.id}{onward}"
    if request.headers.get("accept") == "application/json":  # the page's own script, which cannot read a redirect
        return JSONResponse({"next": address})
    return RedirectResponse(address, 303)


def _second_look(at: Desk, who: Visitor, campaign: Campaign) -> str | None:
    task = service.second_look(at.store, campaign.id, who.person.id) if campaign.assistance == "after" else None
    return None if task is None else f"/campaigns/{campaign.id}/tasks/{task}"


def _task_page(
    request: Request, at: Desk, who: Visitor, campaign: Campaign, task: Task, status: int = 200, **context: Any
) -> Response:
    asked = {**WORDS, **_how_far(at, who, campaign), "campaign": campaign, "task": task, "submission": str(uuid4())}
    return at.page(request, "task.html", status, **{"filled": {}, **context, **asked})


def _how_far(at: Desk, who: Visitor, campaign: Campaign) -> dict[str, Any]:
    share, last, training = service.how_far(at.store, campaign.id, who.person.id)
    return {"share": share, "last": last, "training": training}
