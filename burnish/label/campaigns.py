"""Campaigns that are made from files: what is asked, and what was judged elsewhere. Knows the store; no file's form.

Doing the same again adds nothing: an item is known by its prompt's id, a judgement by who said it of which item.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from burnish.errors import DataError, Problem
from burnish.records.durable import digest_value
from burnish.records.entries import UNKNOWN, Entry
from burnish.store import critiques, elsewhere, gold, queries
from burnish.store.details import ORDER_ONLY, Asks
from burnish.store.kinds import KINDS, kind_of
from burnish.store.live import Live
from burnish.store.session import Store
from burnish.store.views import CampaignKind


def ask(
    store: Store,
    name: str,
    entries: Sequence[Entry],
    *,
    question: str | None = None,
    overlap: int,
    kind: CampaignKind | None = None,
    asks: Asks = ORDER_ONLY,
    now: datetime | None = None,
) -> dict[str, int]:
    """Make a campaign of these entries, or add those that it lacks: counts of items, of new ones, and of gold questions
    among them.

    Without a question, it is that of a campaign that is there, or one that fits the kind. All or nothing. Raises
    DataError with every entry that does not fit the kind, StoreError where the campaign exists on other terms or an
    entry has other texts than the item of its id.
    """
    kind = kind or _kind_of(entries)
    _refuse_unfit(entries, kind)
    with store.transaction() as session:
        known = queries.find_campaign(session, name)
        question = question or (known.question if known else KINDS[kind].question)
        campaign = queries.create_campaign(
            session, key=name, name=name, question=question, kind=kind, overlap=overlap, asks=asks, now=now
        )
        before = _items(session, campaign)
        for entry in entries:
            _item(session, campaign, entry, now)
        items, questions = _items(session, campaign), gold.questions(session, campaign)
    return {"items": items, "new_items": items - before, "gold": questions}


def converse(
    store: Store,
    name: str,
    live: Live,
    *,
    question: str | None = None,
    asks: Asks = ORDER_ONLY,
    now: datetime | None = None,
) -> int:
    """Make a live campaign, whose items people and these models write together; the same again changes nothing.
    StoreError where it exists on other terms."""
    asked = question or KINDS["pairwise"].question
    with store.transaction() as session:
        return queries.create_campaign(
            session, key=name, name=name, question=asked, kind="pairwise", overlap=1, asks=asks, live=live, now=now
        )


def take_in(
    store: Store,
    name: str,
    entries: Sequence[Entry],
    *,
    question: str | None = None,
    overlap: int | None = None,
    now: datetime | None = None,
) -> dict[str, int]:
    """Add entries with the votes that they have to a campaign, made where there is none: counts of what is new.

    Voters become annotators of the kind `imported`. A campaign that is made asks for as many judgements as the entry
    with the most votes has. All or nothing; raises as `ask` does, and StoreError where a vote has changed.
    """
    most = max((len(entry.votes) for entry in entries), default=0)
    new = 0
    with store.transaction() as session:
        if any(name in (each.key, each.name) for each in queries.campaigns(session)):
            campaign = queries.named(session, name).id
        else:
            kind = _kind_of(entries)
            campaign = queries.create_campaign(
                session,
                key=name,
                name=name,
                question=question or KINDS[kind].question,
                kind=kind,
                overlap=overlap or max(1, most),
                now=now,
            )
        _refuse_unfit(entries, queries.campaign(session, campaign).kind)
        key = queries.campaign(session, campaign).key
        before = _items(session, campaign)
        names = sorted({vote.who for entry in entries for vote in entry.votes})
        voters = {who: queries.add_annotator(session, who, "imported", now) for who in names}
        for entry in entries:
            item = _item(session, campaign, entry, now)
            for vote in entry.votes:
                new += elsewhere.record(
                    session,
                    item=item,
                    annotator=voters[vote.who],
                    submission=digest_value([key, entry.prompt.id, vote.who]),
                    ranks=vote.ranks,
                    good=vote.good,
                    seconds=vote.seconds,
                    now=now,
                )
        items = _items(session, campaign)
    votes = sum(len(entry.votes) for entry in entries)
    return {"items": items, "new_items": items - before, "judgements": votes, "new_judgements": new}


def _kind_of(entries: Sequence[Entry]) -> CampaignKind:
    return kind_of(len(entry.completions) for entry in entries)


def _items(session: Session, campaign: int) -> int:
    return queries.progress(session, campaign).items + gold.questions(session, campaign)


def _item(session: Session, campaign: int, entry: Entry, now: datetime | None) -> int:
    models = entry.models or (UNKNOWN,) * len(entry.completions)
    answers = list(zip(entry.completions, models, strict=True))
    item = queries.add_item(session, campaign, entry.prompt, answers, now=now)
    if entry.critiques:
        critiques.add(session, item, entry.critiques, now)
    return item


def _refuse_unfit(entries: Sequence[Entry], kind: CampaignKind) -> None:
    known = KINDS[kind]
    problems = [
        Problem(
            entry.where,
            f"{len(entry.completions)} answers; a {kind} campaign takes {known.takes}",
            "Use --kind ranking, or leave the row out." if kind == "pairwise" else "Leave some of them out.",
        )
        for entry in entries
        if not known.fewest <= len(entry.completions) <= known.most
    ]
    if problems:
        raise DataError(*problems)
