"""Talking with a live campaign's two hidden models: writing, waiting for both, ending. Knows HTTP; which answer is
better is asked by `label.routes`, as of every item."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.desk import At, Desk, Found, Judge, SignedForm, id_in
from burnish.label.door import Visitor
from burnish.label.forms import read_message
from burnish.records.durable import digest_value
from burnish.store.conversations import NOTHING_YET, Conversation
from burnish.store.live import LONGEST_MESSAGE, Failure
from burnish.store.views import Campaign

router = APIRouter(prefix="/campaigns/{campaign}/conversation")
FAILURES: dict[Failure, str] = {
    "failed": "One of the models could not answer. Your message is kept; send it again, or change it.",
    "slow": "One of the models took too long. Your message is kept; send it again, or change it.",
    "empty": "One of the models said nothing. Your message is kept; send it again, or change it.",
    "long": "One of the models said far too much. Your message is kept; send it again, or change it.",
}
"""What a page says of a failure; which model it was, it does not."""
OFFERED = 4
"""Openings of one page."""


def live_campaign(campaign: Found) -> Campaign:
    """The campaign of the address; 404 for one where nobody answers."""
    if campaign.live is None:
        raise HTTPException(404)
    return campaign


Talk = Annotated[Campaign, Depends(live_campaign)]


def is_open(campaign: Campaign, who: Visitor) -> bool:
    """Whether this person can talk with models there."""
    return campaign.live is not None and not campaign.closed and who.person.standing == "active"


@router.post("")
def say(request: Request, at: At, who: Judge, form: SignedForm, campaign: Talk) -> Response:
    """Keep a message. Its models are asked by the page that shows it, and by whichever shows it after a restart."""
    text, person = form.get("message", ""), who.person
    try:
        service.say(
            at.store,
            campaign.id,
            person.id,
            submission=form.get("submission", ""),
            message=read_message(form),
            state=form.get("state", NOTHING_YET),
            language=form.get("language", "") if form.get("language") in person.languages else "",
        )
    except DataError as error:
        return conversation_page(request, at, who, campaign, 422, error=error.problems[0], text=text)
    except StoreError as error:
        return conversation_page(request, at, who, campaign, 409, error=error.problems[0], lost=text)
    return RedirectResponse(f"/campaigns/{campaign.id}#last", 303)


@router.get("/writing")
def is_writing(at: At, who: Judge, campaign: Talk) -> Response:
    """Whether the answers are still to come, for the script of a page that waits for them. It is told of both at once:
    when one model was faster, nothing says so."""
    found = service.conversation(at.store, campaign.id, who.person.id)
    return JSONResponse({"writing": _writing(at, who, campaign, found)})


@router.post("/end")
def end(at: At, who: Judge, form: SignedForm, campaign: Talk) -> Response:
    """End the conversation that the form names, so that a second click does not end the next one."""
    if (conversation := id_in(form.get("conversation"))) is not None:
        service.end_conversation(at.store, who.person.id, conversation)
    return RedirectResponse(f"/campaigns/{campaign.id}", 303)


def conversation_page(
    request: Request, at: Desk, who: Visitor, campaign: Campaign, status: int = 200, **context: Any
) -> Response:
    """The conversation so far, with what comes next: writing, waiting, or sending again what no model could answer."""
    assert campaign.live
    found = service.conversation(at.store, campaign.id, who.person.id)
    if found and found.asks and status == 200:  # the answers came this very moment
        return RedirectResponse(f"/campaigns/{campaign.id}#last", 303)
    writing = _writing(at, who, campaign, found)
    offered = {} if found else _offered(at, who, campaign)
    opening = request.query_params.get("opening", "")
    text = found.last.messages[-1].content if found and found.last.failure else offered.get(opening, "")
    asked = {
        "conversation": found,
        "writing": writing,
        "failure": FAILURES[found.last.failure] if found and found.last.failure else "",
        "openings": offered,
        "text": text,
        "state": found.state if found else NOTHING_YET,
        "tongues": who.person.languages if not found and len(who.person.languages) > 1 else (),
        "last": service.share(at.store, campaign.id, who.person.id).last,
        "longest": LONGEST_MESSAGE,
        "submission": str(uuid4()),
        **context,
    }
    return at.page(request, "conversation.html", status, campaign=campaign, **asked)


def _writing(at: Desk, who: Visitor, campaign: Campaign, found: Conversation | None) -> bool:
    """Whether answers are to come; if so, it is seen to that the models are asked."""
    assert campaign.live
    if found is None or not found.last.writing or not is_open(campaign, who):
        return False
    at.answering.ask(campaign.live, who.person.id, found.last)
    return True


def _offered(at: Desk, who: Visitor, campaign: Campaign) -> dict[str, str]:
    """A few of the campaign's openings by their numbers; others for each person, and after each answer."""
    assert campaign.live
    draw = [campaign.key, who.person.handle, service.share(at.store, campaign.id, who.person.id).done]
    openings = campaign.live.openings
    drawn = sorted(range(len(openings)), key=lambda place: digest_value([*draw, place]))
    return {str(place): openings[place] for place in drawn[:OFFERED]}
