"""Setting up a campaign and reading what came of it. Knows campaigns, items, annotators and their judgements.

Every function takes a session of `store.session` and returns ids or frozen values; one that writes needs the writer's
transaction (`store.transaction()`). Handing out tasks and taking answers is `store.tasks`'. Wrong requests raise
StoreError. Times are aware; `now` is the clock unless the caller has its own. What comes in an order is sorted here, by
code points, and not by the database: each of those has an order of its own, and a snapshot's bytes depend on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from heapq import nsmallest
from itertools import starmap
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError, nearest
from burnish.records.languages import language
from burnish.store import events, leases
from burnish.store.details import ORDER_ONLY, Asks
from burnish.store.kinds import KINDS, check_asks
from burnish.store.live import Live, check
from burnish.store.mapping import as_annotator, as_campaign, as_judgement, as_prompt, judgement_rows
from burnish.store.ranks import dense
from burnish.store.schema import (
    AnnotatorRow,
    AnswerRow,
    AssignmentRow,
    CampaignRow,
    EventRow,
    ItemRow,
    JudgementRow,
    SettlementRow,
)
from burnish.store.views import Annotator, AnnotatorKind, Campaign, CampaignKind, Counts, Item, Judgement
from burnish.types import Prompt

AT_ONCE = 500
"""Ids asked for in one statement."""
Id = TypeVar("Id", int, str)
_TEXTS = select(AnswerRow.text).where(AnswerRow.item_id == bindparam("item")).order_by(AnswerRow.position)
_CAMPAIGN = select(CampaignRow).where(CampaignRow.id == bindparam("campaign"))
ALL = ItemRow.judged >= literal_column("0")
"""Of an ItemRow: anything, in the words of the index `ix_item_counts`."""


def create_campaign(
    session: Session,
    *,
    key: str,
    name: str,
    question: str,
    kind: CampaignKind,
    overlap: int,
    asks: Asks = ORDER_ONLY,
    live: Live | None = None,
    now: datetime | None = None,
) -> int:
    """The id of the campaign with this key, made if there is none. One that differs from what is asked is refused, but
    for what a manager has changed since it was made."""
    if overlap < 1:
        raise StoreError(Problem("overlap", f"at least one person must judge each item, not {overlap}"))
    check_asks(kind, asks)
    if live:
        check(live)
        if (kind, overlap) != ("pairwise", 1):
            raise StoreError(Problem("kind", "a live campaign has pairs, each judged by who wrote the message"))
    asked = {"name": name, "question": question, "kind": kind, "overlap": overlap, "asks": asks.as_json()}
    asked |= {"live": live and live.as_json()}
    found = session.scalars(select(CampaignRow).where(CampaignRow.key == key)).one_or_none()
    if found:
        first = _asked_at_first(session, key)
        changed = [field for field, value in asked.items() if value not in (getattr(found, field), first.get(field))]
        if changed:
            raise StoreError(Problem(f"campaign {key}", f"exists already with another {', '.join(changed)}"))
        return found.id
    row = CampaignRow(key=key, created=clock(now), **asked)
    session.add(row)
    session.flush()
    events.append(session, at=row.created, actor="system", verb="campaign.create", target=key, payload=asked)
    return row.id


def add_item(
    session: Session,
    campaign: int,
    prompt: Prompt,
    answers: Sequence[tuple[str, str]],
    *,
    ids: Sequence[Sequence[int]] | None = None,
    live: bool = False,
    now: datetime | None = None,
) -> int:
    """Queue a prompt with its answers, each (text, model); `ids` are the answers' tokens. Returns the item's id.
    `live`: it is a turn of a conversation, which a live campaign has and no other.

    The same prompt id again returns the item that is there; if its texts differ it is refused, for that item's
    judgements were about other texts.
    """
    owner = campaign_row(session, campaign)
    if (owner.live is not None) != live:
        found = "is live: its items are what people and models say to each other there"
        raise StoreError(Problem(f"campaign {owner.name}", found, "Give another campaign, or a new name."))
    wanted = select(ItemRow).where(ItemRow.campaign_id == campaign, ItemRow.prompt_id == prompt.id)
    found = session.scalars(wanted).one_or_none()
    if found:
        _refuse_other_texts(session, found, prompt, [text for text, _ in answers])
        return found.id
    kind = as_campaign(owner).kind
    _check_answers(kind, prompt.id, len(answers))
    gold = _gold(kind, prompt, len(answers))
    row = ItemRow(
        campaign_id=campaign,
        prompt_id=prompt.id,
        messages=[message.as_json() for message in prompt.messages],
        meta=dict(prompt.meta),
        position=session.scalar(select(func.max(ItemRow.position) + 1).where(ItemRow.campaign_id == campaign)) or 0,
        language=language(str(prompt.meta.get("language") or "")),
        gold=gold,
        open_seats=0 if gold else owner.overlap,
    )
    session.add(row)
    session.flush()
    tokens = [list(each) for each in ids] if ids else [None] * len(answers)
    for place, ((text, model), said) in enumerate(zip(answers, tokens, strict=True)):
        session.add(AnswerRow(item_id=row.id, position=place, text=text, model=model, ids=said))
    session.flush()
    events.append(session, at=clock(now), actor="system", verb="item.add", target=f"{owner.key}/{prompt.id}")
    return row.id


def add_annotator(
    session: Session,
    name: str,
    kind: AnnotatorKind,
    now: datetime | None = None,
    *,
    counts: bool = True,
    about: Mapping[str, Any] | None = None,
) -> int:
    """The id of the annotator with this name, made if there is none. One that differs from what is asked is refused.

    They sign in nowhere, and the name is also the handle. People with accounts come by `store.people`. `counts` and
    `about` as `store.views.Annotator` has them.
    """
    found = session.scalars(select(AnnotatorRow).where(AnnotatorRow.name == name)).one_or_none()
    if found and found.kind != kind:
        raise StoreError(Problem("name", f'"{name}" is a {found.kind} annotator already', "Choose another name."))
    if found and (found.counts, found.about) != (counts, about):
        raise StoreError(Problem("name", f'"{name}" judges here already, on other terms', "Choose another name."))
    if found:
        return found.id
    row = AnnotatorRow(
        handle=name, name=name, kind=kind, languages=[], created=clock(now), counts=counts, about=about and dict(about)
    )
    session.add(row)
    session.flush()
    events.append(session, at=row.created, actor=name, verb="annotator.add", target=name, payload={"kind": kind})
    return row.id


def campaigns(session: Session) -> list[Campaign]:
    """All of them, oldest first."""
    return [as_campaign(row) for row in session.scalars(select(CampaignRow).order_by(CampaignRow.id))]


def campaign(session: Session, campaign: int) -> Campaign:
    return as_campaign(campaign_row(session, campaign))


def find(session: Session, campaign: int) -> Campaign | None:
    """As `campaign`; None where there is none."""
    found = session.scalars(_CAMPAIGN, {"campaign": campaign}).one_or_none()
    return as_campaign(found) if found else None


def find_campaign(session: Session, key: str) -> Campaign | None:
    found = session.scalars(select(CampaignRow).where(CampaignRow.key == key)).one_or_none()
    return as_campaign(found) if found else None


def named(session: Session, name: str) -> Campaign:
    """The campaign of this key, or else of this name. Raises StoreError where there is none, or several of the name."""
    every = campaigns(session)
    found = [each for each in every if each.key == name] or [each for each in every if each.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(each.key for each in found)
        raise StoreError(Problem(f"campaign {name}", f"there are {len(found)} of this name", f"Give a key: {keys}."))
    mend = nearest(name, [each.name for each in every]) if every else "Make one: burnish label new NAME --from FILE"
    raise StoreError(Problem(f"campaign {name}", "there is none of this name", mend))


def annotators(session: Session) -> list[Annotator]:
    """All of them, by name."""
    return sorted(map(as_annotator, session.scalars(select(AnnotatorRow))), key=lambda person: person.name)


def annotator(session: Session, annotator: int) -> Annotator:
    found = session.get(AnnotatorRow, annotator)
    if found is None:
        raise StoreError(Problem("person", f"there is nobody with the number {annotator} here"))
    return as_annotator(found)


def answered(session: Session) -> list[tuple[Annotator, int]]:
    """All annotators with how many tasks they have answered, skips included."""
    done = select(AssignmentRow.annotator_id, func.count()).where(AssignmentRow.leased_until.is_(None))
    counts = {row[0]: row[1] for row in session.execute(done.group_by(AssignmentRow.annotator_id))}
    return [(person, counts.get(person.id, 0)) for person in annotators(session)]


def items(session: Session, campaign: int) -> list[Item]:
    """A campaign's items, by prompt id; gold questions are not among them."""
    return _items(session, ItemRow.campaign_id == campaign)


