"""The audit log's chain."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from burnish.errors import StoreError
from burnish.store import events, queries
from burnish.store.session import Store
from burnish.types import Message, Prompt

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


def test_the_longest_names_of_an_item_fit(store: Store):
    key, prompt = "k" * 200, Prompt(id="p" * 200, messages=(Message(role="user", content="?"),))
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key=key, name="n", question="?", kind="pairwise", overlap=1)
        queries.add_item(write, campaign, prompt, [("a", "m"), ("b", "m")])
    with store.reading() as read:
        assert read.scalar(text("select target from event where verb = 'item.add'")) == f"{key}/{prompt.id}"
        assert events.verify_log(read) == 2
