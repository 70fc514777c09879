"""Gold questions: items whose right judgement is known, so that they ask about people and not about answers. Knows what
a person makes of them and when one is due; no statistics and no page.

An item is gold when its prompt's `meta.gold` has ranks; of a single answer that is good or bad they are those that
`store.ranks.compared` gives. It goes to everybody, takes no seat, and is in no snapshot, no agreement and no board.
What counts is what a person said of it first: a second thought may come from a colleague.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import combinations

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.records.durable import digest_value
from burnish.store import events, leases
from burnish.store.kinds import KINDS
from burnish.store.mapping import as_campaign, as_compared, as_prompt
from burnish.store.queries import campaign_row, clock, texts
from burnish.store.schema import AnnotatorRow, AssignmentRow, CampaignRow, ItemRow, JudgementRow
from burnish.store.views import Annotator
from burnish.types import Prompt

EVERY = 10
"""One task in so many is a gold question, as long as there are some."""
EVERY_MEASURED = 3
"""The same where they also say what critiques do for people; and there all of them are given, after the others too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a person said first of a gold question."""

    task: int
    score: float
    """Share of the pairs that the gold order tells apart which this person ordered likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How far a person is with a campaign's first gold questions. After each of them they are shown what is right."""

    answered: tuple[Answered, ...]
    """All gold questions that this person answered, in the order in which they did. Those that they skipped are not
    among them."""
    wanted: int
    """How many must be answered at first: fewer than the campaign says where it has fewer for this person."""
    passed_after: int | None
    """After how many of them the last `wanted` were good enough; None: not yet."""
    left: int
    """Gold questions that this person has not seen yet."""

    @property
    def failed(self) -> bool:
        """Not passed, and nothing left to try."""
        return self.passed_after is None and not self.left

    @property
    def judged(self) -> tuple[Answered, ...]:
        """Those that came among the others, when the training was over."""
        return () if self.passed_after is None else self.answered[self.passed_after :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a person is shown after a gold question of their training, in the order in which they saw its answers."""

    prompt: Prompt
    answers: tuple[str, ...]
    said: tuple[int, ...]
    """Ranks; behind that of a single answer, which is good or bad, the one of what would be just good enough."""
    right: tuple[int, ...]
    score: float
    why: str
    training: Training


def score(ranks: Sequence[int], gold: Sequence[int]) -> float:
    """Share of the pairs that `gold` tells apart which `ranks` order likewise; a tie there is wrong."""
    pairs = [(i, j) for i, j in combinations(range(len(gold)), 2) if gold[i] != gold[j]]
    return sum((ranks[i] - ranks[j]) * (gold[i] - gold[j]) > 0 for i, j in pairs) / len(pairs)


def passed_after(scores: Sequence[float], wanted: int, mark: float) -> int | None:
    """The first number of questions the last `wanted` of which have a mean of at least `mark`; None for none."""
    ends = range(wanted, len(scores) + 1)
    return next((end for end in ends if sum(scores[end - wanted : end]) >= mark * wanted - 1e-9), None)


def every(assistance: str) -> int:
    """One task in how many is a gold question, by whether a campaign measures what critiques do."""
    return EVERY if assistance == "none" else EVERY_MEASURED


def training(session: Session, campaign: int, annotator: int) -> Training:
    """How far this person is."""
    owner, person = campaign_row(session, campaign), session.get_one(AnnotatorRow, annotator)
    seen, left = _seen(session, campaign, annotator), _left(session, campaign, person)
    answered = tuple(Answered(task=task, score=score(said, gold)) for task, said, gold in seen if said)
    wanted = min(owner.training, len(seen) + left)
    after = passed_after([each.score for each in answered], wanted, owner.pass_mark)
    return Training(answered=answered, wanted=wanted, passed_after=after, left=left)


def next_item(session: Session, owner: CampaignRow, person: AnnotatorRow, now: datetime) -> ItemRow | None:
    """What this person is given next: in training a gold question or nothing, later one in EVERY times (or in
    EVERY_MEASURED), as a draw of campaign, person and number of the task decides, so that asking again changes
    nothing."""
    looking, reads_all = leases.looking(owner.id, person, now=now), not person.languages
    unseen = session.scalars(_first(_unseen, reads_all), looking).first()
    if owner.training and training(session, owner.id, person.id).passed_after is None:
        return unseen
    if unseen and _is_due(session, owner, person):
        return unseen
    other = session.scalars(_first(leases.open_items, reads_all), looking).first()
    return other or (unseen if owner.assistance != "none" else None)


def left(session: Session, owner: CampaignRow, person: AnnotatorRow) -> int:
    """How many of them a person will surely be given: in a campaign that measures what critiques do, all."""
    return 0 if owner.assistance == "none" else _left(session, owner.id, person)


def lesson(session: Session, task: int) -> Lesson | None:
    """What to show after this task; None for one that is not answered, or is no gold question of a training."""
    held = session.get_one(AssignmentRow, task)
    item = session.get_one(ItemRow, held.item_id)
    if item.gold is None:
        return None
    found = training(session, held.campaign_id, held.annotator_id)
    lessons = {each.task: each.score for each in found.answered[: found.passed_after]}
    if task not in lessons:
        return None
    first = select(JudgementRow.ranks, JudgementRow.details)
    first = first.where(JudgementRow.assignment_id == task, JudgementRow.supersedes.is_(None))
    said, answers = as_compared(*session.execute(first).one()), texts(session, item.id)
    places = KINDS[as_campaign(campaign_row(session, held.campaign_id)).kind].places(held.order)
    return Lesson(
        prompt=as_prompt(item),
        answers=tuple(answers[position] for position in held.order),
        said=tuple(said[position] for position in places),
        right=tuple(item.gold[position] for position in places),
        score=lessons[task],
        why=str(item.meta.get("why") or ""),
        training=found,
    )


def questions(session: Session, campaign: int) -> int:
    """How many a campaign has."""
    wanted = select(func.count()).where(ItemRow.campaign_id == campaign, ~leases.NOT_GOLD)
    return session.scalar(wanted) or 0


def set_training(
    session: Session,
    campaign: int,
    training: int,
    pass_mark: float,
    *,
    by: Annotator | None,
    now: datetime | None = None,
) -> None:
    """How many gold questions come first, and how good people must be at them to go on. Writes.

    `pass_mark` is a share of pairs, from 0 to 1. `by` is None for whoever runs the server.
    """
    if training < 0 or not 0 <= pass_mark <= 1:
        raise StoreError(Problem("training", "takes a number from 0 on and a share from 0 to 1"))
    row = campaign_row(session, campaign)
    row.training, row.pass_mark = training, pass_mark
    said = {"training": training, "pass_mark": pass_mark}
    actor = by.handle if by else "system"
    events.append(session, at=clock(now), actor=actor, verb="campaign.training", target=row.key, payload=said)


def _seen(session: Session, campaign: int, annotator: int) -> list[tuple[int, tuple[int, ...], list[int]]]:
    """(task, what was said first, gold ranks) of each gold question that this person answered or skipped: then (), as
    for what they said with a critique before them, which says less of them."""
    said = select(
        JudgementRow.assignment_id, JudgementRow.ranks, JudgementRow.details, ItemRow.gold, JudgementRow.aided
    )
    said = said.join(ItemRow, ItemRow.id == JudgementRow.item_id)
    said = said.where(ItemRow.campaign_id == campaign, ~leases.NOT_GOLD, JudgementRow.annotator_id == annotator)
    rows = session.execute(
        said.where(JudgementRow.supersedes.is_(None)).order_by(JudgementRow.created, JudgementRow.id)
    )
    return [
        (task, () if aided else as_compared(ranks, details), gold or []) for task, ranks, details, gold, aided in rows
    ]


@cache
def _unseen(reads_all: bool) -> Select[ItemRow]:
    """Gold questions that a person reads and has not answered, in the campaign's order."""
    return leases.items_for(~leases.NOT_GOLD, reads_all).order_by(ItemRow.position)


@cache
def _first(of: Callable[[bool], Select[ItemRow]], reads_all: bool) -> Select[ItemRow]:
    return of(reads_all).limit(1)


@cache
def _counted(reads_all: bool) -> Select[int]:
    return select(func.count()).select_from(_unseen(reads_all).with_only_columns(ItemRow.id).subquery())


def _left(session: Session, campaign: int, person: AnnotatorRow) -> int:
    return session.scalar(_counted(not person.languages), leases.looking(campaign, person)) or 0


def _is_due(session: Session, owner: CampaignRow, person: AnnotatorRow) -> bool:
    done = leases.done(session, owner.id, person.id)
    return int(digest_value(["gold", owner.key, person.handle, done])[:8], 16) % every(owner.assistance) == 0
