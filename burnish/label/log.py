"""The page of the audit log, and how far its chain was checked. Knows HTTP; what a line is, `store.events` knows."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from burnish.label import service
from burnish.label.desk import LARGEST_ID, At, Manager
from burnish.store.events import PAGE

router = APIRouter()


@router.get("/log")
def show_log(
    request: Request,
    at: At,
    who: Manager,
    actor: str = "",
    verb: str = "",
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
) -> Response:
    """Who did what, the newest first. Each visit checks a further stretch of the chain, until all of it was checked."""
    lines, verbs = service.log(at.store, actor=actor, verb=verb, before=before)
    names = {person.handle: person.name for person, _ in service.people(at.store)}
    context = {"lines": lines, "verbs": verbs, "names": names, "actor": actor, "verb": verb, "before": before}
    return at.page(request, "log.html", chain=at.chain.check(at.store), more=len(lines) == PAGE, **context)
