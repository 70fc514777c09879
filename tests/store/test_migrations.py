"""A database that an earlier release made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError

from burnish.store import queries
from burnish.store.details import NOTHING_MORE, ORDER_ONLY
from burnish.store.session import _connected, _migrate, open_store, store_url

NOON = datetime(2026, 11, 24, 12)
ROWS = (
    "insert into campaign values (1, 'key', 'Round 1', '?', 'pairwise', 2, :at)",
    "insert into annotator values (1, 'Amina', 'person', :at), (2, 'Bob', 'person', :at)",
    "insert into item values (1, 1, 'p0', '[]', '{}', 0), (2, 1, 'p1', '[]', '{}', 1), (3, 1, 'p2', '[]', '{}', 2)",
    "insert into assignment values (1, 1, 1, '[0, 1]', :at, :at), (2, 1, 2, '[0, 1]', :at, :at), "
    "(3, 2, 1, '[0, 1]', :at, :at), (4, 2, 2, '[0, 1]', :at, :at)",
    "insert into judgement values ('a', 'sa', 1, 1, 1, '[1, 2]', null, 1, :at, null), "
    "('b', 'sb', 2, 1, 2, null, 'unsure', 1, :at, null), ('c', 'sc', 2, 1, 2, '[2, 1]', null, 1, :at, 'b'), "
    "('d', 'sd', 3, 2, 1, null, 'unsure', 1, :at, null), ('e', 'se', 4, 2, 2, null, 'unsure', 1, :at, null)",
)
"""p0 is judged twice, once on second thoughts; p1 was skipped by as many as should judge it; p2 was never shown."""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_of_the_first_release_is_brought_up_to_date(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
):
    make: Callable[[], URL] = (
        request.getfixturevalue("postgres") if kind == "postgresql" else (lambda: store_url(tmp_path / "old.db"))
    )
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
        assert queries.judgements(read, 1)[0].created == NOON.replace(tzinfo=UTC)
        assert queries.judgements(read, 1)[0].details == NOTHING_MORE
        assert queries.campaign(read, 1).asks == ORDER_ONLY
    with store.transaction() as write:  # what an older one could not hold
        write.execute(text("update campaign set kind = 'scale'"))
    with pytest.raises(DBAPIError), store.transaction() as write:
        write.execute(text("update campaign set kind = 'guess'"))
    store.close()
