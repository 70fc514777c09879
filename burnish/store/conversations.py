"""Conversations of a live campaign: what a person says is kept before any model is asked, what two models answer
becomes an item that this person judges, and the next turn goes on from what they preferred. Knows no server, no page.

Functions that write need the writer's transaction. Wrong requests raise StoreError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from burnish.errors import Problem, Said, StoreError
from burnish.records.durable import digest_value
from burnish.records.languages import language as primary_tag
from burnish.store import events, leases
from burnish.store.details import Details
from burnish.store.live import LONGEST_MESSAGE, MOST_TURNS, Failure, Live, drawn_models, drawn_one
from burnish.store.queries import add_item, campaign_row, clock, texts
from burnish.store.schema import AnnotatorRow, CampaignRow, ConversationRow, ItemRow, JudgementRow, TurnRow
from burnish.types import Message, Prompt
from burnish.types import Role as Speaker

NOTHING_YET = ""
"""The state of somebody who has begun no conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A person's message with what came before it."""

    id: int
    key: str
    """That of its conversation."""
    position: int
    """From 0."""
    messages: tuple[Message, ...]
    """All up to and with it."""
    models: tuple[str, ...]
    """Who answers."""
    tries: int
    """How often they were asked in vain."""
    failure: Failure | None
    """Why the last time was in vain; None once it is sent again."""
    answered: bool

    @property
    def writing(self) -> bool:
        """Whether its answers are to come."""
        return not self.answered and self.failure is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One that is not ended."""

    id: int
    last: Turn
    messages: tuple[Message, ...]
    """So far: where the last turn is judged, with the answer that it goes on from."""
    asks: bool
    """The last turn has answers, and its person has not said which is better."""

    @property
    def state(self) -> str:
        """What a form says that it was made for: a turn that somebody adds in another window makes it another one."""
        return f"{self.id}/{self.last.position}/{self.last.tries}"

    @property
    def full(self) -> bool:
        return self.last.answered and self.last.position + 1 >= MOST_TURNS


def current(session: Session, campaign: int, annotator: int) -> Conversation | None:
    """The conversation that this person has not ended."""
    row = _open(session, campaign, annotator)
    if row is None:
        return None
    last, asks = _last(session, row), pending(session, campaign, annotator) is not None
    turn, goes_on = _turn(row, last), None if asks else _goes_on(session, row, last)
    said = () if goes_on is None else (Message(role="assistant", content=goes_on),)
    return Conversation(id=row.id, last=turn, messages=(*turn.messages, *said), asks=asks)


def pending(session: Session, campaign: int, annotator: int) -> ItemRow | None:
    """What this person was answered and has neither judged nor skipped."""
    said = exists().where(JudgementRow.item_id == ItemRow.id, JudgementRow.annotator_id == annotator)
    mine = select(ItemRow).join(TurnRow, TurnRow.item_id == ItemRow.id)
    mine = mine.join(ConversationRow, ConversationRow.id == TurnRow.conversation_id)
    mine = mine.where(ConversationRow.campaign_id == campaign, ConversationRow.annotator_id == annotator)
    return session.scalars(mine.where(leases.OPEN, ~said).order_by(ItemRow.position).limit(1)).first()


def say(
    session: Session,
    campaign: int,
    annotator: int,
    *,
    submission: str,
    message: str,
    state: str = NOTHING_YET,
    language: str = "",
    now: datetime | None = None,
) -> None:
    """Keep a person's message: the first of a conversation, the next one, or another in the place of one that no model
    could answer. Writes.

    The same submission again changes nothing. `state` is that of the conversation which the message goes on with.
    StoreError where it is another one by now, or where nothing can be said.
    """
    now, owner, person = clock(now), campaign_row(session, campaign), session.get_one(AnnotatorRow, annotator)
    if owner.live is None:
        raise StoreError(Problem(f"campaign {owner.name}", "nobody answers in this campaign"))
    _check(submission, message)
    if _known(session, submission, person, message):
        return
    if owner.closed or person.standing != "active":
        found = "nothing more can be said here: the campaign is closed, or your work is on hold"
        raise StoreError(Problem("conversation", found))
    talk = current(session, campaign, annotator)
    if (talk.state if talk else NOTHING_YET) != state or (talk and talk.last.writing):
        raise StoreError(Problem("conversation", "the conversation has gone on in another window meanwhile"))
    if talk.asks if talk else pending(session, campaign, annotator):
        raise StoreError(Problem("conversation", "say first which of the last answers is better"))
    if talk and talk.full:
        raise StoreError(Problem("conversation", Said("a conversation has at most %(most)s turns", most=MOST_TURNS)))
    live, text = Live.of(owner.live), {"role": "user", "content": message}
    if talk is None:
        row = ConversationRow(campaign_id=campaign, annotator_id=annotator, key=str(uuid4()), began=now)
        row.language = primary_tag(language)
        session.add(row)
        session.flush()
        system = [{"role": "system", "content": live.system}] if live.system else []
        turn = _add(session, row, live, 0, submission, [*system, text], now)
    elif not talk.last.answered:
        row, turn = session.get_one(ConversationRow, talk.id), session.get_one(TurnRow, talk.last.id)
        turn.submission, turn.messages, turn.failure = submission, [*turn.messages[:-1], text], None
    else:
        row = session.get_one(ConversationRow, talk.id)
        so_far = [each.as_json() for each in talk.messages]
        turn = _add(session, row, live, talk.last.position + 1, submission, [*so_far, text], now)
    session.flush()
    payload = {"message": digest_value(message)}  # what people write may have to be forgotten; a hashed line cannot be
    target = _target(owner, row, turn)
    events.append(session, at=now, actor=person.handle, verb="conversation.say", target=target, payload=payload)


def answer(session: Session, turn: Turn, answers: Sequence[str], now: datetime | None = None) -> bool:
    """Keep what the turn's models said, in their order, both at once: an item for its writer to judge. Whether it was
    kept: not when it was answered or sent again meanwhile, or when its conversation is over. Writes."""
    row = _asked(session, turn)
    if row is None:
        return False
    talk = session.get_one(ConversationRow, row.conversation_id)
    messages = tuple(Message(role=cast(Speaker, each["role"]), content=each["content"]) for each in row.messages)
    meta: dict[str, Any] = {"conversation": talk.key, "turn": row.position + 1}
    meta |= {"language": talk.language} if talk.language else {}
    prompt = Prompt(id=_prompt_id(talk, row), messages=messages, meta=meta)
    said = list(zip(answers, row.models, strict=True))
    row.item_id = add_item(session, talk.campaign_id, prompt, said, live=True, now=now)
    session.flush()
    return True


def fail(
    session: Session, turn: Turn, failure: Failure, *, model: str, found: str, now: datetime | None = None
) -> bool:
    """Keep that a model gave no answer, until the message is sent again. Which one it was stands in the log alone.
    Whether it was kept, as of `answer`. Writes."""
    row = _asked(session, turn)
    if row is None:
        return False
    row.failure, row.tries = failure, row.tries + 1
    session.flush()
    talk = session.get_one(ConversationRow, row.conversation_id)
    owner = campaign_row(session, talk.campaign_id)
    told = {"model": model, "why": failure, "found": found}
    at, target = clock(now), _target(owner, talk, row)
    events.append(session, at=at, actor="system", verb="conversation.fail", target=target, payload=told)
    return True


def waits(session: Session, turn: Turn) -> bool:
    """Whether it is still this turn's answers that are waited for."""
    return _asked(session, turn) is not None


