"""The pages before the work: joining by a link, signing in and out, choosing a language. Knows HTTP; who may come
in is `label.door`'s."""

from __future__ import annotations

import re
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from burnish.errors import StoreError
from burnish.label.desk import A_YEAR, COOKIE, At, OwnForm, SignedForm, Who, let_in
from burnish.label.door import clean_name
from burnish.label.language import COOKIE as LANGUAGE_COOKIE
from burnish.label.language import LANGUAGES

router = APIRouter()
_OUR_PAGE = re.compile(r"/(?![/\\])[^\\\x00-\x20]*")
"""A path here: with two slashes, or what browsers take for one, it would be another machine's."""


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
        context = {"once": once, "offer": offer, "name": form.get("name"), "here": f"/join?once={quote(once)}"}
        return at.page(request, "join.html", 422, **context, error=error.problems[0])
    return let_in(request, at, token)


@router.post("/sign-in")
def sign_in(request: Request, at: At, form: OwnForm) -> Response:
    """Open a visit for someone who knows their password."""
    name = form.get("name", "")
    try:
        token = at.door.sign_in(name, form.get("password", ""), request.client.host if request.client else "")
    except StoreError as error:
        return at.page(request, "door.html", 401, name=name, error=error.problems[0])
    return let_in(request, at, token)


@router.post("/sign-out")
def sign_out(at: At, who: Who, form: SignedForm) -> Response:
    """End the visit here and in the browser."""
    at.door.leave(who.token)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.post("/language")
def choose_language(request: Request, form: OwnForm) -> Response:
    """Speak this language to this browser, on the page that it was chosen on; what is none of ours is forgotten."""
    chosen, here = form.get("language", ""), form.get("here", "")
    answer = RedirectResponse(here if _OUR_PAGE.fullmatch(here) else "/", 303)
    if chosen in LANGUAGES:
        age, secure = A_YEAR, request.url.scheme == "https"
        answer.set_cookie(LANGUAGE_COOKIE, chosen, max_age=age, httponly=True, samesite="lax", secure=secure)
    else:
        answer.delete_cookie(LANGUAGE_COOKIE)
    return answer
