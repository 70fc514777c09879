"""What the preference database is asked and told. Knows campaigns, items, people, tasks and judgements; no web, no models.

Every function takes a session of `store.session` and returns frozen values; one that writes needs the writer's
transaction (`store.transaction()`), which takes SQLite's write lock, so that no one else writes between its questions
and its answer. Wrong requests raise StoreError. Times are aware; `now` is the clock unless the caller has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid5

from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.store import events, leases
from burnish.store.ranks import own_order
from burnish.store.schema import AnnotatorRow, AnswerRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow
from burnish.store.views import Annotator, AnnotatorKind, Campaign, CampaignKind, Counts, Item, Judgement, Share, Task
from burnish.types import Message, Prompt, Role

JUDGEMENTS = UUID("5b1f1d9e-6c0e-4a55-9c86-2f8a4c7d1e03")
"""Namespace of judgement ids: one is the UUIDv5 of its submission, so that the same submissions give the same ids."""
FEWEST, MOST = 2, 9
"""How many answers an item may have; nine, because a digit key ranks an answer."""
AT_ONCE = 500
"""Ids asked for in one statement."""


def create_campaign(
    session: Session, *, key: str, name: str, question: str, kind: CampaignKind, overlap: int, now: datetime | None = None
) -> int:
    """The id of the campaign with this key, made if there is none. One that differs from what is asked is refused."""
    asked = {"name": name, "question": question, "kind": kind, "overlap": overlap}
    found = session.scalars(select(CampaignRow).where(CampaignRow.key == key)).one_or_none()
    if found:
        changed = [field for field, value in asked.items() if getattr(found, field) != value]
        if changed:
            raise StoreError(Problem(f"campaign {key}", f"exists already with another {', '.join(changed)}"))
        return found.id
    if overlap < 1:
        raise StoreError(Problem("overlap", f"at least one person must judge each item, not {overlap}"))
    row = CampaignRow(key=key, created=_clock(now), **asked)
    return _add(session, row, "system", "campaign.create", key, asked)


def add_item(
    session: Session,
    campaign: int,
    prompt: Prompt,
    answers: Sequence[tuple[str, str]],
    *,
    ids: Sequence[Sequence[int]] | None = None,
    now: datetime | None = None,
) -> int:
    """Queue a prompt with its answers, each (text, model); `ids` are the answers' tokens. Returns the item's id.

    The same prompt id again returns the item that is there; if its texts differ, it is refused, for its judgements were
    about others.
    """
    owner = _campaign(session, campaign)
    found = _item_row(session, campaign, prompt.id)
    if found:
        _refuse_other_texts(session, found, prompt, [text for text, _ in answers])
        return found.id
    _check_answers(owner, prompt.id, len(answers))
    position = session.scalar(select(func.count()).where(ItemRow.campaign_id == campaign)) or 0
    messages = [message.as_json() for message in prompt.messages]
    row = ItemRow(
        campaign_id=campaign, prompt_id=prompt.id, messages=messages, meta=dict(prompt.meta), position=position
    )
    _add(session, row, "system", "item.add", f"{owner.key}/{prompt.id}", {}, now)
    tokens = [list(each) for each in ids] if ids else [None] * len(answers)
    for place, ((text, model), said) in enumerate(zip(answers, tokens, strict=True)):
        session.add(AnswerRow(item_id=row.id, position=place, text=text, model=model, ids=said))
    session.flush()
    return row.id


def add_annotator(session: Session, name: str, kind: AnnotatorKind, *, now: datetime | None = None) -> int:
    """The id of the annotator with this name, made if there is none. A name of another kind is refused."""
    found = session.scalars(select(AnnotatorRow).where(AnnotatorRow.name == name)).one_or_none()
    if found is None:
        row = AnnotatorRow(name=name, kind=kind, created=_clock(now))
        return _add(session, row, name, "annotator.add", name, {"kind": kind})
    if found.kind != kind:
        raise StoreError(Problem("name", f'"{name}" is a {found.kind} annotator already', "Choose another name."))
    return found.id


def campaigns(session: Session) -> list[Campaign]:
    """All of them, oldest first."""
    return [_as_campaign(row) for row in session.scalars(select(CampaignRow).order_by(CampaignRow.id))]


def campaign(session: Session, campaign: int) -> Campaign:
    return _as_campaign(_campaign(session, campaign))


def find_campaign(session: Session, key: str) -> Campaign | None:
    found = session.scalars(select(CampaignRow).where(CampaignRow.key == key)).one_or_none()
    return _as_campaign(found) if found else None


def annotators(session: Session) -> list[Annotator]:
    """All of them, by name."""
    rows = session.scalars(select(AnnotatorRow).order_by(AnnotatorRow.name))
    return [Annotator(id=row.id, name=row.name, kind=cast(AnnotatorKind, row.kind)) for row in rows]


def items(session: Session, campaign: int) -> list[Item]:
    """A campaign's items by prompt id."""
    rows = session.scalars(select(ItemRow).where(ItemRow.campaign_id == campaign).order_by(ItemRow.prompt_id))
    texts: dict[int, list[str]] = {}
    found = select(AnswerRow.item_id, AnswerRow.text).join(ItemRow).where(ItemRow.campaign_id == campaign)
    for item_id, text in session.execute(found.order_by(AnswerRow.item_id, AnswerRow.position)):
        texts.setdefault(item_id, []).append(text)
    return [Item(id=row.id, prompt=_as_prompt(row), answers=tuple(texts[row.id])) for row in rows]


