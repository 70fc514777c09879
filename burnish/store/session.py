"""Opening the preference database, and its two kinds of transaction. Knows SQLite's habits, nothing of what is stored.

A write takes SQLite's one write lock at its start (`begin immediate`), so that what it reads cannot change before it
writes; a read sees one state of the database and cannot write. A commit returns when the disk has the data.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from burnish.errors import ConfigError, MachineError, Problem, StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_MS = 10_000
"""How long a transaction waits for another's lock."""
MACHINE_FAULTS = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """An open preference database. Safe to share between threads; each transaction has its own connection."""

    path: Path
    writer: Engine
    reader: Engine

    @contextmanager
    def transaction(self) -> Generator[Session]:
        """All of the block's writes or, if it raises, none. Raises MachineError when the disk or a lock refuses."""
        with _machine_errors(self.path), Session(self.writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """One consistent state, read only."""
        with _machine_errors(self.path), Session(self.reader, autoflush=False) as session:
            yield session

    def close(self) -> None:
        self.writer.dispose()


def open_store(place: str | Path) -> Store:
    """The preference database at a path (or `sqlite:///path`), made or brought up to date as needed.

    Raises ConfigError for another kind of database, StoreError for a file that is not a preference database or was made
    by a newer burnish, MachineError when the disk refuses.
    """
    path = _path(place)
    engine = _engine(path)
    store = Store(
        path=path,
        writer=engine.execution_options(burnish_begin="pragma query_only = off; begin immediate"),
        reader=engine.execution_options(burnish_begin="pragma query_only = on; begin"),
    )
    try:
        with _machine_errors(path):
            _migrate(store)
    except BaseException:
        store.close()
        raise
    return store


def journal_mode(version: tuple[int, ...]) -> str:
    """WAL where it is safe, else TRUNCATE.

    SQLite 3.7.0 to 3.51.2 can lose committed pages when two connections meet while the write-ahead log is reset; 3.44.6
    and 3.50.7 have the mend too (sqlite.org/wal.html). A labelling server has many connections.
    """
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return "wal" if mended else "truncate"


def _path(place: str | Path) -> Path:
    text = str(place)
    if text.startswith("sqlite:///"):
        return Path(text.removeprefix("sqlite:///"))
    if "://" in text:
        found = f'this kind of database is not supported ("{text.split("://")[0]}://")'
        raise ConfigError(Problem("store", found, "Give the path of an SQLite file, for example runs/demo/store.db."))
    return Path(place)


def _engine(path: Path) -> Engine:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise MachineError(
            Problem(str(path), f"cannot be opened ({error.strerror})", "Choose another path.")
        ) from error
    engine = create_engine(f"sqlite:///{path}", pool_size=4, max_overflow=-1)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        f"journal_mode = {journal_mode(sqlite3.sqlite_version_info)}",
        "synchronous = full",
        "foreign_keys = on",
        "trusted_schema = off",
    ):
        connection.execute(f"pragma {pragma}").close()


def _begin(connection: Connection) -> None:
    for statement in connection.get_execution_options()["burnish_begin"].split("; "):
        connection.exec_driver_sql(statement)


def _migrate(store: Store) -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    with store.reader.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current not in {None, *(script.revision for script in scripts.walk_revisions())}:
        found = (
            f"was made by a newer burnish (its schema is {current}, the newest known here {scripts.get_current_head()})"
        )
        raise StoreError(Problem(str(store.path), found, "Update burnish: pip install --upgrade burnish."))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with store.writer.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _machine_errors(path: Path) -> Generator[None]:
    try:
        yield
    except DatabaseError as error:
        code = getattr(error.orig, "sqlite_errorname", "")
        if code == "SQLITE_NOTADB" or code.startswith("SQLITE_CORRUPT"):
            found = f"is damaged, or not a preference database ({error.orig})"
            raise StoreError(Problem(str(path), found, "Restore it from a backup, or give another path.")) from error
        if not code.startswith(MACHINE_FAULTS):
            raise
        mend = "Nothing was half written. Make room or wait for the other program, then run the same command."
        raise MachineError(Problem(str(path), f"the database refuses ({error.orig})", mend)) from error
