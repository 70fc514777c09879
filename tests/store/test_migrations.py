"""A database that an earlier release made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError

from burnish.store import disputes, queries
from burnish.store.details import NOTHING_MORE, ORDER_ONLY
from burnish.store.session import _connected, _migrate, open_store, store_url

NOON = datetime(2026, 11, 24, 12)
ROWS = (
    "insert into campaign values (1, 'key', 'Round 1', '?', 'pairwise', 2, :at)",
    "insert into annotator values (1, 'Amina', 'person', :at), (2, 'Bob', 'person', :at)",
    "insert into item values (1, 1, 'p0', '[]', '{}', 0), (2, 1, 'p1', '[]', '{\"language\": \"fr-CA\"}', 1), "
    "(3, 1, 'p2', '[]', '{\"language\": 7}', 2)",
    "insert into assignment values (1, 1, 1, '[0, 1]', :at, :at), (2, 1, 2, '[0, 1]', :at, :at), "
    "(3, 2, 1, '[0, 1]', :at, :at), (4, 2, 2, '[0, 1]', :at, :at)",
    "insert into judgement values ('a', 'sa', 1, 1, 1, '[1, 2]', null, 1, :at, null), "
    "('b', 'sb', 2, 1, 2, null, 'unsure', 1, :at, null), ('c', 'sc', 2, 1, 2, '[2, 1]', null, 1, :at, 'b'), "
    "('d', 'sd', 3, 2, 1, null, 'unsure', 1, :at, null), ('e', 'se', 4, 2, 2, null, 'unsure', 1, :at, null)",
)
"""p0 is judged twice, once on second thoughts; p1 was skipped by as many as should judge it; p2 was never shown."""


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], URL]:
    """Where an old database is made."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    return lambda: store_url(tmp_path / "old.db")


def test_a_database_of_the_first_release_is_brought_up_to_date(make: Callable[[], URL]):
    old = _connected(make())
    _migrate(old, "0001")
    with old.transaction() as write:
        for row in ROWS:
            write.execute(text(row.replace(" :at", f" '{NOON}'")))
    old.close()
    store = open_store(old.url)
    with store.reading() as read:
        counts = queries.progress(read, 1)
        assert (counts.items, counts.judged, counts.skipped, counts.left) == (3, 2, 2, 2)
        assert [said.id for said in queries.judgements(read, 1)] == ["a", "c", "d", "e"]
        assert [(each.item.prompt.id, each.opposed) for each in disputes.disputes(read, 1, 1)] == [("p0", 1.0)]
        assert queries.judgements(read, 1)[0].created == NOON.replace(tzinfo=UTC)
        assert read.execute(text("select language from item order by id")).scalars().all() == [None, "fr", None]
        assert queries.judgements(read, 1)[0].details == NOTHING_MORE
        assert queries.campaign(read, 1).asks == ORDER_ONLY
    with store.transaction() as write:  # what an older one could not hold
        write.execute(text("update campaign set kind = 'scale'"))
    for wrong in ("kind = 'guess'", "overlap = 0"):
        with pytest.raises(DBAPIError), store.transaction() as write:
            write.execute(text(f"update campaign set {wrong}"))
    store.close()


THIRD = (
    "insert into campaign values (1, 'key', 'Round 1', '?', 'pairwise', 2, :at)",
    "insert into annotator (id, name, kind, created, handle, removed) values (1, 'removed Amina', 'person', :at, "
    "'Amina', :at), (2, 'Bob', 'person', :at, 'Bob', null), (3, 'removed p-01', 'person', :at, 'p-0123456789ab', :at)",
    "insert into item (id, campaign_id, prompt_id, messages, meta, position, language) "
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2500) "
    "select i, 1, 'p' || i, '[]', '{\"language\": \"ar\"}', i, case when i = 1 then 'fr' end from n",
    "insert into event values (1, :at, 'Bob', 'test', 'x', '{}', '', '')",
)


def test_what_the_third_release_left_out_is_made_good(make: Callable[[], URL]):
    old = _connected(make())
    _migrate(old, "0003")
    with old.transaction() as write:
        for row in THIRD:
            write.execute(text(row.replace(" :at", f" '{NOON}'")))
    old.close()
    with closing(open_store(old.url)) as store:
        with store.reading() as read:
            tags = read.execute(text("select language, count(*) from item group by language order by language")).all()
            assert [tuple(row) for row in tags] == [("ar", 2499), ("fr", 1)]
            amina, bob, other = (queries.annotator(read, who) for who in (1, 2, 3))
        assert (amina.name, amina.handle[:2], bob.handle) == ("removed 1", "p-", "Bob")
        assert (other.name, other.handle) == ("removed 3", "p-0123456789ab")
        for change in ("update event set actor = 'Amina'", "delete from event"):
            with pytest.raises(DBAPIError, match="append-only"), store.transaction() as write:
                write.execute(text(change))


EIGHTH = (
    "insert into campaign (id, key, name, question, kind, overlap, created) values "
    "(1, 'key', 'Round 1', '?', 'good_bad', 3, :at)",
    "insert into annotator (id, name, handle, kind, created, standing) values (1, 'Amina', 'Amina', 'person', :at, "
    "'active'), (2, 'Bob', 'Bob', 'person', :at, 'active'), (3, 'Chen', 'Chen', 'person', :at, 'active'), "
    "(4, 'Dan', 'Dan', 'person', :at, 'withdrawn')",
    "insert into item (id, campaign_id, prompt_id, messages, meta, position, judged) values "
    "(1, 1, 'p1', '[]', '{}', 0, 3), (2, 1, 'p2', '[]', '{}', 1, 2)",
    "insert into assignment (id, item_id, annotator_id, shown_order, shown, campaign_id) values "
    "(1, 1, 1, '[0]', :at, 1), (2, 1, 2, '[0]', :at, 1), (3, 1, 3, '[0]', :at, 1), (4, 1, 4, '[0]', :at, 1), "
    "(5, 2, 1, '[0]', :at, 1), (6, 2, 2, '[0]', :at, 1)",
    "insert into judgement (id, submission, assignment_id, item_id, annotator_id, ranks, details, seconds, created, "
    "supersedes) values ('a', 'sa', 1, 1, 1, '[1]', '{\"good\": true}', 1, :at, null), "
    "('b', 'sb', 2, 1, 2, '[1]', '{\"good\": true}', 1, :at, null), "
    "('c', 'sc', 3, 1, 3, '[1]', '{\"good\": false}', 1, :at, null), "
    "('d', 'sd', 4, 1, 4, '[1]', '{\"good\": false}', 1, :at, null), "
    "('e', 'se', 5, 2, 1, '[1]', '{\"good\": false}', 1, :at, null), "
    "('f', 'sf', 5, 2, 1, '[1]', '{\"good\": true}', 1, :at, 'e'), "
    "('g', 'sg', 6, 2, 2, '[1]', '{\"good\": true}', 1, :at, null)",
)
"""p1 is called good by two, bad by one, and bad by one whose work was withdrawn; p2 good by both, one after a second
thought."""


def test_single_answers_of_the_eighth_release_are_disputed(make: Callable[[], URL]):
    old = _connected(make())
    _migrate(old, "0008")
    with old.transaction() as write:
        for row in EIGHTH:
            write.execute(text(row.replace(":at", f"'{NOON}'")))
    old.close()
    with closing(open_store(old.url)) as store, store.reading() as read:
        found = [(each.item.prompt.id, each.opposed) for each in disputes.disputes(read, 1, 1)]
    assert found == [("p1", pytest.approx(2 / 3))]  # of three couples, two
