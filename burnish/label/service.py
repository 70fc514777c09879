"""What people and simulated annotators do, one function an act, one transaction each. Knows no web page.

The labelling pages and the simulated panel both go through here, so that what a test proves of one holds for the other.
What a page asks of its person, all in one transaction, is `label.turn`'s, of the same functions of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import make_archive
from typing import TYPE_CHECKING, Any

from burnish.store import assistance as help_given
from burnish.store import conduct as habits
from burnish.store import conversations, critiques, gold, queries, settings, settlements, tasks
from burnish.store import disputes as quarrels
from burnish.store import duels as contests
from burnish.store import events as audit
from burnish.store import people as accounts
from burnish.store import person as kept
from burnish.store.conversations import Conversation
from burnish.store.details import NOTHING_MORE, Details
from burnish.store.disputes import Dispute
from burnish.store.duels import Duels
from burnish.store.events import Event
from burnish.store.gold import Lesson
from burnish.store.session import Store
from burnish.store.settlements import Settlement
from burnish.store.views import Annotator, AnnotatorKind, Campaign, Counts, Judgement, Role, Share, Standing, Task

if TYPE_CHECKING:
    from burnish.label.agreement import Agreement
    from burnish.label.alarms import Signs
    from burnish.label.assistance import Assisted
    from burnish.label.board import Standings


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


def conversation(store: Store, campaign: int, annotator: int) -> Conversation | None:
    """What this person and a live campaign's models have said; None where none is begun."""
    with store.reading() as session:
        return conversations.current(session, campaign, annotator)


def say(
    store: Store, campaign: int, annotator: int, *, submission: str, message: str, state: str, language: str
) -> None:
    """Keep a message to a live campaign's models; see `store.conversations.say`. When this returns, the disk has it."""
    with store.transaction() as session:
        conversations.say(
            session, campaign, annotator, submission=submission, message=message, state=state, language=language
        )


def end_conversation(store: Store, annotator: int, conversation: int) -> None:
    """End one's own conversation. What was answered in it and not judged is judged first."""
    with store.transaction() as session:
        conversations.end(session, annotator, conversation)


def look(store: Store, task: int) -> Task:
    """A task for its person to look at again, with its critiques where they come by now; see `store.tasks.look`."""
    with store.transaction() as session:
        return tasks.look(session, task)


def second_look(store: Store, campaign: int, annotator: int) -> int | None:
    """The task that this person is to look at again, since its critiques come after the first judgement."""
    with store.reading() as session:
        return help_given.second_look(session, campaign, annotator)


def said(store: Store, task: int) -> Judgement | None:
    """What its person says of a task now; None where they have not answered it."""
    with store.reading() as session:
        return tasks.said(session, task)


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
    """How a campaign's people agree. The statistics are imported when somebody asks: SciPy takes a second to load.

    Only what is compared is read: while this lasts, nobody's work can be written to an SQLite file without a
    write-ahead log.
    """
    statistics = import_module("burnish.label.agreement")
    with store.reading() as session:
        items = queries.judged_together(session, campaign, statistics.MOST)
        said = queries.judgements_of(session, items)
    found: Agreement = statistics.agreement(items, said)
    return found


def disputes(store: Store, campaign: int, reader: Annotator, page: int = 1) -> tuple[list[Dispute], int]:
    """A page of the items about which people are at odds, the worst first, and how many there are."""
    with store.reading() as session:
        return quarrels.disputes(session, campaign, reader.id, page), quarrels.disputed(session, campaign)


def dispute(store: Store, campaign: int, item: int, reader: Annotator) -> tuple[Dispute, bool]:
    """One item that several people judged, and whether `reader` was one of them. StoreError when it is not such."""
    with store.reading() as session:
        found = quarrels.dispute(session, campaign, item, reader.id)
        return found, settlements.has_judged(session, item, reader.id)


def settled(store: Store, campaign: int) -> list[Settlement]:
    """How a campaign's items were settled, the newest first."""
    with store.reading() as session:
        return settlements.settled(session, campaign)


def settle(
    store: Store, item: int, by: Annotator, *, submission: str, ranks: Sequence[int], note: str, over: str | None
) -> Settlement:
    """Decide an item's order; see `store.settlements.settle`."""
    with store.transaction() as session:
        return settlements.settle(session, item=item, by=by, submission=submission, ranks=ranks, note=note, over=over)


def standings(
    store: Store, campaign: int, *, language: str | None = None, same_length: bool = False
) -> tuple[Duels, list[Standings]]:
    """What a campaign's judgements say of the models that wrote its answers, and from how many. SciPy is loaded when
    somebody asks."""
    with store.reading() as session:
        found = contests.duels(session, campaign, language)
    made: list[Standings] = import_module("burnish.label.board").standings(found.duels, same_length=same_length)
    return found, made


