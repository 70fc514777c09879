"""All that the database holds about one person, for that person. Knows every table; changes nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.store import critiques
from burnish.store.mapping import as_prompt
from burnish.store.queries import texts
from burnish.store.schema import (
    AnnotatorRow,
    AssignmentRow,
    CampaignRow,
    ConversationRow,
    EventRow,
    InvitationRow,
    ItemRow,
    JudgementRow,
    TurnRow,
    VisitRow,
)


def about(session: Session, name: str) -> dict[str, Any]:
    """Everything under this name or handle: account, visits, what was shown and said (all revisions), conversations
    with models, lines of the log.

    Of a password only whether there is one; what links and cookies hold is not in the database. Raises StoreError where
    there is nobody of the name.
    """
    wanted = or_(AnnotatorRow.name == name, AnnotatorRow.handle == name)
    person = session.scalars(select(AnnotatorRow).where(wanted)).first()
    if person is None:
        mend = "Give the name that they sign in with, or their handle."
        raise StoreError(Problem(f"person {name}", "there is nobody of this name", mend))
    return {
        "account": {
            "handle": person.handle,
            "name": person.name,
            "kind": person.kind,
            "role": person.role,
            "languages": person.languages,
            "standing": person.standing,
            "has_password": person.password is not None,
            "created": _at(person.created),
            "removed": _at(person.removed),
        },
        "signed_in_until": [
            _at(until) for until in session.scalars(select(VisitRow.until).where(VisitRow.annotator_id == person.id))
        ],
        "links_until": [
            _at(until)
            for until in session.scalars(select(InvitationRow.until).where(InvitationRow.annotator_id == person.id))
        ],
        "tasks": [_task(session, held) for held in _tasks(session, person.id)],
        "conversations": [_conversation(session, row) for row in _conversations(session, person.id)],
        "log": [
            {
                "line": row.seq,
                "at": _at(row.at),
                "actor": row.actor,
                "verb": row.verb,
                "target": row.target,
                "payload": row.payload,
            }
            for row in session.scalars(
                select(EventRow)
                .where(or_(EventRow.actor == person.handle, EventRow.target == person.handle))
                .order_by(EventRow.seq)
            )
        ],
    }


def _tasks(session: Session, annotator: int) -> list[AssignmentRow]:
    return list(
        session.scalars(select(AssignmentRow).where(AssignmentRow.annotator_id == annotator).order_by(AssignmentRow.id))
    )


def _conversations(session: Session, annotator: int) -> list[ConversationRow]:
    wanted = select(ConversationRow).where(ConversationRow.annotator_id == annotator)
    return list(session.scalars(wanted.order_by(ConversationRow.id)))


def _conversation(session: Session, row: ConversationRow) -> dict[str, Any]:
    """Each message as it was sent, answered or not; what was answered stands under the tasks."""
    turns = session.scalars(select(TurnRow).where(TurnRow.conversation_id == row.id).order_by(TurnRow.position))
    return {
        "campaign": session.get_one(CampaignRow, row.campaign_id).name,
        "language": row.language,
        "began": _at(row.began),
        "ended": _at(row.ended),
        "messages": [
            {"sent": _at(turn.sent), "message": turn.messages[-1]["content"], "answered": turn.item_id is not None}
            for turn in turns
        ],
    }


def _task(session: Session, held: AssignmentRow) -> dict[str, Any]:
    item, campaign = session.get_one(ItemRow, held.item_id), session.get_one(CampaignRow, held.campaign_id)
    answers = texts(session, item.id)
    said = select(JudgementRow).where(JudgementRow.assignment_id == held.id).order_by(JudgementRow.created)
    return {
        "campaign": campaign.name,
        "question": campaign.question,
        "prompt": [message.as_json() for message in as_prompt(item).messages],
        "answers_as_shown": [answers[place] for place in held.order],
        "critiques_as_shown": _critiques(session, held),
        "last_shown": _at(held.shown),
        "judgements": [_judgement(row, held) for row in session.scalars(said)],
    }


def _critiques(session: Session, held: AssignmentRow) -> list[str | None]:
    said = critiques.of_item(session, held.item_id) if held.advised else ()
    return [each and each.text for place in held.order for each in said[place : place + 1]]


def _judgement(row: JudgementRow, held: AssignmentRow) -> dict[str, Any]:
    """Every column, ranks in the order shown: what is added to a judgement later is in here too."""
    told = {column.key: getattr(row, column.key) for column in JudgementRow.__mapper__.column_attrs}
    ranks = None if row.ranks is None else [row.ranks[place] for place in held.order]
    return told | {"ranks": ranks, "created": _at(row.created)}


def _at(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat()
