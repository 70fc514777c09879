"""Opening, migrating and refusing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text
from sqlalchemy.exc import DatabaseError

from burnish.errors import ConfigError, MachineError, StoreError
from burnish.store import backend
from burnish.store.queries import add_annotator, annotators
from burnish.store.schema import Base
from burnish.store.session import Store, open_store
from burnish.store.sqlite import journal_mode


def test_the_migrations_make_exactly_the_tables_of_the_schema(store: Store):
    with store.reading() as read:
        connection = read.connection()
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        made = inspect(connection)
        for table in Base.metadata.sorted_tables:  # compare_metadata does not look at these
            assert {check["name"] for check in made.get_check_constraints(table.name)} == {
                check.name for check in table.constraints if isinstance(check, CheckConstraint)
            }


def test_opening_again_keeps_what_is_there(tmp_path: Path):
    for _ in range(2):
        store = open_store(tmp_path / "deep" / "preferences.db")
        with store.transaction() as write:
            add_annotator(write, "Amina", "person")
        store.close()
    with sqlite3.connect(tmp_path / "deep" / "preferences.db") as plain:
        assert plain.execute("select count(*) from annotator").fetchone() == (1,)
    plain.close()


def test_the_pragmas_are_set_on_every_connection(sqlite: Store):
    with sqlite.reading() as one, sqlite.reading() as other:
        for read in (one, other):
            values = [read.scalar(text(f"pragma {name}")) for name in ("foreign_keys", "synchronous", "busy_timeout")]
            assert values == [1, 2, 10_000]
            assert read.scalar(text("pragma journal_mode")) == journal_mode(sqlite3.sqlite_version_info)


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "truncate"),
        ((3, 44, 5), "truncate"),
        ((3, 44, 6), "wal"),
        ((3, 45, 0), "truncate"),
        ((3, 50, 6), "truncate"),
        ((3, 50, 7), "wal"),
        ((3, 51, 0), "truncate"),
        ((3, 51, 2), "truncate"),
        ((3, 51, 3), "wal"),
        ((3, 53, 0), "wal"),
    ],
)
def test_the_write_ahead_log_is_used_only_where_it_is_safe(version: tuple[int, ...], mode: str):
    assert journal_mode(version) == mode


def test_a_failed_transaction_leaves_nothing(store: Store):
    def write_and_fail() -> None:
        with store.transaction() as write:
            add_annotator(write, "Amina", "person")
            add_annotator(write, "Amina", "model")

    with pytest.raises(StoreError, match="is a person"):
        write_and_fail()
    with store.reading() as read:
        assert annotators(read) == []


def test_a_reading_session_cannot_write(store: Store):
    with pytest.raises(MachineError, match=r"read-?only"), store.reading() as read:
        add_annotator(read, "Amina", "person")
    with store.transaction() as write:  # and the connection that was used for it can
        add_annotator(write, "Amina", "person")


def test_judgements_and_events_cannot_be_changed_or_deleted(store: Store):
    with store.transaction() as write:
        add_annotator(write, "Amina", "person")
    for statement in ("update event set actor = 'Bob'", "delete from event"):
        with pytest.raises(DatabaseError, match="append-only"), store.transaction() as write:
            write.execute(text(statement))


def test_foreign_files_and_kinds_of_database_are_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be taken for one " * 40)
    with pytest.raises(StoreError, match="not a preference database"):
        open_store(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="mysql"):
        open_store("mysql://host/name")
    with pytest.raises(MachineError, match="cannot be opened"):
        open_store(tmp_path)


def test_a_newer_database_is_refused_and_left_alone(store: Store):
    with store.transaction() as write:
        write.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(StoreError, match="newer burnish"):
        open_store(store.url)


def test_a_lock_held_by_another_program_is_the_machines_fault(sqlite: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backend, "BUSY_MS", 50)
    other = sqlite3.connect(sqlite.place, isolation_level=None)
    other.execute("begin immediate")
    impatient = open_store(sqlite.url)
    try:
        with pytest.raises(MachineError, match="locked"), impatient.transaction() as write:
            add_annotator(write, "Amina", "person")
    finally:
        other.close()
        impatient.close()
