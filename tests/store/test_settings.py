"""What may be changed of a campaign while people judge, on both kinds of database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from burnish.errors import StoreError
from burnish.store import events, queries, settings, tasks
from burnish.store.session import Store

Fill = Callable[..., int]
People = Callable[[Store, int], list[int]]
AS_MADE = {"overlap": 2, "closed": False, "guideline": ""}


def change(store: Store, campaign: int, **changed: Any) -> None:
    with store.transaction() as write:
        settings.change(write, campaign, **{**AS_MADE, **changed}, by=None)


def judge(store: Store, campaign: int, person: int) -> bool:
    with store.transaction() as write:
        given = tasks.next_task(write, campaign, person)
        if given:
            tasks.submit(write, task=given.id, submission=f"{given.id}", ranks=[1, 2, 3, 4])
    return given is not None


def payloads(store: Store, verb: str) -> list[dict[str, Any]]:
    with store.reading() as session:
        return [dict(line.payload) for line in reversed(events.events(session, verb=verb, actor="", before=None))]


def left(store: Store, campaign: int) -> int:
    with store.reading() as session:
        return queries.progress(session, campaign).left


def test_another_overlap_opens_and_closes_seats(store: Store, fill: Fill, people: People):
    campaign, (one, _) = fill(store, items=1), people(store, 2)
    assert judge(store, campaign, one)
    assert left(store, campaign) == 1
    change(store, campaign, overlap=3)
    assert left(store, campaign) == 2
    change(store, campaign, overlap=1)
    assert left(store, campaign) == 0
    for wrong in (0, settings.MOST_OVERLAP + 1):
        with pytest.raises(StoreError, match="people judge each item"):
            change(store, campaign, overlap=wrong)


def test_a_recipe_finds_its_campaign_after_a_change(store: Store, fill: Fill):
    campaign = fill(store, overlap=2)
    change(store, campaign, overlap=3)
    assert fill(store, overlap=2) == campaign
    assert fill(store, overlap=3) == campaign
    with pytest.raises(StoreError, match="another overlap"):
        fill(store, overlap=4)


def test_nobody_is_given_anything_of_a_closed_campaign(store: Store, fill: Fill, people: People):
    campaign, (one, two) = fill(store), people(store, 2)
    assert judge(store, campaign, one)
    change(store, campaign, closed=True)
    assert not judge(store, campaign, one)
    assert not judge(store, campaign, two)
    with store.reading() as session:
        assert tasks.share(session, campaign, two).left == 0
    change(store, campaign, closed=False)
    assert judge(store, campaign, two)


def test_a_judgement_says_by_which_guideline_and_the_log_has_all_of_them(store: Store, fill: Fill, people: People):
    campaign, (one,) = fill(store), people(store, 1)
    judge(store, campaign, one)
    for text in ("First.", "Second.", "Second."):
        change(store, campaign, guideline=text)
        judge(store, campaign, one)
    said = [each.get("guideline_version") for each in payloads(store, "judgement.add")]
    assert said == [None, 1, 2, 2]
    told = payloads(store, "campaign.settings")
    assert told == [{"guideline": f"{text}.", "guideline_version": at} for at, text in ((1, "First"), (2, "Second"))]
    with pytest.raises(StoreError, match="more than 20,000"):
        change(store, campaign, guideline="x" * 20_001)
    with store.reading() as session:
        events.verify_log(session)
