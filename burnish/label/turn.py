"""What a request names, and what its person finds: all that a judging page asks of the database, one transaction each,
since everybody asks it after every answer. Knows no web page."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from burnish.store import assistance, gold, people, queries, tasks
from burnish.store.gold import Training
from burnish.store.session import Store
from burnish.store.views import Annotator, Campaign, Share, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a request names, of what there is."""

    person: Annotator | None = None
    campaign: Campaign | None = None
    task: Task | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HowFar:
    """How far one person is in a campaign."""

    share: Share
    training: Training | None
    """With the gold questions that come first; None in a campaign where none do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What one person finds in a campaign."""

    again: int | None
    """A task that they are to look at once more, with its critiques."""
    task: Task | None
    """Else what they are to judge, where there is something."""
    far: HowFar | None
    """None where they are to look at one once more."""


def named(store: Store, visit: str, campaign: int | None, task: int | None) -> Named:
    """Whose cookie this is and, for somebody who is signed in, the campaign and the task of these numbers."""
    with store.reading() as session:
        person = people.visitor(session, visit)
        if person is None:
            return Named()
        return Named(
            person=person,
            campaign=None if campaign is None else queries.find(session, campaign),
            task=None if task is None else tasks.find(session, task),
        )


def offered(store: Store, campaign: int, annotator: int) -> Offered:
    """What this person is to do next, lent as `store.tasks.next_task` does."""
    with store.transaction() as session:
        _both = tasks.met(session, campaign, annotator)
        again = assistance.second_look(session, campaign, annotator)
        if again is not None:
            return Offered(again=again, task=None, far=None)
        task = tasks.next_task(session, campaign, annotator)
        return Offered(again=None, task=task, far=_how_far(session, campaign, annotator))


def how_far(store: Store, campaign: int, annotator: int) -> HowFar:
    """How far one person is."""
    with store.reading() as session:
        return _how_far(session, campaign, annotator)


def _how_far(session: Session, campaign: int, annotator: int) -> HowFar:
    share, trained = tasks.share(session, campaign, annotator), queries.campaign(session, campaign).training
    return HowFar(share=share, training=gold.training(session, campaign, annotator) if trained else None)
