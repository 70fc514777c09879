"""The audit log's chain."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from burnish.errors import StoreError
from burnish.store import events
from burnish.store.session import Store

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def log(store: Store) -> Store:
    for number in range(5):
        with store.transaction() as write:
            events.append(write, at=AT, actor="Amina", verb="test", target=str(number), payload={"n": number})
    return store


def test_a_whole_log_verifies_and_its_head_moves(log: Store):
    with log.reading() as read:
        assert events.verify_log(read) == 5
        before = events.head(read)
    with log.transaction() as write:
        events.append(write, at=AT, actor="Bob", verb="test", target="5")
    with log.reading() as read:
        assert events.head(read)[0] == 6
        assert events.head(read)[1] != before[1]


@pytest.mark.parametrize(
    "tampering",
    [
        "update event set payload = '{\"n\": 7}' where seq = 3",
        "update event set actor = 'Bob' where seq = 3",
        "update event set at = '2026-11-24 12:00:01.000000' where seq = 3",
        "delete from event where seq = 3",
        "update event set seq = seq * 10",
    ],
)
def test_a_changed_or_missing_line_is_found(log: Store, tampering: str):
    with log.transaction() as write:
        of = " on event" if log.url.get_backend_name() == "postgresql" else ""
        for act in ("update", "delete"):
            write.execute(text(f"drop trigger event_no_{act}{of}"))
        write.execute(text(tampering))
    with log.reading() as read, pytest.raises(StoreError, match="does not continue"):
        events.verify_log(read)
