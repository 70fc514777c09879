"""Settling what people judged against each other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from burnish.errors import StoreError
from burnish.store import disputes, events, queries, settlements, tasks
from burnish.store import people as accounts
from burnish.store.session import Store
from burnish.store.settlements import Settlement
from burnish.store.snapshot import freeze, judgement_ids, read_manifest, read_rows
from burnish.store.views import Annotator

from .test_disputes import found, say

Fill = Callable[..., int]
People = Callable[[Store, int], list[int]]
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def scene(store: Store, fill: Fill, people: People) -> tuple[int, list[Annotator]]:
    """A campaign of pairs, p0 judged both ways and p1 alike; two who judged and two who did not."""
    campaign, crowd = fill(store, k=2, items=3, overlap=3), people(store, 4)
    for prompt_id, ranks in (("p0", ((1, 2), (2, 1))), ("p1", ((1, 2), (1, 2)))):
        for who, order in zip(crowd, ranks, strict=False):
            say(store, campaign, who, prompt_id, order)
    with store.reading() as read:
        return campaign, [queries.annotator(read, who) for who in crowd]


def item_of(store: Store, campaign: int, prompt_id: str) -> int:
    with store.reading() as read:
        return next(each.id for each in queries.items(read, campaign) if each.prompt.id == prompt_id)


def settle(store: Store, item: int, by: Annotator, own: tuple[int, ...] = (2, 1), **said: Any) -> Settlement:
    """`own` is in the answers' own order, as those are recognised by their text."""
    with store.transaction() as write:
        campaign = next(each.id for each in queries.campaigns(write))
        order = disputes.dispute(write, campaign, item, by.id).order
        ranks = [own[position] for position in order]
        return settlements.settle(write, **{"item": item, "by": by, "submission": "s", "ranks": ranks, **said})


def test_a_settlement_closes_the_item_and_leaves_the_queue(store: Store, scene: tuple[int, list[Annotator]]):
    campaign, (one, _, judge, late) = scene
    item = item_of(store, campaign, "p0")
    assert found(store, campaign, judge.id) == [("p0", 1.0)]
    with store.reading() as read:
        before = queries.progress(read, campaign).left
    made = settle(store, item, judge, note="The second is wrong.")
    assert (made.ranks, made.adjudicator, made.note, made.counts) == (
        (2, 1),
        judge.handle,
        "The second is wrong.",
        True,
    )
    assert found(store, campaign, one.id) == []
    with store.reading() as read:
        assert [(each.prompt_id, each.ranks) for each in settlements.settled(read, campaign)] == [("p0", (2, 1))]
        assert queries.progress(read, campaign).left == before - 1
    with store.transaction() as write:
        assert tasks.next_task(write, campaign, late.id, prompt_id="p0") is None
        assert tasks.next_task(write, campaign, late.id, prompt_id="p1")


def test_who_judged_it_or_is_on_hold_settles_nothing(store: Store, scene: tuple[int, list[Annotator]]):
    campaign, (one, _, judge, _) = scene
    p0, p2 = item_of(store, campaign, "p0"), item_of(store, campaign, "p2")
    with pytest.raises(StoreError, match="judged by you"):
        settle(store, p0, one)
    with store.transaction() as write, pytest.raises(StoreError, match="fewer than two"):
        settlements.settle(write, item=p2, by=judge, submission="s", ranks=[1, 2])
    with pytest.raises(StoreError, match="2,000 are kept"):
        settle(store, p0, judge, note="x" * 2001)
    with store.transaction() as write:
        accounts.set_standing(write, judge.id, "held")
    with pytest.raises(StoreError, match="on hold"):
        settle(store, p0, judge)
    assert found(store, campaign, one.id) == [("p0", 1.0)]


def test_a_double_click_is_one_and_a_second_thought_names_the_first(store: Store, scene: tuple[int, list[Annotator]]):
    campaign, (_, _, judge, other) = scene
    item = item_of(store, campaign, "p0")
    first = settle(store, item, judge)
    assert settle(store, item, judge) == first
    with pytest.raises(StoreError, match="another order"):
        settle(store, item, judge, (1, 2))
    with pytest.raises(StoreError, match="by somebody else while"):
        settle(store, item, other, (1, 2), submission="t")
    second = settle(store, item, other, (1, 1), submission="t", over=first.id, now=NOON)
    assert (second.ranks, second.adjudicator) == ((1, 1), other.handle)
    with pytest.raises(StoreError, match="by somebody else while"):
        settle(store, item, judge, submission="u", over=first.id)
    with store.reading() as read:
        assert settlements.settlement(read, item) == second
        assert events.verify_log(read)
        said = read.execute(text("select actor, target from event where verb = 'item.settle' order by seq")).all()
    assert [tuple(row) for row in said] == [(judge.handle, first.id), (other.handle, second.id)]


def test_settlements_are_neither_changed_nor_deleted(store: Store, scene: tuple[int, list[Annotator]]):
    campaign, (_, _, judge, _) = scene
    settle(store, item_of(store, campaign, "p0"), judge)
    for statement in ("update settlement set note = 'x'", "delete from settlement"):
        with pytest.raises(DBAPIError, match="append-only"), store.transaction() as write:
            write.execute(text(statement))


def test_withdrawn_adjudication_counts_nowhere_until_it_is_taken_back(store: Store, scene: tuple[int, list[Annotator]]):
    campaign, (one, _, judge, _) = scene
    item = item_of(store, campaign, "p0")
    settle(store, item, judge)
    with store.reading() as read:
        left = queries.progress(read, campaign).left
    for standing, open_again in (("withdrawn", True), ("active", False)):
        with store.transaction() as write:
            accounts.set_standing(write, judge.id, standing)
        assert found(store, campaign, one.id) == ([("p0", 1.0)] if open_again else [])
        with store.reading() as read:
            assert queries.progress(read, campaign).left == left + open_again
            assert bool(settlements.settled(read, campaign)) is not open_again


def test_a_snapshot_takes_the_settled_order_and_keeps_the_votes(
    store: Store, scene: tuple[int, list[Annotator]], tmp_path: Path
):
    campaign, (_, _, judge, _) = scene
    freeze(store, campaign, tmp_path / "before", held_out=0.0, seed=0)
    made = settle(store, item_of(store, campaign, "p0"), judge, now=NOON + timedelta(days=1))
    freeze(store, campaign, tmp_path / "after", held_out=0.0, seed=0)
    before, after = (read_rows(tmp_path / each, "train") for each in ("before", "after"))
    assert [row.ranking.ranks for row in before] == [(1, 1), (1, 2)]
    assert [row.ranking.ranks for row in after] == [(2, 1), (1, 2)]
    assert [row.votes for row in before] == [row.votes for row in after]
    manifests = [read_manifest(tmp_path / each) for each in ("before", "after")]
    assert [manifest.settlements for manifest in manifests] == [[], [made.id]]
    assert manifests[0].rule == "mean-rank"
    assert made.id in judgement_ids(tmp_path / "after")
    with store.reading() as read:
        assert queries.exists(read, [made.id, "nothing"]) == {made.id}
    assert manifests[1].rule.startswith("mean-rank; an adjudicator's order where")