def writers(session: Session, campaign: int) -> dict[str, int]:
    """How many answers each model wrote to a campaign's items; gold questions are not among them."""
    found = select(AnswerRow.model, func.count()).join(ItemRow, ItemRow.id == AnswerRow.item_id)
    found = found.where(ItemRow.campaign_id == campaign, leases.NOT_GOLD).group_by(AnswerRow.model)
    return dict(sorted((row[0], row[1]) for row in session.execute(found)))


def first_judged(session: Session, campaign: int, most: int) -> list[Item]:
    """As `items`, the first `most` that somebody judged."""
    judged = select(ItemRow.id).where(ItemRow.campaign_id == campaign, leases.NOT_GOLD, ItemRow.judged > 0)
    return _items(session, ItemRow.id.in_(session.scalars(judged.order_by(ItemRow.prompt_id).limit(most)).all()))


def judged_together(session: Session, campaign: int, most: int) -> dict[int, str | None]:
    """Items that more than one person judged, with their languages; the first `most` by prompt id. Nothing long of them
    is read: there may be a hundred thousand."""
    found = select(ItemRow.prompt_id, ItemRow.id, ItemRow.language)
    rows = session.execute(found.where(ItemRow.campaign_id == campaign, leases.NOT_GOLD, ItemRow.judged > 1))
    return {row.id: row.language for row in nsmallest(most, rows, key=lambda row: row.prompt_id)}