def next_task(
    session: Session, campaign: int, annotator: int, now: datetime | None = None, *, prompt_id: str | None = None
) -> Task | None:
    """Lend this person the next item (with `prompt_id`: that one) for 15 minutes; None when there is none for them.

    Someone who holds a live lease gets the same item again, with a fresh lease. Writes.
    """
    now = _clock(now)
    wanted = leases.open_items(campaign, annotator, now).limit(1)
    item = session.scalars(wanted.where(ItemRow.prompt_id == prompt_id) if prompt_id is not None else wanted).first()
    if item is None:
        _campaign(session, campaign)
        return None
    held = session.scalars(
        select(AssignmentRow).where(AssignmentRow.item_id == item.id, AssignmentRow.annotator_id == annotator)
    ).one_or_none()
    if held is None:
        held = AssignmentRow(item_id=item.id, annotator_id=annotator, order=_draw(session, item, annotator))
        session.add(held)
    held.shown, held.leased_until = now, now + leases.LEASE
    session.flush()
    return _as_task(session, held, item)


def task(session: Session, task: int) -> Task:
    """A task that was handed out, live or not."""
    held = _assignment(session, task)
    return _as_task(session, held, session.get_one(ItemRow, held.item_id))


def submit(
    session: Session,
    *,
    task: int,
    submission: str,
    ranks: Sequence[int] | None = None,
    skip: str | None = None,
    seconds: float | None = None,
    now: datetime | None = None,
    revise: bool = False,
) -> Judgement:
    """Keep what a person said: `ranks` in the order shown to them (1 best, equal a tie), or why they `skip`. Writes.

    The same submission again returns the judgement that is there. Raises StoreError when the submission was used for
    something else, when this task was judged already (`revise` appends a revision instead), or when the lease ran out and
    others took the seats. `seconds` is the time taken; without it, the time since the task was handed out.
    """
    now = _clock(now)
    held = _assignment(session, task)
    said = _check_said(held, submission, ranks, skip)
    known = session.scalars(select(JudgementRow).where(JudgementRow.submission == submission)).one_or_none()
    if known:
        if (known.assignment_id, known.ranks, known.skip) != (task, said, skip):
            raise StoreError(Problem("submission", "this page was sent already with another answer, which is kept"))
        return _judgement(session, known.id)
    last = session.scalars(
        select(JudgementRow).where(JudgementRow.assignment_id == task, leases.latest())
    ).one_or_none()
    if last and not revise:
        raise StoreError(Problem(f"task {task}", "was judged already; the first answer is kept"))
    _refuse_full(session, held, last, now, said)
    row = JudgementRow(
        id=str(uuid5(JUDGEMENTS, submission)),
        submission=submission,
        assignment_id=task,
        item_id=held.item_id,
        annotator_id=held.annotator_id,
        ranks=said,
        skip=skip,
        seconds=max(0.0, (now - held.shown).total_seconds() if seconds is None else seconds),
        created=now,
        supersedes=last.id if last else None,
    )
    session.add(row)
    session.flush()
    judgement = _judgement(session, row.id)
    payload = {"task": task, "ranks": said, "skip": skip, "supersedes": row.supersedes}
    events.append(
        session, at=now, actor=judgement.annotator, verb="judgement.add", target=judgement.id, payload=payload
    )
    return judgement


