"""Single answers that some call good and others bad: they are disputes as orders are, and are settled by a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.errors import StoreError
from burnish.store import disputes, events, queries, settlements
from burnish.store import people as accounts
from burnish.store.details import Asks, Details
from burnish.store.session import Store
from burnish.store.settlements import Settlement
from burnish.store.snapshot import freeze, judgement_ids, read_labels, read_manifest
from burnish.store.views import Annotator

from .test_disputes import found
from .test_kinds import BAD, GOOD, campaign, say


@pytest.fixture
def scene(store: Store) -> tuple[int, Annotator]:
    """p0 is called good by two and bad by one, p1 good by all, p2 both ways; and somebody who judged nothing."""
    made = campaign(store, "good_bad", answers=1, items=3)
    say(store, made, "Amina", GOOD, GOOD, GOOD)
    say(store, made, "Bob", GOOD, GOOD, BAD)
    say(store, made, "Chen", BAD, GOOD)
    with store.transaction() as write:
        judge = queries.annotator(write, queries.add_annotator(write, "Judy", "person"))
    return made, judge


def settle(store: Store, judge: Annotator, item: int, ranks: tuple[int, ...], **said: str) -> Settlement:
    with store.transaction() as write:
        return settlements.settle(write, **{"item": item, "by": judge, "submission": "s", "ranks": ranks, **said})


def test_who_calls_it_good_contradicts_who_calls_it_bad(store: Store, scene: tuple[int, Annotator]):
    made, judge = scene
    assert found(store, made, judge.id) == [("p2", 1.0), ("p0", pytest.approx(2 / 3))]  # two of three couples
    with store.transaction() as write:
        bob = next(person for person in queries.annotators(write) if person.name == "Bob")
        accounts.set_standing(write, bob.id, "withdrawn")
    assert found(store, made, judge.id) == [("p0", 1.0)]


@pytest.mark.parametrize(("ranks", "label"), [((1, 2), True), ((2, 1), False)])
def test_an_adjudicator_says_good_or_bad(
    store: Store, scene: tuple[int, Annotator], ranks: tuple[int, ...], label: bool, tmp_path: Path
):
    made, judge = scene
    freeze(store, made, tmp_path / "before", held_out=0.0, seed=0)
    said = [settle(store, judge, item, ranks, submission=f"s{item}") for item in (1, 3)]
    assert [each.ranks for each in said] == [ranks, ranks]
    assert settle(store, judge, 1, ranks, submission="s1") == said[0]
    assert found(store, made, judge.id) == []
    freeze(store, made, tmp_path / "after", held_out=0.0, seed=0)
    before, after = (
        {row.prompt.id: row.desirable for row in read_labels(tmp_path / each, "train")} for each in ("before", "after")
    )
    assert before == {"p0": True, "p1": True}  # p2 is undecided
    assert after == {"p0": label, "p1": True, "p2": label}
    manifests = [read_manifest(tmp_path / each) for each in ("before", "after")]
    assert [each.rule for each in manifests] == [
        "majority",
        "majority; an adjudicator's word where one settled the item, with the votes beside it",
    ]
    assert {each.id for each in said} == set(manifests[1].settlements)
    assert set(manifests[1].settlements) <= set(judgement_ids(tmp_path / "after"))
    # p0: one couple of three agrees; p1: three of three; p2, which has no row at first: none of one
    for each in manifests:
        assert (each.counts["pairs_agreeing"], each.counts["pairs_compared"]) == (4, 7)
    with store.reading() as read:
        assert events.verify_log(read)


def test_what_is_neither_good_nor_bad_settles_nothing(store: Store, scene: tuple[int, Annotator]):
    made, judge = scene
    for ranks, words in (((1, 1), "good or bad"), ((1,), "1 ranks for 2"), ((1, 2, 3), "3 ranks for 2")):
        with pytest.raises(StoreError, match=words):
            settle(store, judge, 1, ranks)
    assert len(found(store, made, judge.id)) == 2


def test_a_single_answer_with_grades_has_no_order(store: Store):
    made = campaign(store, "scale", Asks(axes=("helpful",)), answers=1)
    for name, grade in (("Amina", 1), ("Bob", 7)):
        say(store, made, name, (None, Details(ratings=({"helpful": grade},))))
    with store.transaction() as write:
        judge = queries.annotator(write, queries.add_annotator(write, "Judy", "person"))
    with pytest.raises(StoreError, match="no order that could be settled"):
        settle(store, judge, 1, (1,))


def test_a_dispute_tells_what_each_said(store: Store, scene: tuple[int, Annotator]):
    made, judge = scene
    with store.reading() as read:
        said = disputes.dispute(read, made, 1, judge.id).said
    assert [(each.annotator, each.details.good) for each in said] == [("Amina", True), ("Bob", True), ("Chen", False)]