def end(session: Session, annotator: int, conversation: int, now: datetime | None = None) -> None:
    """End this person's conversation; one that is over, or somebody else's, stays as it is. Writes."""
    row = session.get(ConversationRow, conversation)
    if row is None or row.annotator_id != annotator or row.ended:
        return
    row.ended = now = clock(now)
    session.flush()
    person, owner = session.get_one(AnnotatorRow, annotator), campaign_row(session, row.campaign_id)
    target = f"{owner.key}/{row.key}"
    events.append(session, at=now, actor=person.handle, verb="conversation.end", target=target)


def forget_unanswered(session: Session, annotator: int) -> None:
    """Take out what a person wrote and no model answered: no judgement is about it. Their open conversations end.
    Writes."""
    mine = select(ConversationRow.id).where(ConversationRow.annotator_id == annotator)
    wanted = select(TurnRow).where(TurnRow.conversation_id.in_(mine), TurnRow.item_id.is_(None))
    for row in session.scalars(wanted):
        session.delete(row)
    session.flush()
    still_open = (ConversationRow.annotator_id == annotator, ConversationRow.ended.is_(None))
    session.execute(update(ConversationRow).where(*still_open).values(ended=clock(None)))


def _check(submission: str, message: str) -> None:
    if not 1 <= len(submission) <= 100:
        raise StoreError(Problem("submission", "has no id of 1 to 100 characters"))
    if not 1 <= len(message.strip()) <= len(message) <= LONGEST_MESSAGE:
        raise StoreError(Problem("message", Said("a message has 1 to %(most)s characters", most=LONGEST_MESSAGE)))


