"""The judging pages. Knows HTTP and the templates; what is done with an answer is `label.service`'s."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from burnish.errors import DataError
from burnish.label import service
from burnish.label.desk import RIGHTS, At, Desk, Found, Judge, OwnTask, SignedForm
from burnish.label.forms import HARMS, OTHERS, SKIPS, fill, read, read_reason
from burnish.label.talking import conversation_page, is_open
from burnish.label.turn import HowFar, how_far, offered
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
    found = offered(at.store, campaign.id, who.person.id)
    if found.far is None:
        return RedirectResponse(f"/campaigns/{campaign.id}/tasks/{found.again}", 303)
    if found.task is not None:
        return _task_page(request, at, campaign, found.task, found.far, saved=saved)
    if is_open(campaign, who):
        return conversation_page(request, at, who, campaign, saved=saved)
    return at.page(request, "done.html", campaign=campaign, saved=saved, **_shown(found.far))


@router.get("/campaigns/{campaign}/tasks/{task}")
def show_answer(request: Request, at: At, who: Judge, campaign: Found, task: OwnTask) -> Response:
    """What the visitor said of a task, to change it. A task that is not answered has its turn by itself."""
    said = service.said(at.store, task.id)
    if said is None:
        return RedirectResponse(f"/campaigns/{campaign.id}", 303)
    task = service.look(at.store, task.id)
    second = {"second": "1"} if task.critiques and not said.aided else {}
    filled = {"again": "1", **second, **fill(said, campaign, task)}
    return _task_page(request, at, campaign, task, how_far(at.store, campaign.id, who.person.id), filled=filled)


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
        far = how_far(at.store, campaign.id, who.person.id)
        return _task_page(request, at, campaign, task, far, 422, error=error.problems[0], filled=form)
    second = service.second_look(at.store, campaign.id, who.person.id) if campaign.assistance == "after" else None
    taught = campaign.training and service.lesson(at.store, task.id)
    onward = f"/tasks/{second}" if second else f"/tasks/{task.id}/lesson" if taught else "?saved=1"
    address = f"/campaigns/{campaign.id}{onward}"
    if request.headers.get("accept") == "application/json":  # the page's own script, which cannot read a redirect
        return JSONResponse({"next": address})
    return RedirectResponse(address, 303)


def _task_page(
    request: Request, at: Desk, campaign: Campaign, task: Task, far: HowFar, status: int = 200, **context: Any
) -> Response:
    asked = {**WORDS, **_shown(far), "campaign": campaign, "task": task, "submission": str(uuid4())}
    return at.page(request, "task.html", status, **{"filled": {}, **context, **asked})


def _shown(far: HowFar) -> dict[str, Any]:
    return {"share": far.share, "last": far.share.last, "training": far.training}
