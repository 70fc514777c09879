"""A million judgements, and the time until the next task."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from burnish.label.turn import offered
from burnish.store import conduct, disputes, duels, queries, tasks
from burnish.store.session import Store

PEOPLE, OVERLAP = 60, 3


def seed(store: Store, full: int, fresh: int) -> int:
    """A campaign of `full` items judged by OVERLAP people each, and behind them `fresh` ones that nobody has seen:
    written by the database itself."""
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="pairwise", overlap=OVERLAP)
        for number in range(PEOPLE):
            queries.add_annotator(write, f"person {number}", "person")
    series = f"with recursive n(i) as (select 0 union all select i + 1 from n where i < {full + fresh - 1})"
    seat = "select i, s from n cross join (select 0 as s union select 1 union select 2) seats"
    when, who = "'2026-11-24 12:00:00'", f"1 + (i * {OVERLAP} + s) % {PEOPLE}"
    with store.transaction() as write:
        for statement in (
            f"insert into item (id, campaign_id, prompt_id, messages, meta, position, judged, skipped, open_seats) "
            f"{series} select i + 1, {campaign}, 'p' || i, '[]', '{{}}', i, case when i < {full} then {OVERLAP} else 0 "
            f"end, 0, case when i < {full} then 0 else {OVERLAP} end from n",
            f"insert into answer (id, item_id, position, text, model) {series} "
            f"select 2 * i + a + 1, i + 1, a, 'text', 'm' from n cross join (select 0 as a union select 1) two",
            f"insert into assignment (id, campaign_id, item_id, annotator_id, shown_order, shown) {series} "
            f"select i * {OVERLAP} + s + 1, {campaign}, i + 1, {who}, '[0, 1]', {when} from ({seat}) x "
            f"where i < {full}",
            f"insert into judgement (id, submission, assignment_id, item_id, annotator_id, ranks, seconds, created) "
            f"{series} select 'j' || (i * {OVERLAP} + s), 's' || (i * {OVERLAP} + s), i * {OVERLAP} + s + 1, i + 1, "
            f"{who}, '[1, 2]', 1, {when} from ({seat}) x where i < {full}",
            "analyze",
        ):
            write.execute(text(statement))
        if store.url.get_backend_name() == "postgresql":
            write.execute(text("select setval('assignment_id_seq', max(id)) from assignment"))
    return campaign


def slowest(store: Store, campaign: int, times: int) -> float:
    """Seconds from asking for a task to having it, how far one is included; each is then judged."""
    taken: list[float] = []
    for number in range(times):
        who = 1 + number % PEOPLE
        began = time.perf_counter()
        found = offered(store, campaign, who)
        taken.append(time.perf_counter() - began)
        assert found.task
        assert found.far
        assert found.far.share.left == tasks.COUNTED
        with store.transaction() as write:
            tasks.submit(write, task=found.task.id, submission=f"new {number}", ranks=[1, 2])
    middle, most = sorted(taken)[times // 2] * 1000, max(taken) * 1000
    print(f"{store.url.get_backend_name()}: median {middle:.1f} ms, slowest {most:.1f} ms")
    return max(taken)


def longest_read(store: Store, campaign: int) -> float:
    """Seconds of work for the slowest of the pages about what a million judgements say, with half of them at odds."""
    with store.transaction() as write:
        write.execute(text("update item set opposed = (id % 2) / 2.0 where judged > 0"))
        write.execute(text("update answer set model = 'm' || position"))
    taken: list[float] = []
    with store.reading() as read:
        for work in (
            lambda: queries.progress(read, campaign),
            lambda: disputes.disputes(read, campaign, 1),
            lambda: disputes.disputed(read, campaign),
            lambda: duels.duels(read, campaign),
            lambda: conduct.conduct(read, campaign),
        ):
            began = time.perf_counter()
            assert work()
            taken.append(time.perf_counter() - began)
    print(store.url.get_backend_name(), *(f"{seconds:.2f} s" for seconds in taken))
    return max(taken)


@pytest.mark.parametrize(
    ("judged", "fresh", "times", "limit"),
    [(3_000, 1_100, 6, 1.0), pytest.param(1_000_000, 50_000, 120, 0.1, marks=pytest.mark.proof)],
)
def test_the_next_of_a_million_comes_at_once(store: Store, judged: int, fresh: int, times: int, limit: float):
    """The limit is the slowest one's, in seconds; with few judgements it is a busy machine's."""
    campaign = seed(store, judged // OVERLAP + 1, fresh)
    assert slowest(store, campaign, times) < limit
    assert longest_read(store, campaign) < 5
