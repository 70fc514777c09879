"""What PostgreSQL refuses, and how that is said. What both kinds of database share is tested on both elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from burnish.errors import ConfigError, DataError, MachineError
from burnish.store import queries
from burnish.store.backend import BUSY_MS
from burnish.store.session import Store, open_store
from burnish.types import Message, Prompt

from .conftest import ANSWERS


@pytest.fixture
def store(postgres: Callable[[], URL]) -> Iterator[Store]:
    opened = open_store(postgres())
    yield opened
    opened.close()


def test_a_server_that_is_not_there_is_the_machines_fault_and_no_password_is_shown(tmp_path: Path):
    with pytest.raises(MachineError) as refused:
        open_store(f"postgresql://burnish:hunter2@/test?unix_sock={tmp_path}/none")
    assert "does not answer" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_database_that_is_not_there_is_said(store: Store):
    with pytest.raises(MachineError, match="nowhere"):
        open_store(store.url.set(database="nowhere"))


def test_an_address_that_cannot_be_read_is_refused():
    with pytest.raises(ConfigError, match="cannot be read"):
        open_store("postgresql://host:port/name")


def test_what_cannot_be_kept_is_said_and_nothing_is_written(store: Store, fill: Callable[..., int]):
    campaign = fill(store, items=1)
    for prompt_id, answer, words in (("p" * 201, "fine", "too long"), ("p", "a\x00b", "0x00")):
        prompt = Prompt(id=prompt_id, messages=(Message(role="user", content="?"),))
        with pytest.raises(DataError, match=words), store.transaction() as write:
            queries.add_item(write, campaign, prompt, [(answer, "m")] * 4)
    with store.reading() as read:
        assert queries.progress(read, campaign).items == 1


@pytest.mark.parametrize("default", ["read committed", "repeatable read", "serializable"])
def test_writes_follow_one_another(store: Store, default: str):
    """A second writer waits for the first, and what it then reads is what the first left, whatever the server's own
    habit is."""
    with store.transaction() as write:
        for setting in (f"isolation = '{default}'", "read_only = on"):
            write.execute(text(f"alter database {store.url.database} set default_transaction_{setting}"))
    store.engine.dispose()  # a setting is for connections that come after it
    seen: list[int] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with store.transaction() as write:
            seen.append(len(queries.annotators(write)))

    with store.transaction() as write:
        queries.add_annotator(write, "Amina", "person")
        waiting = threading.Thread(target=second)
        waiting.start()
        begun.wait()
        waiting.join(0.2)
        assert not seen
    waiting.join()
    assert seen == [1]


def test_a_lock_that_is_held_too_long_is_the_machines_fault(store: Store):
    (begin,) = store.backend.writing
    assert f"= {BUSY_MS}" in begin
    hurried = replace(store.backend, writing=(begin.replace(f"= {BUSY_MS}", "= 50"),))
    impatient = replace(store, backend=hurried)
    with store.transaction() as first:
        first.execute(text("select 1"))
        with pytest.raises(MachineError, match="lock timeout"), impatient.transaction() as write:
            write.execute(text("select 1"))


def test_a_server_that_goes_away_in_between_is_the_machines_fault(store: Store):
    with pytest.raises(MachineError), store.transaction() as write:
        write.execute(text("select pg_terminate_backend(pg_backend_pid())"))
    with store.transaction() as write:  # and the next connection is a fresh one
        queries.add_annotator(write, "Amina", "person")


def test_a_connection_prepares_each_statement_once(
    store: Store, fill: Callable[..., int], monkeypatch: pytest.MonkeyPatch
):
    """It keeps those that were asked last."""
    campaign = fill(store, items=2)
    store.engine.dispose()
    with store.transaction() as write:

        def kept() -> int:
            return write.execute(text("select count(*) from pg_prepared_statements")).scalar_one()

        known = write.execute(text("select count(*) from pg_prepared_statements where :one = 1"), {"one": 1}).scalar()
        assert known == 1  # this one
        assert {tuple(queries.texts(write, item)) for item in (1, 2, 1)} == {
            tuple(f"{answer} {number}" for answer in ANSWERS) for number in (0, 1)
        }
        assert kept() == 2
        monkeypatch.setattr("burnish.store.prepared.MOST", 2)
        assert [each.prompt.id for each in queries.items(write, campaign)] == ["p0", "p1"]
        assert queries.texts(write, 2)
        assert kept() == 2
        assert "answer" in "".join(write.execute(text("select statement from pg_prepared_statements")).scalars())


def test_a_double_is_refused_as_what_it_is(store: Store, fill: Callable[..., int]):
    fill(store)
    double = text("insert into annotator (handle, name, kind, created) values (:who, :who, 'person', now())")
    with store.transaction() as write:
        write.execute(double, {"who": "Amina"})
    with pytest.raises(IntegrityError), store.transaction() as write:
        write.execute(double, {"who": "Amina"})
    with pytest.raises(ProgrammingError), store.transaction() as write:
        write.execute(text("select nothing from nowhere where :a = 1"), {"a": 1})
    with store.transaction() as write:
        assert [person.name for person in queries.annotators(write)] == ["Amina"]
