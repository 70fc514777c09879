"""What people and simulated annotators do, one function an act, one transaction each. Knows no web page.

The labelling pages and the simulated panel both go through here, so that what a test proves of one holds for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from burnish.store import people as accounts
from burnish.store import queries, tasks
from burnish.store.details import NOTHING_MORE, Details
from burnish.store.session import Store
from burnish.store.views import Annotator, AnnotatorKind, Campaign, Counts, Judgement, Role, Share, Standing, Task

if TYPE_CHECKING:
    from burnish.label.agreement import Agreement


def join(store: Store, name: str, kind: AnnotatorKind) -> int:
    """Become an annotator, or again the one of that name. Returns the annotator's id; StoreError for another's name."""
    with store.transaction() as session:
        return queries.add_annotator(session, name, kind)


def campaigns(store: Store) -> list[Campaign]:
    """All campaigns, oldest first."""
    with store.reading() as session:
        return queries.campaigns(session)


def campaign(store: Store, campaign: int) -> Campaign:
    """One campaign; StoreError when there is none of that id."""
    with store.reading() as session:
        return queries.campaign(session, campaign)


def next_task(
    store: Store, campaign: int, annotator: int, *, prompt_id: str | None = None, now: datetime | None = None
) -> Task | None:
    """The next task for this annotator, lent for 15 minutes; None when there is nothing (more) for them to judge.

    With `prompt_id`, that prompt's task or None: so a panel follows a fixed plan, whoever was killed in between.
    """
    with store.transaction() as session:
        return tasks.next_task(session, campaign, annotator, now, prompt_id=prompt_id)


def task(store: Store, task: int) -> Task:
    """A task that was handed out; StoreError when there is none of that id."""
    with store.reading() as session:
        return tasks.task(session, task)


def said(store: Store, task: int) -> Judgement | None:
    """What its person says of a task now; None where they have not answered it."""
    with store.reading() as session:
        return tasks.said(session, task)


def last_answered(store: Store, campaign: int, annotator: int) -> int | None:
    """The task that this person answered last in a campaign."""
    with store.reading() as session:
        return tasks.last_answered(session, campaign, annotator)


def submit(
    store: Store,
    *,
    task: int,
    submission: str,
    ranks: Sequence[int] | None = None,
    details: Details = NOTHING_MORE,
    seconds: float | None = None,
    revise: bool = False,
    now: datetime | None = None,
) -> Judgement:
    """Keep an order of a task's answers: one rank each, in the order in which they were shown; 1 best, equal a tie.
    What else is said of them, and what is said instead where the campaign grades single answers, are `details`.

    When this returns, the disk has it. The same submission again returns the same judgement. StoreError: see
    `store.tasks.submit`.
    """
    with store.transaction() as session:
        return tasks.submit(
            session,
            task=task,
            submission=submission,
            ranks=ranks,
            details=details,
            seconds=seconds,
            now=now,
            revise=revise,
        )


def skip(
    store: Store,
    *,
    task: int,
    submission: str,
    reason: str,
    seconds: float | None = None,
    revise: bool = False,
    now: datetime | None = None,
) -> Judgement:
    """Keep that this annotator cannot judge the task, and why. Someone else may be given it."""
    with store.transaction() as session:
        return tasks.submit(
            session, task=task, submission=submission, skip=reason, seconds=seconds, now=now, revise=revise
        )


def progress(store: Store, campaign: int) -> Counts:
    """How far a campaign is."""
    with store.reading() as session:
        return queries.progress(session, campaign)


def agreement(store: Store, campaign: int) -> Agreement:
    """How a campaign's people agree. The statistics are imported when somebody asks: SciPy takes a second to load."""
    with store.reading() as session:
        items, said = queries.items(session, campaign), queries.judgements(session, campaign)
    found: Agreement = import_module("burnish.label.agreement").agreement(items, said)
    return found


def share(store: Store, campaign: int, annotator: int) -> Share:
    """How far one annotator is."""
    with store.reading() as session:
        return tasks.share(session, campaign, annotator)


def people(store: Store) -> list[tuple[Annotator, int]]:
    """Everybody with how many tasks they have answered, by name; those who were removed last."""
    with store.reading() as session:
        found = queries.answered(session)
    return sorted(found, key=lambda each: (each[0].removed, each[0].name.casefold()))


def person(store: Store, annotator: int) -> Annotator:
    """One of them; StoreError when there is none of that id."""
    with store.reading() as session:
        return queries.annotator(session, annotator)


def invite(
    store: Store,
    role: Role,
    *,
    by: Annotator | None = None,
    languages: Sequence[str] = (),
    annotator: int | None = None,
) -> str:
    """What a link holds that lets one person in; see `store.people.invite`."""
    with store.transaction() as session:
        return accounts.invite(session, role, by=by, languages=languages, annotator=annotator)


def set_role(store: Store, annotator: int, role: Role, *, by: Annotator) -> None:
    with store.transaction() as session:
        accounts.set_role(session, annotator, role, by=by)


def set_standing(store: Store, annotator: int, standing: Standing, *, by: Annotator) -> None:
    """Hold someone's work, withdraw it, or let them go on."""
    with store.transaction() as session:
        accounts.set_standing(session, annotator, standing, by=by)


def remove(store: Store, annotator: int, *, by: Annotator) -> None:
    """Take a person's name out; their judgements stay."""
    with store.transaction() as session:
        accounts.remove(session, annotator, by=by)


def has_owner(store: Store) -> bool:
    """Whether anybody can let others in."""
    with store.reading() as session:
        return accounts.has_owner(session)