def progress(session: Session, campaign: int) -> Counts:
    """How far a campaign is."""
    overlap = _campaign(session, campaign).overlap
    seats = select(leases.judged().label("judged"), leases.skipped().label("skipped"))
    seats = seats.select_from(ItemRow).where(ItemRow.campaign_id == campaign)
    rows = [(row.judged, row.skipped) for row in session.execute(seats)]
    return Counts(
        items=len(rows),
        wanted=overlap * len(rows),
        judged=sum(judged for judged, _ in rows),
        skipped=sum(skipped for _, skipped in rows),
        left=sum(max(0, overlap - judged) for judged, skipped in rows if skipped < overlap),
        by_annotator=_by_annotator(session, campaign),
    )


def share(session: Session, campaign: int, annotator: int, now: datetime | None = None) -> Share:
    """How far one person is."""
    done = select(func.count()).select_from(JudgementRow).join(ItemRow)
    mine = (ItemRow.campaign_id == campaign, JudgementRow.annotator_id == annotator, leases.latest())
    left = leases.open_items(campaign, annotator, _clock(now)).order_by(None).subquery()
    return Share(
        done=session.scalar(done.where(*mine)) or 0,
        left=session.scalar(select(func.count()).select_from(left)) or 0,
    )


def judgements(session: Session, campaign: int) -> list[Judgement]:
    """Everyone's latest revisions, skips included, by prompt id and name."""
    found = _joined().where(ItemRow.campaign_id == campaign, leases.latest())
    return [_as_judgement(row) for row in session.execute(found.order_by(ItemRow.prompt_id, AnnotatorRow.name))]


def exists(session: Session, judgement_ids: Iterable[str]) -> set[str]:
    """Which of these judgements the database holds."""
    asked = list(judgement_ids)
    parts = [asked[start : start + AT_ONCE] for start in range(0, len(asked), AT_ONCE)]
    return {
        known
        for part in parts
        for known in session.scalars(select(JudgementRow.id).where(JudgementRow.id.in_(part)))
    }


def _clock(now: datetime | None) -> datetime:
    return datetime.now(UTC) if now is None else now.astimezone(UTC)


def _add(
    session: Session,
    row: CampaignRow | AnnotatorRow | ItemRow,
    actor: str,
    verb: str,
    target: str,
    payload: Mapping[str, Any],
    now: datetime | None = None,
) -> int:
    """Insert, log, and return the new id."""
    session.add(row)
    session.flush()
    at = _clock(now) if isinstance(row, ItemRow) else row.created
    events.append(session, at=at, actor=actor, verb=verb, target=target, payload=payload)
    return row.id


def _campaign(session: Session, campaign: int) -> CampaignRow:
    found = session.get(CampaignRow, campaign)
    if found is None:
        raise StoreError(Problem("campaign", f"there is no campaign {campaign} here"))
    return found


def _assignment(session: Session, task: int) -> AssignmentRow:
    found = session.get(AssignmentRow, task)
    if found is None:
        raise StoreError(Problem("task", f"there is no task {task} here"))
    return found


def _item_row(session: Session, campaign: int, prompt_id: str) -> ItemRow | None:
    wanted = select(ItemRow).where(ItemRow.campaign_id == campaign, ItemRow.prompt_id == prompt_id)
    return session.scalars(wanted).one_or_none()
