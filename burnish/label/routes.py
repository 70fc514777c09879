"""The labelling pages. Knows HTTP and the templates; what is done with an answer is `label.service`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from secrets import compare_digest
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.door import LASTS, Door, Visitor, clean_name
from burnish.label.forms import SKIPS, read_ranks, read_reason
from burnish.store.session import Store
from burnish.store.views import Campaign, Task

COOKIE = "burnish_session"
router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the routes work with; `create_app` puts it into the application's state."""

    store: Store
    door: Door
    templates: Jinja2Templates

    def page(self, request: Request, name: str, status: int = 200, /, **context: Any) -> Response:
        visitor = self.door.visitor(request.cookies.get(COOKIE))
        return self.templates.TemplateResponse(request, name, {"visitor": visitor, **context}, status_code=status)


def desk(request: Request) -> Desk:
    return request.app.state.desk


def visitor(request: Request, at: Annotated[Desk, Depends(desk)]) -> Visitor:
    """Who asks; 401 for someone who has not signed in."""
    found = at.door.visitor(request.cookies.get(COOKIE))
    if found is None:
        raise HTTPException(401)
    return found


async def own_form(request: Request) -> Mapping[str, str]:
    """The fields of a form that our own page sent; 403 when another site's page did."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        raise HTTPException(403)
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


def signed_form(
    form: Annotated[Mapping[str, str], Depends(own_form)], who: Annotated[Visitor, Depends(visitor)]
) -> Mapping[str, str]:
    """The fields of a form that carries its session's CSRF token; 403 for any other."""
    if not compare_digest(form.get("csrf", "").encode(), who.csrf.encode()):
        raise HTTPException(403)
    return form


At = Annotated[Desk, Depends(desk)]
Who = Annotated[Visitor, Depends(visitor)]
OwnForm = Annotated[Mapping[str, str], Depends(own_form)]
SignedForm = Annotated[Mapping[str, str], Depends(signed_form)]
Id = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/")
def home(request: Request, at: At, once: str = "") -> Response:
    """The campaigns; before that, the door."""
    who = at.door.visitor(request.cookies.get(COOKIE))
    if who is None:
        fits = at.door.fits(once)
        return at.page(request, "door.html", 200 if fits else 401, once=once if fits else "", used=bool(once))
    found = service.campaigns(at.store)
    shares = [service.share(at.store, campaign.id, who.annotator) for campaign in found]
    return at.page(request, "home.html", campaigns=list(zip(found, shares, strict=True)))


@router.post("/sign-in")
def sign_in(request: Request, at: At, form: OwnForm) -> Response:
    """Open a session for the bearer of the one-time token. A name that cannot be used does not use up the link."""
    once = form.get("once", "")
    if not at.door.fits(once):
        return at.page(request, "door.html", 401, once="", used=True)
    try:
        name = clean_name(form.get("name", ""))
        annotator = service.join(at.store, name, "person")
    except StoreError as error:
        return at.page(request, "door.html", 422, once=once, error=_sentence(error), name=form.get("name", ""))
    if not at.door.use(once):
        return at.page(request, "door.html", 401, once="", used=True)
    answer = RedirectResponse("/", 303)
    who = at.door.admit(annotator, name)
    age = int(LASTS.total_seconds())
    answer.set_cookie(
        COOKIE, who.session, max_age=age, httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )
    return answer


@router.post("/sign-out")
def sign_out(at: At, who: Who, form: SignedForm) -> Response:
    """End the session here and in the browser."""
    at.door.leave(who)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/campaigns/{campaign}")
def show_task(request: Request, at: At, who: Who, campaign: Id, saved: str = "") -> Response:
    """The visitor's next task. Asking again shows the same one, so that a reload does no harm."""
    found = _campaign(at, campaign)
    task = service.next_task(at.store, campaign, who.annotator)
    if task is None:
        return at.page(
            request, "done.html", campaign=found, share=service.share(at.store, campaign, who.annotator), saved=saved
        )
    return _task_page(request, at, who, found, task, saved=saved)


@router.post("/campaigns/{campaign}/tasks/{task}")
def answer_task(request: Request, at: At, who: Who, campaign: Id, task: Id, form: SignedForm) -> Response:
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
        return _task_page(request, at, who, found, asked, 422, error=_sentence(error), filled=form)
    return RedirectResponse(f"/campaigns/{campaign}?saved=1", 303)


def _task_page(
    request: Request, at: Desk, who: Visitor, campaign: Campaign, task: Task, status: int = 200, **context: Any
) -> Response:
    context = {"filled": {}, **context, "campaign": campaign, "task": task, "skips": SKIPS, "submission": str(uuid4())}
    return at.page(request, "task.html", status, share=service.share(at.store, campaign.id, who.annotator), **context)


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
    if (found.annotator, found.campaign) != (who.annotator, campaign):
        raise HTTPException(404)
    return found


def _sentence(error: StoreError | DataError) -> str:
    """An error of ours for a page: without the place, as a sentence."""
    problem = error.problems[0]
    return f"{problem.found[:1].upper()}{problem.found[1:]}. {problem.mend}".rstrip()
