"""What every page stands on: who asks, what they may do, and forms that are our own. Knows HTTP; no page.

Dependencies that ask nobody are `async`: each of the others is handed to a thread, which under load is what takes long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from secrets import compare_digest
from typing import Annotated, Any, Literal

from fastapi import Depends, HTTPException, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from burnish.errors import DataError, Problem, Said
from burnish.label import turn
from burnish.label.answering import Answering
from burnish.label.chain import Chain
from burnish.label.door import Door, Visitor
from burnish.label.language import LANGUAGES, spoken
from burnish.label.turn import Named
from burnish.store.people import VISIT_LASTS
from burnish.store.session import Store
from burnish.store.views import Annotator, Campaign, Role, Task

COOKIE = "burnish_session"
WRITTEN = "burnish_written"
"""The cookie of someone who wants texts as they were written. An address with `?written=1` or `?written=0` sets it."""
LARGEST_ID = 2**31 - 1
"""What PostgreSQL's integers hold."""
A_YEAR = 365 * 24 * 60 * 60
Right = Literal["judge", "see", "adjudicate", "manage"]
RIGHTS: Mapping[Right, frozenset[Role]] = {
    "judge": frozenset({"owner", "manager", "adjudicator", "annotator"}),
    "see": frozenset({"owner", "manager", "adjudicator", "viewer"}),
    "adjudicate": frozenset({"owner", "manager", "adjudicator"}),
    "manage": frozenset({"owner", "manager"}),
}
"""judge: be given tasks. see: how far all are and how they agree. adjudicate: read what people said of an item, and
settle it. manage: invite, hold and remove people; what only an owner may do to whom, `store.people` knows."""


def has(person: Annotator, right: Right) -> bool:
    """Whether somebody may. On hold one settles nothing and looks after nobody, or could let oneself go on."""
    return person.role in RIGHTS[right] and (right not in ("adjudicate", "manage") or person.standing == "active")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the routes work with; `create_app` puts it into the application's state."""

    store: Store
    door: Door
    templates: Jinja2Templates
    answering: Answering
    chain: Chain = field(default_factory=Chain)

    def named(self, request: Request) -> Named:
        """What the cookie and the address name. The database is asked once a request: the page that says it is away
        must not ask it again."""
        if not hasattr(request.state, "named"):
            request.state.named = Named()
            if visit := request.cookies.get(COOKIE):
                campaign, task = (id_in(request.path_params.get(name)) for name in ("campaign", "task"))
                request.state.named = turn.named(self.store, visit, campaign, task)
        return request.state.named

    def who(self, request: Request) -> Visitor | None:
        """Who asks."""
        person = self.named(request).person
        return person and Visitor(token=request.cookies[COOKIE], person=person)

    def page(self, request: Request, name: str, status: int = 200, /, **context: Any) -> Response:
        who = self.who(request)
        rights = {right for right in RIGHTS if who and has(who.person, right)}
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        context = {"visitor": who, "rights": rights, "here": here if request.method == "GET" else "/", **context}
        chosen = request.query_params.get("written")
        written = (chosen or request.cookies.get(WRITTEN)) == "1"
        context |= {"written": written, "language": spoken(request), "languages": LANGUAGES.values()}
        answer = self.templates.TemplateResponse(request, name, context, status_code=status)
        if chosen is not None:
            age, secure = A_YEAR, request.url.scheme == "https"
            answer.set_cookie(WRITTEN, str(int(written)), max_age=age, httponly=True, samesite="lax", secure=secure)
        return answer


async def desk(request: Request) -> Desk:
    return request.app.state.desk


def named(request: Request, at: Annotated[Desk, Depends(desk)]) -> Named:
    """What a request names: the one dependency that asks the database, and so the one that is given a thread."""
    return at.named(request)


Names = Annotated[Named, Depends(named)]


async def visitor(request: Request, at: Annotated[Desk, Depends(desk)], _names: Names) -> Visitor:
    """Who asks; 401 for someone who has not signed in."""
    found = at.who(request)
    if found is None:
        raise HTTPException(401)
    return found


def may(right: Right) -> Callable[[Visitor], Awaitable[Visitor]]:
    """A dependency: who asks, and 403 for someone whose role has not this right."""

    async def allowed(who: Annotated[Visitor, Depends(visitor)]) -> Visitor:
        if not has(who.person, right):
            raise HTTPException(403)
        return who

    return allowed


def whole_texts(values: Iterable[str]) -> None:
    """Raises DataError for a text that PostgreSQL cannot keep, whichever database is here: nobody types such a one."""
    if any("\0" in value for value in values):
        found = Said("a text has the character U+0000, which cannot be kept")
        raise DataError(Problem("text", found, Said("Take it out.")))


def id_in(text: str | None) -> int | None:
    """An id of an address or a form; None for what cannot be one. A number written otherwise, which `Id` reads, is
    nobody's."""
    if not (text and text.isascii() and text.isdigit() and len(text) < 11):
        return None
    return int(text) if int(text) <= LARGEST_ID else None


async def whole_address(request: Request) -> None:
    """A dependency of every page: `whole_texts` of what stands behind the address."""
    whole_texts(request.query_params.values())


async def own_form(request: Request) -> Mapping[str, str]:
    """The fields of a form that our own page sent; 403 when another site's page did, DataError as `whole_texts`."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        raise HTTPException(403)
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    whole_texts(form.values())
    return form


async def signed_form(
    form: Annotated[Mapping[str, str], Depends(own_form)], who: Annotated[Visitor, Depends(visitor)]
) -> Mapping[str, str]:
    """The fields of a form that carries its visit's CSRF token; 403 for any other."""
    if not compare_digest(form.get("csrf", "").encode(), who.csrf.encode()):
        raise HTTPException(403)
    return form


At = Annotated[Desk, Depends(desk)]
Who = Annotated[Visitor, Depends(visitor)]
Judge = Annotated[Visitor, Depends(may("judge"))]
Overseer = Annotated[Visitor, Depends(may("see"))]
Adjudicator = Annotated[Visitor, Depends(may("adjudicate"))]
Manager = Annotated[Visitor, Depends(may("manage"))]
OwnForm = Annotated[Mapping[str, str], Depends(own_form)]
SignedForm = Annotated[Mapping[str, str], Depends(signed_form)]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]


async def campaign_of(names: Names, campaign: Id) -> Campaign:
    """The campaign of the address; 404 when there is none. A route names who asks and their form before it:
    who is not let in learns no more."""
    if names.campaign is None or names.campaign.id != campaign:
        raise HTTPException(404)
    return names.campaign


Found = Annotated[Campaign, Depends(campaign_of)]


async def own_task(names: Names, who: Judge, campaign: Found, task: Id) -> Task:
    """The task of the address; 404 alike where there is none and for one of somebody else."""
    found = names.task
    if found is None or (found.id, found.annotator, found.campaign) != (task, who.person.id, campaign.id):
        raise HTTPException(404)
    return found


OwnTask = Annotated[Task, Depends(own_task)]
PageNumber = Annotated[int, Query(ge=1, lt=10**6)]


def let_in(request: Request, at: Desk, token: str) -> Response:
    """To the first page, with a fresh cookie; the visit that this browser had is over."""
    if old := request.cookies.get(COOKIE):
        at.door.leave(old)
    answer = RedirectResponse("/", 303)
    age, secure = int(VISIT_LASTS.total_seconds()), request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, max_age=age, httponly=True, samesite="lax", secure=secure)
    return answer
