"""The pages before the work: joining by a link, signing in and out. Knows HTTP; who may come in is `label.door`'s."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import StoreError
from burnish.label.desk import COOKIE, At, OwnForm, SignedForm, Who, let_in, sentence
from burnish.label.door import clean_name

router = APIRouter()


@router.get("/join")
def show_link(request: Request, at: At, once: str = "") -> Response:
    """What a link offers, and a form to take it up."""
    offer = at.door.offer(once)
    return at.page(request, "join.html", 200 if offer else 401, once=once, offer=offer)


@router.post("/join")
def join(request: Request, at: At, form: OwnForm) -> Response:
    """Take a link up. A name or password that cannot be used does not use up the link."""
    once = form.get("once", "")
    offer = at.door.offer(once)
    if offer is None:
        return at.page(request, "join.html", 401, once=once, offer=None)
    try:
        token = at.door.join(once, offer.name or clean_name(form.get("name", "")), form.get("password", ""))
    except StoreError as error:
        return at.page(request, "join.html", 422, once=once, offer=offer, name=form.get("name"), error=sentence(error))
    return let_in(request, at, token)


@router.post("/sign-in")
def sign_in(request: Request, at: At, form: OwnForm) -> Response:
    """Open a visit for someone who knows their password."""
    name = form.get("name", "")
    try:
        token = at.door.sign_in(name, form.get("password", ""), request.client.host if request.client else "")
    except StoreError as error:
        return at.page(request, "door.html", 401, name=name, error=sentence(error))
    return let_in(request, at, token)


@router.post("/sign-out")
def sign_out(at: At, who: Who, form: SignedForm) -> Response:
    """End the visit here and in the browser."""
    at.door.leave(who.token)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE)
    return answer
