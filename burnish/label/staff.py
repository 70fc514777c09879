"""The pages about people: who is here, inviting, holding, withdrawing, removing. Knows HTTP; the rules are
`store.people`'s."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import DataError, Problem, StoreError
from burnish.label import service
from burnish.label.desk import At, Desk, Id, Manager, SignedForm
from burnish.label.door import Visitor
from burnish.store.languages import languages
from burnish.store.people import LOOKED_AFTER
from burnish.store.views import ROLES, STANDINGS, Role, Standing

router = APIRouter(prefix="/people")


@router.get("")
def show_people(request: Request, at: At, who: Manager) -> Response:
    """Everybody, with what they have done."""
    return _page(request, at, who)


@router.post("/invite")
def invite(request: Request, at: At, who: Manager, form: SignedForm) -> Response:
    """A link for someone new. It is shown once."""
    try:
        read = languages(form.get("languages", ""))
        token = service.invite(at.store, _role(form.get("role", "")), by=who.person, languages=read)
    except (StoreError, DataError) as error:
        return _page(request, at, who, 422, error=error.problems[0])
    return _page(request, at, who, link=_link(request, token))


@router.post("/{person}/link")
def invite_again(request: Request, at: At, who: Manager, person: Id, form: SignedForm) -> Response:
    """A link for someone who lost their password."""
    try:
        token = service.invite_again(at.store, person, by=who.person)
    except StoreError as error:
        return _page(request, at, who, 422, error=error.problems[0])
    return _page(request, at, who, link=_link(request, token), whose=service.person(at.store, person).name)


@router.post("/{person}")
def change(request: Request, at: At, who: Manager, person: Id, form: SignedForm) -> Response:
    """Another role or standing, or no name any more."""
    try:
        match form.get("act"):
            case "role":
                service.set_role(at.store, person, _role(form.get("role", "")), by=who.person)
            case "standing":
                service.set_standing(at.store, person, _standing(form.get("standing", "")), by=who.person)
            case "remove":
                service.remove(at.store, person, by=who.person)
            case _:
                raise DataError(Problem("act", "this is not something that can be done to a person"))
    except (StoreError, DataError) as error:
        return _page(request, at, who, 422, error=error.problems[0])
    return RedirectResponse("/people", 303)


def _page(request: Request, at: Desk, who: Visitor, status: int = 200, **context: object) -> Response:
    given = ROLES if who.person.role == "owner" else LOOKED_AFTER
    everybody = service.people(at.store)
    return at.page(request, "people.html", status, everybody=everybody, roles=given, standings=STANDINGS, **context)


def _link(request: Request, token: str) -> str:
    return f"{request.url.scheme}://{request.headers['host']}/join?once={token}"


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise DataError(Problem("role", "choose a role"))


def _standing(text: str) -> Standing:
    for standing in STANDINGS:
        if standing == text:
            return standing
    raise DataError(Problem("standing", "choose whether their work goes on"))
