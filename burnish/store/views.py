"""What the preference database hands out: frozen values that outlive the transaction. Knows no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from burnish.store.details import NOTHING_MORE, ORDER_ONLY, Asks, Details
from burnish.store.live import Live
from burnish.store.ranks import compared
from burnish.types import Prompt

CampaignKind = Literal["pairwise", "ranking", "scale", "good_bad"]
"""Which of two answers is better; the order of several; grades of each on several axes; a single one, good or bad."""
AnnotatorKind = Literal["person", "simulated", "model", "imported"]
"""imported: someone who judged elsewhere, and whose judgements came in a file. Only a person signs in."""
Role = Literal["owner", "manager", "adjudicator", "annotator", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)
Assistance = Literal["none", "before", "after"]
"""Whether a model's critiques stand beside the answers: never, before the first judgement, or after it."""
ASSISTANCE: tuple[Assistance, ...] = get_args(Assistance)
Standing = Literal["active", "held", "withdrawn"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A question put to several people about the answers to many prompts."""

    id: int
    key: str
    name: str
    question: str
    kind: CampaignKind
    overlap: int
    training: int = 0
    """How many gold questions a person is given first; see `store.gold`."""
    pass_mark: float = 0.7
    """The mean score in them with which they are given others."""
    asks: Asks = ORDER_ONLY
    closed: bool = False
    """Nobody is given more of it; what is in somebody's hands is still taken."""
    guideline: str = ""
    """What people are told beside each task, in Markdown."""
    guideline_version: int = 0
    assistance: Assistance = "none"
    assisted: float = 0.5
    """Share of the pairs of a person and an item that get critiques."""
    live: Live | None = None
    """Of a live campaign: who answers. Its items are turns of conversations, and each is its writer's alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotator:
    """Someone who judges, or who looks after those who do."""

    id: int
    handle: str
    """What the audit log and snapshots call them."""
    name: str
    kind: AnnotatorKind
    role: Role = "annotator"
    languages: tuple[str, ...] = ()
    """Those they read; empty: all."""
    standing: Standing = "active"
    """held: given no more tasks. withdrawn: nor does what they said count."""
    removed: bool = False
    counts: bool = True
    """Whether what they say takes a seat and goes into snapshots."""
    about: Mapping[str, Any] | None = None
    """Of a model: which one, and the principles that it judges by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One prompt of a campaign with its answers in their own order."""

    id: int
    prompt: Prompt
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An item lent to one person. Who wrote which answer is not in it."""

    id: int
    """The assignment's id; `submit` takes it."""
    campaign: int
    annotator: int
    prompt: Prompt
    answers: tuple[str, ...]
    """In the order in which this person sees them."""
    order: tuple[int, ...]
    """order[i] is the answer's own position of the one shown in place i."""
    shown: datetime
    leased_until: datetime | None
    """None when it is answered."""
    critiques: tuple[str | None, ...] = ()
    """What a model says of each answer, where this person is to see it by now; None of one of which it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one person said of one item (ranks), or why not (skip)."""

    id: str
    submission: str
    task: int
    item: int
    prompt_id: str
    annotator: str
    """The handle."""
    ranks: tuple[int, ...] | None
    """In the answers' own order; 1 is best, equal numbers are a tie, no gaps."""
    skip: str | None
    seconds: float
    created: datetime
    supersedes: str | None
    chances: tuple[float, ...] | None = None
    """Of a model: for every two answers, in the order of `itertools.combinations`, how likely the first is better."""
    details: Details = NOTHING_MORE
    """What they said beside the order; lists are in the answers' own order."""
    aided: bool = False
    """Whether critiques were put before them by then."""

    @property
    def compared(self) -> tuple[int, ...]:
        """Ranks that people can be compared by (`store.ranks.compared`); () for a skip."""
        return compared(self.ranks or (), self.details.good)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How far a campaign is."""

    items: int
    wanted: int
    """Judgements that full overlap would take: items x overlap."""
    judged: int
    skipped: int
    left: int
    """Judgements still to come: 0 when every item is full, or was skipped by as many as should have judged it."""
    by_annotator: Mapping[str, int]
    """Judgements, skips not counted, by the annotator's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How far one person is."""

    done: int
    """Judged or skipped by this person."""
    last: int | None
    """The task that they judged, or skipped, as their last one."""
    left: int
    """Items that this person could still be given, now or when others leave theirs unanswered; not counted beyond
    `store.tasks.COUNTED`."""
