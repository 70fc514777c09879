"""The audit log's page, and the verdict on its chain."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import text

from burnish.label import service
from burnish.label.chain import Chain
from burnish.store import events
from burnish.store.session import Store

from .conftest import Browser

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def write(store: Store, count: int, actor: str = "Amina") -> None:
    with store.transaction() as session:
        for number in range(count):
            payload = {"n": number, "nothing": None}
            events.append(session, at=AT, actor=actor, verb="judgement.add", target=f"t{number}", payload=payload)


def tamper(store: Store, statement: str) -> None:
    with store.transaction() as session:
        session.execute(text("drop trigger if exists event_no_update"))
        session.execute(text(statement))


def numbers(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'<th scope="row" class="number">(\d+)</th>', page)]


def test_the_log_is_read_page_by_page_and_by_who_and_what(store: Store, enter: Callable[..., Browser]):
    manager = enter("Mona", "manager")  # two lines: an invitation, and that she came
    write(store, 150)
    page = manager.open("/log")
    assert numbers(page) == list(range(152, 52, -1))
    assert "All 152 lines fit" in page
    assert "n: 149" in page
    assert "nothing" not in page
    page = manager.open("/log?before=53")
    assert numbers(page) == list(range(52, 0, -1))
    assert "Older ones" not in page
    mona = next(person.handle for person, _ in service.people(store) if person.name == "Mona")
    page = manager.open(f"/log?actor={mona}")
    assert numbers(page) == [2]
    assert "<bdi>Mona</bdi>" in page
    assert numbers(manager.open("/log?verb=person.invite")) == [1]
    assert "No line is like that" in manager.open(f"/log?actor={mona}&verb=person.invite")
    assert "No line is like that" in manager.open("/log?verb='; drop table event; --")
    for strange in ("x", "0", str(2**31), str(2**63)):
        assert manager.client.get(f"/log?before={strange}").status_code == 404


def test_a_changed_line_is_told(store: Store, enter: Callable[..., Browser]):
    manager = enter("Mona", "manager")
    write(store, 5)
    assert "All 7 lines fit" in manager.open("/log")
    write(store, 5)
    tamper(store, "update event set actor = 'Bob' where seq = 9")
    page = manager.open("/log")
    assert "Line 9 of the audit log does not continue the one before" in page
    assert page.count("was changed</b>") == 1


def test_a_long_log_is_checked_stretch_by_stretch(store: Store):
    write(store, 25)
    chain = Chain()
    verdicts = [chain.check(store, most=10) for _ in range(4)]
    assert [(each.checked, each.lines, each.broken) for each in verdicts] == [
        (10, 25, None),
        (20, 25, None),
        (25, 25, None),
        (25, 25, None),
    ]
    write(store, 3)
    assert chain.check(store).checked == 28


def test_a_log_that_was_rewritten_with_good_hashes_is_found_by_who_knew_the_old_one(store: Store):
    write(store, 5)
    chain = Chain()
    chain.check(store)
    with store.transaction() as session:
        session.execute(text("drop trigger event_no_delete"))
        session.execute(text("delete from event"))
    write(store, 5, actor="Eve")
    with store.reading() as read:
        assert events.verify_log(read) == 5  # alone, it is a good log
    assert "line 5 of the audit log" in str(chain.check(store).broken)
