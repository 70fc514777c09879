"""Leases, seats, shown orders, submissions and revisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from burnish.errors import StoreError
from burnish.store import events, queries, tasks
from burnish.store.leases import LEASE
from burnish.store.session import Store, open_store
from burnish.store.views import Judgement, Task

Fill = Callable[..., int]
People = Callable[[Store, int], list[int]]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATE = NOON + LEASE + timedelta(seconds=1)


def lend(store: Store, campaign: int, who: int, now: datetime = NOON, prompt_id: str | None = None) -> Task | None:
    with store.transaction() as write:
        return tasks.next_task(write, campaign, who, now, prompt_id=prompt_id)


def must_lend(store: Store, campaign: int, who: int, now: datetime = NOON, prompt_id: str | None = None) -> Task:
    task = lend(store, campaign, who, now, prompt_id)
    assert task is not None
    return task


def say(store: Store, task: Task, submission: str, **said: object) -> Judgement:
    said = {"ranks": None, "now": NOON, **said}
    if said["ranks"] is None and "skip" not in said:
        said["ranks"] = list(range(1, len(task.answers) + 1))
    with store.transaction() as write:
        return tasks.submit(write, task=task.id, submission=submission, **said)


def test_ranks_given_in_the_shown_order_are_kept_in_the_answers_own_order(store: Store, fill: Fill, people: People):
    """Everyone ranks by the text itself, whatever place it is shown in; so everyone must be stored alike."""
    campaign, crowd = fill(store, items=1, overlap=12), people(store, 12)
    quality = {"best 0": 1, "good 0": 2, "poor 0": 3, "bad 0": 3}
    orders = set[tuple[int, ...]]()
    for who in crowd:
        task = must_lend(store, campaign, who)
        orders.add(task.order)
        assert task.answers == tuple(list(quality)[position] for position in task.order)
        said = say(store, task, f"s{who}", ranks=[quality[text] for text in task.answers])
        assert said.ranks == (1, 2, 3, 3)
    assert len(orders) > 4  # twelve draws from 24 orders


def test_the_shown_order_is_drawn_from_the_key_the_prompt_and_the_name_only(tmp_path: Path, fill: Fill):
    seen: list[dict[str, tuple[int, ...]]] = []
    for number, names in enumerate((["Amina", "Bob"], ["Zoe", "Bob", "Amina"])):  # other row numbers
        store = open_store(tmp_path / f"{number}.db")
        fill(store, key="before")
        campaign = fill(store, items=20, overlap=3, key="same")
        with store.transaction() as write:
            ids = {name: queries.add_annotator(write, name, "person") for name in names}
        orders = [must_lend(store, campaign, ids["Amina"], prompt_id=f"p{item}").order for item in range(20)]
        seen.append({f"p{item}": order for item, order in enumerate(orders)})
        store.close()
    assert seen[0] == seen[1]
    first_shown = Counter(order[0] for order in seen[0].values())
    assert set(first_shown) == {0, 1, 2, 3}


def test_asking_again_gives_the_same_task_with_a_fresh_lease(store: Store, fill: Fill, people: People):
    campaign, (who,) = fill(store), people(store, 1)
    first = must_lend(store, campaign, who)
    again = must_lend(store, campaign, who, NOON + timedelta(minutes=5))
    assert (again.id, again.order) == (first.id, first.order)
    assert again.leased_until == NOON + timedelta(minutes=20)
    with store.reading() as read:
        assert tasks.find(read, first.id) == again


def test_an_item_has_no_more_seats_than_its_overlap(store: Store, fill: Fill, people: People):
    campaign, (one, two, three) = fill(store, items=1, overlap=2), people(store, 3)
    task = must_lend(store, campaign, one)
    must_lend(store, campaign, two)
    assert lend(store, campaign, three) is None
    say(store, task, "one")
    assert lend(store, campaign, three) is None
    assert lend(store, campaign, one) is None  # never the same item twice


def test_a_lease_that_runs_out_frees_its_seat(store: Store, fill: Fill, people: People):
    campaign, (slow, quick) = fill(store, items=1, overlap=1), people(store, 2)
    lost = must_lend(store, campaign, slow)
    assert lend(store, campaign, quick, NOON + LEASE - timedelta(seconds=1)) is None
    taken = must_lend(store, campaign, quick, LATE)
    with pytest.raises(StoreError, match="lent out for too long"):
        say(store, lost, "slow", now=LATE)
    say(store, taken, "quick", now=LATE)
    with pytest.raises(StoreError, match="lent out for too long"):
        say(store, lost, "slow", now=LATE)


def test_a_late_answer_is_kept_when_its_seat_is_still_free(store: Store, fill: Fill, people: People):
    campaign, (who,) = fill(store, items=1, overlap=1), people(store, 1)
    task = must_lend(store, campaign, who)
    assert say(store, task, "late", now=LATE).seconds == 901


def test_a_live_lease_keeps_its_seat_whatever_others_do(store: Store, fill: Fill, people: People):
    campaign, (one, two, three) = fill(store, items=1, overlap=2), people(store, 3)
    mine = must_lend(store, campaign, one)
    for other in (two, three):
        say(store, must_lend(store, campaign, other), f"skip {other}", skip="unsure")
    assert say(store, mine, "mine").ranks


def test_a_skip_gives_the_seat_to_someone_else(store: Store, fill: Fill, people: People):
    campaign, (one, two) = fill(store, items=1, overlap=1), people(store, 2)
    other, _ = fill(store, items=1, overlap=2, key="two"), None
    say(store, must_lend(store, other, one), "s", skip="language")
    assert lend(store, other, one) is None
    assert must_lend(store, other, two)
    say(store, must_lend(store, campaign, one), "t", skip="language")
    assert lend(store, campaign, two) is None  # as many skips as seats: closed


def test_the_same_submission_again_is_one_judgement(store: Store, fill: Fill, people: People):
    campaign, (who,) = fill(store), people(store, 1)
    task = must_lend(store, campaign, who)
    first = say(store, task, "once", seconds=3.5)
    assert say(store, task, "once", seconds=9.0) == first
    with store.reading() as read:
        assert queries.judgements(read, campaign) == [first]


def test_what_contradicts_a_judgement_is_refused(store: Store, fill: Fill, people: People):
    campaign, (who,) = fill(store), people(store, 1)
    task = must_lend(store, campaign, who)
    first = say(store, task, "once")
    with pytest.raises(StoreError, match="sent before with another answer"):
        say(store, task, "once", ranks=[4, 3, 2, 1])
    with pytest.raises(StoreError, match="judged already"):
        say(store, task, "twice", ranks=[4, 3, 2, 1])
    other = must_lend(store, campaign, who)
    with pytest.raises(StoreError, match="sent before"):
        say(store, other, "once")
    with store.reading() as read:
        assert queries.judgements(read, campaign) == [first]


def test_a_revision_is_appended_and_counts_alone(store: Store, fill: Fill, people: People):
    campaign, (who,) = fill(store, items=1), people(store, 1)
    task = must_lend(store, campaign, who)
    first = say(store, task, "first")
    second = say(store, task, "second", ranks=[1, 1, 1, 1], revise=True)
    third = say(store, task, "third", skip="unsure", revise=True)
    assert (first.supersedes, second.supersedes, third.supersedes) == (None, first.id, second.id)
    with store.reading() as read:
        assert queries.judgements(read, campaign) == [third]
        assert queries.progress(read, campaign).judged == 0
        assert queries.exists(read, [first.id, second.id, third.id]) == {first.id, second.id, third.id}


def test_the_last_answer_is_found_and_a_revision_keeps_its_time(store: Store, fill: Fill, people: People):
    campaign, (who, other) = fill(store), people(store, 2)
    with store.reading() as read:
        assert tasks.share(read, campaign, who).last is None
    first = must_lend(store, campaign, who)
    say(store, first, "first", now=NOON + timedelta(seconds=30))
    second = must_lend(store, campaign, who, NOON + timedelta(minutes=1))
    with store.reading() as read:
        assert tasks.share(read, campaign, who).last == first.id
        assert tasks.share(read, campaign, other).last is None
        assert tasks.said(read, second.id) is None
    say(store, second, "second", skip="unsure", now=NOON + timedelta(minutes=2))
    revised = say(store, first, "first again", revise=True, now=NOON + timedelta(hours=3))
    assert revised.seconds == 30
    with store.reading() as read:
        assert tasks.share(read, campaign, who).last == second.id
        assert tasks.said(read, first.id) == revised


def test_a_skip_cannot_be_revised_into_a_seat_that_is_taken(store: Store, fill: Fill, people: People):
    campaign, (one, two) = fill(store, items=1, overlap=2), people(store, 3)[:2]
    single = fill(store, items=1, overlap=1, key="single")
    mine = must_lend(store, campaign, one)
    say(store, mine, "skip", skip="unsure")
    assert say(store, mine, "after all", revise=True).ranks
    mine = must_lend(store, single, one)
    theirs = must_lend(store, single, two, LATE)
    say(store, theirs, "theirs", now=LATE)
    with pytest.raises(StoreError, match="others have judged"):
        say(store, mine, "mine", now=LATE)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"ranks": [1, 2, 3]}, "3 ranks for 4 answers"),
        ({"ranks": [1, 2, 3, 4], "skip": "unsure"}, "either ranks or a reason"),
        ({"skip": ""}, "needs a reason"),
        ({"submission": ""}, "no id"),
        ({"submission": "x" * 101}, "no id"),
        ({"task": 99}, "there is no task 99"),
    ],
)
def test_what_cannot_be_is_refused(store: Store, fill: Fill, people: People, said: dict[str, object], message: str):
    campaign, (who,) = fill(store), people(store, 1)
    task = must_lend(store, campaign, who)
    with pytest.raises(StoreError, match=message), store.transaction() as write:
        tasks.submit(write, **{"task": task.id, "submission": "s", **said})


def test_a_campaign_that_is_not_there(store: Store, people: People):
    (who,) = people(store, 1)
    with pytest.raises(StoreError, match="no campaign 7"):
        lend(store, 7, who)


def test_a_negative_time_counts_as_none(store: Store, fill: Fill, people: People):
    campaign, (who,) = fill(store), people(store, 1)
    assert say(store, must_lend(store, campaign, who), "s", seconds=-5.0).seconds == 0


def test_eight_at_once_fill_every_seat_exactly(store: Store, fill: Fill, people: People):
    items, overlap = 12, 3
    campaign, crowd = fill(store, items=items, overlap=overlap, k=2), people(store, 8)

    def work(who: int) -> int:
        done = 0
        while (task := lend(store, campaign, who)) is not None:
            say(store, task, f"{who}-{task.id}")
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, crowd))
    with store.reading() as read:
        said = queries.judgements(read, campaign)
        assert events.verify_log(read) == 1 + items + 8 + len(said)
    assert sum(done) == len(said) == items * overlap
    by_item = Counter(each.prompt_id for each in said)
    assert set(by_item.values()) == {overlap}
    assert len(by_item) == items
    assert len({(each.prompt_id, each.annotator) for each in said}) == len(said)
