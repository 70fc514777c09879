"""Setting up a campaign and reading what came of it. Knows campaigns, items, annotators and their judgements.

Every function takes a session of `store.session` and returns ids or frozen values; one that writes needs the writer's
transaction (`store.transaction()`). Handing out tasks and taking answers is `store.tasks`'. Wrong requests raise
StoreError. Times are aware; `now` is the clock unless the caller has its own. What comes in an order is sorted here, by
code points, and not by the database: each of those has an order of its own, and a snapshot's bytes depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.store import events, leases
from burnish.store.languages import language
from burnish.store.mapping import as_annotator, as_campaign, as_judgement, as_prompt, judgement_rows
from burnish.store.schema import (
    AnnotatorRow,
    AnswerRow,
    AssignmentRow,
    CampaignRow,
    ItemRow,
    JudgementRow,
    SettlementRow,
)
from burnish.store.views import Annotator, AnnotatorKind, Campaign, CampaignKind, Counts, Item, Judgement
from burnish.types import Prompt

FEWEST, MOST = 2, 9
"""How many answers an item may have; nine, because one digit key ranks an answer."""
AT_ONCE = 500
"""Ids asked for in one statement."""


def create_campaign(
    session: Session,
    *,
    key: str,
    name: str,
    question: str,
    kind: CampaignKind,
    overlap: int,
    now: datetime | None = None,
) -> int:
    """The id of the campaign with this key, made if there is none. One that differs from what is asked is refused."""
    if overlap < 1:
        raise StoreError(Problem("overlap", f"at least one person must judge each item, not {overlap}"))
    asked = {"name": name, "question": question, "kind": kind, "overlap": overlap}
    found = session.scalars(select(CampaignRow).where(CampaignRow.key == key)).one_or_none()
    if found:
        changed = [field for field, value in asked.items() if getattr(found, field) != value]
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
    now: datetime | None = None,
) -> int:
    """Queue a prompt with its answers, each (text, model); `ids` are the answers' tokens. Returns the item's id.

    The same prompt id again returns the item that is there; if its texts differ it is refused, for that item's
    judgements were about other texts.
    """
    owner = campaign_row(session, campaign)
    wanted = select(ItemRow).where(ItemRow.campaign_id == campaign, ItemRow.prompt_id == prompt.id)
    found = session.scalars(wanted).one_or_none()
    if found:
        _refuse_other_texts(session, found, prompt, [text for text, _ in answers])
        return found.id
    _check_answers(owner, prompt.id, len(answers))
    gold = _gold(prompt, len(answers))
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


def add_annotator(session: Session, name: str, kind: AnnotatorKind, now: datetime | None = None) -> int:
    """The id of the annotator with this name, made if there is none. A name of another kind is refused.

    They sign in nowhere, and the name is also the handle. People with accounts come by `store.people`.
    """
    found = session.scalars(select(AnnotatorRow).where(AnnotatorRow.name == name)).one_or_none()
    if found and found.kind != kind:
        raise StoreError(Problem("name", f'"{name}" is a {found.kind} annotator already', "Choose another name."))
    if found:
        return found.id
    row = AnnotatorRow(handle=name, name=name, kind=kind, languages=[], created=clock(now))
    session.add(row)
    session.flush()
    events.append(session, at=row.created, actor=name, verb="annotator.add", target=name, payload={"kind": kind})
    return row.id


def campaigns(session: Session) -> list[Campaign]:
    """All of them, oldest first."""
    return [as_campaign(row) for row in session.scalars(select(CampaignRow).order_by(CampaignRow.id))]


def campaign(session: Session, campaign: int) -> Campaign:
    return as_campaign(campaign_row(session, campaign))


def find_campaign(session: Session, key: str) -> Campaign | None:
    found = session.scalars(select(CampaignRow).where(CampaignRow.key == key)).one_or_none()
    return as_campaign(found) if found else None


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
    rows = session.scalars(select(ItemRow).where(ItemRow.campaign_id == campaign, leases.NOT_GOLD))
    found = (
        select(AnswerRow.item_id, AnswerRow.text).join(ItemRow).where(ItemRow.campaign_id == campaign, leases.NOT_GOLD)
    )
    texts: dict[int, list[str]] = {}
    for item_id, text in session.execute(found.order_by(AnswerRow.item_id, AnswerRow.position)):
        texts.setdefault(item_id, []).append(text)
    found = (Item(id=row.id, prompt=as_prompt(row), answers=tuple(texts[row.id])) for row in rows)
    return sorted(found, key=lambda item: item.prompt.id)


def texts(session: Session, item: int) -> list[str]:
    """An item's answers in their own order."""
    found = select(AnswerRow.text).where(AnswerRow.item_id == item).order_by(AnswerRow.position)
    return list(session.scalars(found))


