"""Items that people judged against each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import event

from burnish.errors import StoreError
from burnish.store import disputes, queries, tasks
from burnish.store import people as accounts
from burnish.store.session import Store

Fill = Callable[..., int]
People = Callable[[Store, int], list[int]]


def say(store: Store, campaign: int, who: int, prompt_id: str, ranks: tuple[int, ...]) -> str:
    """Ranks in the answers' own order. Returns the judgement's id."""
    with store.transaction() as write:
        task = tasks.next_task(write, campaign, who, prompt_id=prompt_id)
        assert task
        shown = [ranks[position] for position in task.order]
        return tasks.submit(write, task=task.id, submission=f"{who} {prompt_id} {ranks}", ranks=shown).id


def found(store: Store, campaign: int, reader: int, page: int = 1) -> list[tuple[str, float]]:
    with store.reading() as read:
        return [(each.item.prompt.id, each.opposed) for each in disputes.disputes(read, campaign, reader, page)]


def test_the_worst_come_first_and_those_who_agree_never(store: Store, fill: Fill, people: People):
    campaign, (one, two, three) = fill(store, k=3, overlap=3), people(store, 3)
    for who, order in ((one, (1, 2, 3)), (two, (3, 2, 1))):
        say(store, campaign, who, "p1", order)  # all three pairs are turned round
    for who, order in ((one, (1, 2, 3)), (two, (1, 2, 3)), (three, (2, 1, 3))):
        say(store, campaign, who, "p2", order)  # the third turns one of three pairs, against each of two: 2 of 9
    for who in (one, two):
        say(store, campaign, who, "p0", (1, 2, 2))
    say(store, campaign, one, "p3", (1, 2, 3))
    assert found(store, campaign, one) == [("p1", 1.0), ("p2", pytest.approx(2 / 9))]
    with store.reading() as read:
        assert disputes.disputed(read, campaign) == 2


def test_a_second_thought_and_withdrawn_work_are_counted_anew(store: Store, fill: Fill, people: People):
    campaign, (one, two) = fill(store, k=2, items=2), people(store, 2)
    say(store, campaign, one, "p0", (1, 2))
    say(store, campaign, two, "p0", (2, 1))
    say(store, campaign, one, "p1", (1, 2))
    say(store, campaign, two, "p1", (1, 2))
    assert found(store, campaign, one) == [("p0", 1.0)]
    with store.reading() as read:
        mine = [each for each in queries.judgements(read, campaign) if each.annotator == "person 0"]
    for said, submission in zip(mine, ("a", "b"), strict=True):
        with store.transaction() as write:
            order = tasks.find(write, said.task).order
            ranks = [(2, 1)[position] for position in order]
            tasks.submit(write, task=said.task, submission=submission, ranks=ranks, revise=True)
    assert found(store, campaign, one) == [("p1", 1.0)]
    for standing, left in (("withdrawn", []), ("active", [("p1", 1.0)])):
        with store.transaction() as write:
            accounts.set_standing(write, two, standing)
        assert found(store, campaign, one) == left


def test_everyone_sees_an_order_of_their_own_and_what_each_said(store: Store, fill: Fill, people: People):
    campaign, crowd = fill(store, k=4, items=1, overlap=2), people(store, 12)
    say(store, campaign, crowd[0], "p0", (1, 2, 3, 4))
    say(store, campaign, crowd[1], "p0", (4, 3, 2, 2))
    with store.reading() as read:
        seen = [disputes.disputes(read, campaign, reader)[0] for reader in crowd]
        with pytest.raises(StoreError, match="none of this campaign's"):
            disputes.dispute(read, campaign, 99, crowd[0])
    assert [(said.annotator, said.ranks) for said in seen[0].said] == [
        ("person 0", (1, 2, 3, 4)),
        ("person 1", (3, 2, 1, 1)),
    ]
    assert len({each.order for each in seen}) > 4  # twelve draws from 24
    with store.reading() as read:
        order = seen[0].order
        assert tasks.find(read, seen[0].said[0].task).order == order  # that in which this person judged it


def test_a_page_reads_no_more_than_it_shows(store: Store, fill: Fill, people: People):
    campaign, (one, two) = fill(store, k=2, items=25), people(store, 2)
    for number in range(25):
        say(store, campaign, one, f"p{number}", (1, 2))
        say(store, campaign, two, f"p{number}", (2, 1))
    pages = [found(store, campaign, one, page) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert len({prompt for page in pages for prompt, _ in page}) == 25
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(store.engine, "after_cursor_execute", count)
    found(store, campaign, one)
    assert statements < 5 * disputes.PAGE