def answered_by(session: Session, campaign: int, annotator: int) -> set[int]:
    """Ids of the items that one annotator has answered."""
    found = select(AssignmentRow.item_id).where(
        AssignmentRow.annotator_id == annotator,
        AssignmentRow.campaign_id == campaign,
        AssignmentRow.leased_until.is_(None),
    )
    return set(session.scalars(found))


def texts(session: Session, item: int) -> list[str]:
    """An item's answers in their own order."""
    return list(session.scalars(_TEXTS, {"item": item}))


def progress(session: Session, campaign: int) -> Counts:
    """How far a campaign is, gold questions not counted. Indexes alone are read: there may be a million judgements."""
    overlap = campaign_row(session, campaign).overlap
    all_, gold = (_counted(session, campaign, which) for which in (ALL, ~leases.NOT_GOLD))
    items, judged, skipped, left = (one - other for one, other in zip(all_, gold, strict=True))
    return Counts(
        items=items,
        wanted=overlap * items,
        judged=judged,
        skipped=skipped,
        left=left,
        by_annotator=_by_annotator(session, campaign),
    )


def judgements(session: Session, campaign: int) -> list[Judgement]:
    """Everyone's latest revisions, skips too; no gold question, nobody who does not count. By prompt id and handle."""
    return _said(session, ItemRow.campaign_id == campaign, leases.COUNTS)


def judgements_of(session: Session, items: Collection[int]) -> list[Judgement]:
    """As `judgements`, of these items alone."""
    return [said for part in _parts(items) for said in _said(session, JudgementRow.item_id.in_(part), leases.COUNTS)]


def judgements_beside(session: Session, campaign: int) -> list[Judgement]:
    """The same of those who stand beside people and do not count."""
    return _said(session, ItemRow.campaign_id == campaign, leases.LATEST, ~AnnotatorRow.counts)


def shown_orders(session: Session, campaign: int) -> dict[str, list[int]]:
    """By the id of each judgement that counts, made here by a person: in which order its answers were shown."""
    found = select(JudgementRow.id, AssignmentRow.order).join(AssignmentRow)
    found = found.join(AnnotatorRow, AnnotatorRow.id == JudgementRow.annotator_id)
    here = (AssignmentRow.campaign_id == campaign, AnnotatorRow.kind.in_(("person", "simulated")), leases.COUNTS)
    return {row[0]: row[1] for row in session.execute(found.where(*here))}


def exists(session: Session, judgement_ids: Iterable[str]) -> set[str]:
    """Which of these judgements and settlements the database holds."""
    ids = [(column, part) for part in _parts(judgement_ids) for column in (JudgementRow.id, SettlementRow.id)]
    return {known for column, part in ids for known in session.scalars(select(column).where(column.in_(part)))}


def campaign_row(session: Session, campaign: int) -> CampaignRow:
    """For the store's own modules. Raises StoreError when there is none."""
    found = session.get(CampaignRow, campaign)
    if found is None:
        raise StoreError(Problem("campaign", f"there is no campaign {campaign} here"))
    return found


def clock(now: datetime | None) -> datetime:
    """The time given, or that of the clock."""
    return datetime.now(UTC) if now is None else now.astimezone(UTC)


def _items(session: Session, which: ColumnElement[bool]) -> list[Item]:
    rows = session.scalars(select(ItemRow).where(which, leases.NOT_GOLD))
    found = select(AnswerRow.item_id, AnswerRow.text).join(ItemRow).where(which, leases.NOT_GOLD)
    texts: dict[int, list[str]] = {}
    for item_id, text in session.execute(found.order_by(AnswerRow.item_id, AnswerRow.position)):
        texts.setdefault(item_id, []).append(text)
    found = (Item(id=row.id, prompt=as_prompt(row), answers=tuple(texts[row.id])) for row in rows)
    return sorted(found, key=lambda item: item.prompt.id)