def progress(session: Session, campaign: int) -> Counts:
    """How far a campaign is, gold questions not counted."""
    overlap = campaign_row(session, campaign).overlap
    judged, skipped, left = (
        func.coalesce(func.sum(each), 0) for each in (ItemRow.judged, ItemRow.skipped, ItemRow.open_seats)
    )
    found = select(func.count(), judged, skipped, left).where(ItemRow.campaign_id == campaign, leases.NOT_GOLD)
    items, judged, skipped, left = session.execute(found).one()
    return Counts(
        items=items,
        wanted=overlap * items,
        judged=judged,
        skipped=skipped,
        left=left,
        by_annotator=_by_annotator(session, campaign),
    )


def judgements(session: Session, campaign: int) -> list[Judgement]:
    """Everyone's latest revisions, skips included, withdrawn work and gold questions not, by prompt id and handle."""
    found = judgement_rows().where(ItemRow.campaign_id == campaign, leases.NOT_GOLD, leases.COUNTS)
    said = map(as_judgement, session.execute(found))
    return sorted(said, key=lambda judgement: (judgement.prompt_id, judgement.annotator))


def exists(session: Session, judgement_ids: Iterable[str]) -> set[str]:
    """Which of these judgements and settlements the database holds."""
    asked = list(judgement_ids)
    parts = [asked[start : start + AT_ONCE] for start in range(0, len(asked), AT_ONCE)]
    columns = (JudgementRow.id, SettlementRow.id)
    return {
        known
        for part in parts
        for column in columns
        for known in session.scalars(select(column).where(column.in_(part)))
    }


def campaign_row(session: Session, campaign: int) -> CampaignRow:
    """For the store's own modules. Raises StoreError when there is none."""
    found = session.get(CampaignRow, campaign)
    if found is None:
        raise StoreError(Problem("campaign", f"there is no campaign {campaign} here"))
    return found


def clock(now: datetime | None) -> datetime:
    """The time given, or that of the clock."""
    return datetime.now(UTC) if now is None else now.astimezone(UTC)


def _check_answers(owner: CampaignRow, prompt_id: str, answers: int) -> None:
    if owner.kind == "pairwise" and answers != 2:
        raise StoreError(Problem(f"prompt {prompt_id}", f"a pairwise campaign takes 2 answers, not {answers}"))
    if not FEWEST <= answers <= MOST:
        raise StoreError(
            Problem(f"prompt {prompt_id}", f"has {answers} answers; from {FEWEST} to {MOST} can be ranked")
        )


def _gold(prompt: Prompt, answers: int) -> list[int] | None:
    """The ranks of a gold question, which must tell two answers apart, or nobody could be wrong. What is no list of
    whole numbers is a column of somebody's data that happens to have this name."""
    ranks = prompt.meta.get("gold")
    if not isinstance(ranks, list) or not all(type(rank) is int for rank in ranks):
        return None
    if len(ranks) != answers or min(ranks) < 1 or len(set(ranks)) < 2:
        found = (
            f'its "gold" is {ranks}, and no order of {answers} answers: a rank for each from 1 (best), not all equal'
        )
        raise StoreError(
            Problem(f"prompt {prompt.id}", found, "Mend it, or rename the column if it means another thing.")
        )
    return list(ranks)


def _refuse_other_texts(session: Session, item: ItemRow, prompt: Prompt, answers: list[str]) -> None:
    if as_prompt(item).messages != prompt.messages or texts(session, item.id) != answers:
        found = "was queued already in this campaign with other messages or answers"
        raise StoreError(Problem(f"prompt {prompt.id}", found, "Make a new campaign for new answers."))


def _by_annotator(session: Session, campaign: int) -> dict[str, int]:
    found = (
        select(AnnotatorRow.name, func.count())
        .join(JudgementRow, JudgementRow.annotator_id == AnnotatorRow.id)
        .join(ItemRow, ItemRow.id == JudgementRow.item_id)
        .where(ItemRow.campaign_id == campaign, leases.NOT_GOLD, JudgementRow.ranks.is_not(None), leases.COUNTS)
        .group_by(AnnotatorRow.name)
    )
    return dict(sorted((name, count) for name, count in session.execute(found)))
