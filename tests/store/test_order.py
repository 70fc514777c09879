"""The queue's order: what comes first, what keeps its place, and what is written down about it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from burnish.store import order, queries, tasks
from burnish.store.schema import EventRow
from burnish.store.session import Store
from burnish.types import Message, Prompt

Fill = Callable[..., int]
People = Callable[[Store, int], list[int]]


def queue(store: Store, person: int, count: int) -> list[str]:
    found: list[str] = []
    with store.transaction() as write:
        for _ in range(count):
            task = tasks.next_task(write, 1, person)
            assert task
            found.append(task.prompt.id)
            tasks.submit(write, task=task.id, submission=f"{person} {task.prompt.id}", ranks=[1, 2, 3, 4])
    return found


def ids(store: Store) -> dict[str, int]:
    with store.reading() as read:
        return {item.prompt.id: item.id for item in queries.items(read, 1)}


def test_chosen_items_come_first_and_the_others_keep_their_order(store: Store, fill: Fill, people: People):
    fill(store, items=6)
    (person,) = people(store, 1)
    known = ids(store)
    with store.transaction() as write:
        order.put_first(
            write, 1, {known["p4"]: {"probability": 0.5}, known["p1"]: {"probability": 1.0}}, why={"by": "x"}
        )
    assert queue(store, person, 6) == ["p4", "p1", "p0", "p2", "p3", "p5"]


def test_what_was_touched_keeps_its_place(store: Store, fill: Fill, people: People):
    fill(store, items=4)
    one, other = people(store, 2)
    assert queue(store, one, 1) == ["p0"]
    with store.reading() as read:
        assert [item.prompt.id for item in order.untouched(read, 1)] == ["p1", "p2", "p3"]
    known = ids(store)
    with store.transaction() as write:
        order.put_first(write, 1, {known["p3"]: {}, known["p0"]: {}}, why={})
    assert queue(store, other, 4) == ["p0", "p3", "p1", "p2"]


def test_gold_questions_are_not_for_choosing(store: Store, fill: Fill):
    fill(store, items=1)
    with store.transaction() as write:
        gold = Prompt(id="gold", messages=(Message(role="user", content="?"),), meta={"gold": [1, 2, 3, 4]})
        queries.add_item(write, 1, gold, [(text, "m") for text in "abcd"])
    with store.reading() as read:
        assert [item.prompt.id for item in order.untouched(read, 1)] == ["p0"]


def test_the_chance_is_kept_with_the_item_and_the_reason_in_the_log(store: Store, fill: Fill):
    fill(store, items=3)
    known = ids(store)
    for chance in (0.25, 0.5):
        with store.transaction() as write:
            order.put_first(write, 1, {known["p2"]: {"probability": chance}}, why={"seed": 7})
    with store.reading() as read:
        metas = {item.prompt.id: dict(item.prompt.meta) for item in queries.items(read, 1)}
        assert order.chances(read, list(known.values())) == {known["p2"]: 0.5}
        events = list(read.scalars(select(EventRow).where(EventRow.verb == "campaign.order")))
    assert metas == {"p0": {}, "p1": {}, "p2": {order.SELECTION: {"probability": 0.5}}}
    assert [event.payload for event in events] == [{"seed": 7}] * 2