def log(store: Store, *, actor: str, verb: str, before: int | None) -> tuple[list[Event], list[str]]:
    """The newest lines of the audit log, as `store.events.events`, and all verbs that occur in it."""
    with store.reading() as session:
        return audit.events(session, actor=actor, verb=verb, before=before), audit.verbs(session)


def signs(store: Store, campaign: Campaign) -> list[Signs]:
    """How a campaign's people work, and what of it needs a look. SciPy is loaded when somebody asks."""
    with store.reading() as session:
        found = habits.conduct(session, campaign.id)
    made: list[Signs] = import_module("burnish.label.alarms").signs(found, campaign.pass_mark)
    return made


def lesson(store: Store, task: int) -> Lesson | None:
    """What to show after this task, if it was one of a training."""
    with store.reading() as session:
        return gold.lesson(session, task)


def set_training(store: Store, campaign: int, training: int, pass_mark: float, *, by: Annotator) -> None:
    """How many gold questions come first, and how good people must be at them to go on."""
    with store.transaction() as session:
        gold.set_training(session, campaign, training, pass_mark, by=by)


def assistance(store: Store, campaign: int) -> Assisted:
    """What critiques do for a campaign's people. SciPy is loaded when somebody asks."""
    with store.reading() as session:
        known, drawn = help_given.known(session, campaign), help_given.drawn(session, campaign)
        there = critiques.count(session, campaign)
    found: Assisted = import_module("burnish.label.assistance").assisted(known, drawn, there)
    return found


def set_assistance(store: Store, campaign: int, given: str, share: float, *, by: Annotator | None) -> None:
    """Whether critiques are shown, when, and in which share of tasks; see `store.assistance.change`."""
    with store.transaction() as session:
        help_given.change(session, campaign, given, share, by=by)


def change_settings(store: Store, campaign: int, *, overlap: int, closed: bool, guideline: str, by: Annotator) -> None:
    """What may be changed of a campaign while people judge; see `store.settings.change`."""
    with store.transaction() as session:
        settings.change(session, campaign, overlap=overlap, closed=closed, guideline=guideline, by=by)


def gold_questions(store: Store, campaign: int) -> int:
    """How many a campaign has."""
    with store.reading() as session:
        return gold.questions(session, campaign)


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


def invite(store: Store, role: Role, *, by: Annotator | None = None, languages: Sequence[str] = ()) -> str:
    """What a link holds that lets someone new in; see `store.people.invite`."""
    with store.transaction() as session:
        return accounts.invite(session, role, by=by, languages=languages)


def invite_again(store: Store, annotator: int, *, by: Annotator | None = None) -> str:
    """What a link holds that gives someone who is here a new password."""
    with store.transaction() as session:
        return accounts.invite_again(session, annotator, by=by)


def invite_first_owner(store: Store) -> str | None:
    """What a link holds that lets an owner in; None where somebody is one already."""
    with store.transaction() as session:
        return accounts.invite_first_owner(session)


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


def data_of(store: Store, person: Annotator, *, by: Annotator) -> dict[str, Any]:
    """All that is kept about one person; that it was asked for goes into the log."""
    with store.transaction() as session:
        found = kept.about(session, person.handle)
        audit.append(session, at=queries.clock(None), actor=by.handle, verb="annotator.data", target=person.handle)
    return found


def export_forms(campaign: Campaign) -> dict[str, str]:
    """What a campaign can be exported as, and what each is. Parquet only where it can be written."""
    found: dict[str, str] = import_module("burnish.label.export").forms_of(campaign)
    return {form: says for form, says in found.items() if form != "parquet" or find_spec("pyarrow")}


def export_preview(store: Store, campaign: Campaign) -> dict[str, list[dict[str, Any]]]:
    """The first rows of each form; see `label.export.preview`."""
    found: dict[str, list[dict[str, Any]]] = import_module("burnish.label.export").preview(store, campaign)
    return {form: found[form] for form in export_forms(campaign)}


def export_zip(
    store: Store,
    campaign: Campaign,
    aside: str,
    *,
    form: str,
    held_out: float,
    seed: int,
    licence: str,
    by: Annotator,
) -> Path:
    """A campaign's judgements as `label.export.export` writes them, as one file in the folder `aside`. SciPy is loaded
    when somebody asks."""
    name = f"campaign-{campaign.id}-{form}"
    export = import_module("burnish.label.export").export
    export(store, campaign.key, form, Path(aside) / name, held_out=held_out, seed=seed, licence=licence, by=by)
    return Path(make_archive(str(Path(aside) / name), "zip", aside, name))