def _said(session: Session, *which: ColumnElement[bool]) -> list[Judgement]:
    said = starmap(as_judgement, session.execute(judgement_rows().where(*which, leases.NOT_GOLD)))
    return sorted(said, key=lambda judgement: (judgement.prompt_id, judgement.annotator))


def _parts(ids: Iterable[Id]) -> list[list[Id]]:
    asked = list(ids)
    return [asked[start : start + AT_ONCE] for start in range(0, len(asked), AT_ONCE)]


def _check_answers(kind: CampaignKind, prompt_id: str, answers: int) -> None:
    known = KINDS[kind]
    if not known.fewest <= answers <= known.most:
        found = f"a campaign of the kind {kind} takes {known.takes} answers, not {answers}"
        raise StoreError(Problem(f"prompt {prompt_id}", found))


def _asked_at_first(session: Session, key: str) -> Mapping[str, Any]:
    """What a campaign was made with, as the log has it."""
    wanted = select(EventRow.payload).where(EventRow.verb == "campaign.create", EventRow.target == key)
    return session.scalars(wanted.order_by(EventRow.seq)).first() or {}


def _gold(kind: CampaignKind, prompt: Prompt, answers: int) -> list[int] | None:
    """The ranks of a gold question, without gaps as those of people are. They must tell two answers apart, or nobody
    could be wrong; a single one is told from what would be just good enough (`store.ranks.compared`). What is no list
    of whole numbers is a column of somebody's data that happens to have this name."""
    ranks = prompt.meta.get("gold")
    if not isinstance(ranks, list) or not all(type(rank) is int for rank in ranks):
        return None
    places = KINDS[kind].places(range(answers))
    if len(ranks) != len(places) or min(ranks) < 1 or len(set(ranks)) < 2:
        order = f"no order of {answers} answers: a rank for each from 1 (best), not all equal"
        wanted = order if len(places) == answers else "neither [1, 2], for a good answer, nor [2, 1], for a bad one"
        mend = "Mend it, or rename the column if it means another thing."
        raise StoreError(Problem(f"prompt {prompt.id}", f'its "gold" is {ranks}, and {wanted}', mend))
    return list(dense(ranks))


def _refuse_other_texts(session: Session, item: ItemRow, prompt: Prompt, answers: list[str]) -> None:
    if as_prompt(item).messages != prompt.messages or texts(session, item.id) != answers:
        found = "was queued already in this campaign with other messages or answers"
        raise StoreError(Problem(f"prompt {prompt.id}", found, "Make a new campaign for new answers."))


def _counted(session: Session, campaign: int, which: ColumnElement[bool]) -> tuple[int, int, int, int]:
    """Items of a campaign; judgements, skips, and judgements still to come of them."""
    judged, skipped, left = (
        func.coalesce(func.sum(each), 0) for each in (ItemRow.judged, ItemRow.skipped, ItemRow.open_seats)
    )
    found = select(func.count(), judged, skipped, left).where(ItemRow.campaign_id == campaign, which)
    items, judged, skipped, left = session.execute(found).one()
    return items, judged, skipped, left


def _by_annotator(session: Session, campaign: int) -> dict[str, int]:
    """All that a person has answered, less gold questions and what they skip."""
    mine = (AssignmentRow.annotator_id == AnnotatorRow.id, AssignmentRow.leased_until.is_(None))
    answered = select(func.count()).select_from(AssignmentRow).where(*mine, AssignmentRow.campaign_id == campaign)
    gold = select(func.count()).select_from(AssignmentRow).join(ItemRow, ItemRow.id == AssignmentRow.item_id)
    gold = gold.where(*mine, ItemRow.campaign_id == campaign, ~leases.NOT_GOLD)
    skips = select(func.count()).select_from(JudgementRow).join(ItemRow, ItemRow.id == JudgementRow.item_id)
    skips = skips.where(JudgementRow.annotator_id == AnnotatorRow.id, JudgementRow.skip.is_not(None), leases.LATEST)
    skips = skips.where(ItemRow.campaign_id == campaign, leases.NOT_GOLD)
    all_, less, out = (each.correlate(AnnotatorRow).scalar_subquery() for each in (answered, gold, skips))
    who = (AnnotatorRow.standing != "withdrawn", AnnotatorRow.counts)
    found = session.execute(select(AnnotatorRow.name, all_ - less - out).where(*who))
    return dict(sorted((name, count) for name, count in found if count))