def _known(session: Session, submission: str, person: AnnotatorRow, message: str) -> bool:
    row = session.scalars(select(TurnRow).where(TurnRow.submission == submission)).one_or_none()
    if row is None:
        return False
    theirs = session.get_one(ConversationRow, row.conversation_id).annotator_id == person.id
    if not theirs or row.messages[-1]["content"] != message:
        raise StoreError(Problem("submission", "this was sent before with another text, which is kept"))
    return True


def _open(session: Session, campaign: int, annotator: int) -> ConversationRow | None:
    mine = (ConversationRow.campaign_id == campaign, ConversationRow.annotator_id == annotator)
    return session.scalars(select(ConversationRow).where(*mine, ConversationRow.ended.is_(None))).one_or_none()


def _last(session: Session, row: ConversationRow) -> TurnRow:
    """Every conversation begins with a turn."""
    turns = select(TurnRow).where(TurnRow.conversation_id == row.id)
    return session.scalars(turns.order_by(TurnRow.position.desc()).limit(1)).one()


def _turn(talk: ConversationRow, row: TurnRow) -> Turn:
    return Turn(
        id=row.id,
        key=talk.key,
        position=row.position,
        messages=tuple(Message(role=cast(Speaker, each["role"]), content=each["content"]) for each in row.messages),
        models=tuple(row.models),
        tries=row.tries,
        failure=cast("Failure | None", row.failure),
        answered=row.item_id is not None,
    )


def _goes_on(session: Session, talk: ConversationRow, row: TurnRow) -> str | None:
    """What the person was answered, as far as the next turn knows: the better answer, as they wrote it better if they
    did; a drawn one where none is better, or they did not say. None without answers."""
    if row.item_id is None:
        return None
    mine = (JudgementRow.item_id == row.item_id, JudgementRow.annotator_id == talk.annotator_id, leases.LATEST)
    said = session.scalars(select(JudgementRow).where(*mine)).one_or_none()
    answers = texts(session, row.item_id)
    ranks = (said and said.ranks) or [1] * len(answers)
    written = Details.of((said and said.details) or {}).edits or (None,) * len(answers)
    best = [place for place, rank in enumerate(ranks) if rank == 1]
    better = [text for place in best if (text := written[place]) is not None]
    return drawn_one(better or [answers[place] for place in best], talk.key, row.position)


def _add(
    session: Session,
    talk: ConversationRow,
    live: Live,
    position: int,
    submission: str,
    messages: list[dict[str, str]],
    now: datetime,
) -> TurnRow:
    row = TurnRow(
        conversation_id=talk.id,
        position=position,
        submission=submission,
        messages=messages,
        models=drawn_models(live, talk.key, position),
        sent=now,
        tries=0,
    )
    session.add(row)
    return row


def _asked(session: Session, turn: Turn) -> TurnRow | None:
    """The turn's row, where its answers are still waited for."""
    row = session.get(TurnRow, turn.id)
    if row is None or row.item_id is not None or (row.tries, row.failure) != (turn.tries, None):
        return None
    return None if session.get_one(ConversationRow, row.conversation_id).ended else row


def _prompt_id(talk: ConversationRow, row: TurnRow) -> str:
    return f"{talk.key}-{row.position + 1:02}"


def _target(owner: CampaignRow, talk: ConversationRow, row: TurnRow) -> str:
    return f"{owner.key}/{_prompt_id(talk, row)}"
