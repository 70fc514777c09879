"""From table rows to the frozen values of `store.views`. Knows both shapes and no rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Select, select

from burnish.store.details import Asks, Details
from burnish.store.live import Live
from burnish.store.ranks import compared
from burnish.store.schema import AnnotatorRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow
from burnish.store.views import (
    Annotator,
    AnnotatorKind,
    Assistance,
    Campaign,
    CampaignKind,
    Judgement,
    Role,
    Standing,
    Task,
)
from burnish.types import Critique, Message, Prompt
from burnish.types import Role as Speaker


def as_campaign(row: CampaignRow) -> Campaign:
    kind = cast(CampaignKind, row.kind)
    return Campaign(
        id=row.id,
        key=row.key,
        name=row.name,
        question=row.question,
        kind=kind,
        overlap=row.overlap,
        training=row.training,
        pass_mark=row.pass_mark,
        asks=Asks.of(row.asks),
        closed=row.closed,
        guideline=row.guideline,
        guideline_version=row.guideline_version,
        assistance=cast(Assistance, row.assistance),
        assisted=row.assisted,
        live=None if row.live is None else Live.of(row.live),
    )


def as_annotator(row: AnnotatorRow) -> Annotator:
    return Annotator(
        id=row.id,
        handle=row.handle,
        name=row.name,
        kind=cast(AnnotatorKind, row.kind),
        role=cast(Role, row.role),
        languages=tuple(row.languages),
        standing=cast(Standing, row.standing),
        removed=row.removed is not None,
        counts=row.counts,
        about=row.about,
    )


def as_prompt(row: ItemRow) -> Prompt:
    messages = [Message(role=cast(Speaker, turn["role"]), content=turn["content"]) for turn in row.messages]
    return Prompt(id=row.prompt_id, messages=tuple(messages), meta=row.meta)


def as_task(
    held: AssignmentRow, item: ItemRow, answers: Sequence[str], critiques: Sequence[Critique | None] = ()
) -> Task:
    """`answers` and `critiques` are in the answers' own order."""
    said = [each and each.text for each in critiques]
    return Task(
        id=held.id,
        campaign=item.campaign_id,
        annotator=held.annotator_id,
        prompt=as_prompt(item),
        answers=tuple(answers[position] for position in held.order),
        order=tuple(held.order),
        shown=held.shown,
        leased_until=held.leased_until,
        critiques=tuple(said[position] for position in held.order) if said else (),
    )


def as_compared(ranks: Sequence[int] | None, details: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Of the columns of a judgement: as `Judgement.compared`."""
    return compared(ranks or (), (details or {}).get("good"))


def judgement_rows() -> Select[JudgementRow, str, str]:
    """Judgements with what `as_judgement` reads of their item and annotator."""
    return (
        select(JudgementRow, ItemRow.prompt_id, AnnotatorRow.handle)
        .join(ItemRow, ItemRow.id == JudgementRow.item_id)
        .join(AnnotatorRow, AnnotatorRow.id == JudgementRow.annotator_id)
    )


def as_judgement(row: JudgementRow, prompt_id: str, annotator: str) -> Judgement:
    """A row of `judgement_rows`. `annotator` is a handle."""
    return Judgement(
        id=row.id,
        submission=row.submission,
        task=row.assignment_id,
        item=row.item_id,
        prompt_id=prompt_id,
        annotator=annotator,
        ranks=None if row.ranks is None else tuple(row.ranks),
        skip=row.skip,
        seconds=row.seconds,
        created=row.created,
        supersedes=row.supersedes,
        chances=None if row.chances is None else tuple(row.chances),
        details=Details.of(row.details or {}),
        aided=row.aided,
    )
