"""SQLite's habits: pragmas, journals, and what its refusals mean. Knows no table."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from burnish.errors import BurnishError, MachineError, Problem, StoreError
from burnish.store import backend
from burnish.store.backend import Backend

MACHINE_FAULTS = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")

CACHE_KB = 16_384
"""Pages that a connection keeps. With a million judgements SQLite's own 2 MB are read anew for every question."""


def journal_mode(version: tuple[int, ...]) -> str:
    """WAL where it is safe, else TRUNCATE.

    SQLite 3.7.0 to 3.51.2 can lose committed pages when two connections meet while the write-ahead log is reset; 3.44.6
    and 3.50.7 have the mend too (sqlite.org/wal.html). A labelling server has many connections.
    """
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return "wal" if mended else "truncate"


def _connect(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise MachineError(
            Problem(str(path), f"cannot be opened ({error.strerror})", "Choose another path.")
        ) from error
    engine = create_engine(url, pool_size=backend.KEPT, max_overflow=-1)
    event.listen(engine, "connect", _set_up)
    return engine


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in (
        f"busy_timeout = {backend.BUSY_MS}",
        f"journal_mode = {journal_mode(sqlite3.sqlite_version_info)}",
        "synchronous = full",
        f"cache_size = -{CACHE_KB}",
        "trusted_schema = off",
    ):
        connection.execute(f"pragma {pragma}").close()


def _fault(place: str, error: DBAPIError) -> BurnishError | None:
    code = getattr(error.orig, "sqlite_errorname", "")
    if code == "SQLITE_NOTADB" or code.startswith("SQLITE_CORRUPT"):
        found = f"is damaged, or not a preference database ({error.orig})"
        return StoreError(Problem(place, found, "Restore it from a backup, or give another path."))
    if code.startswith(MACHINE_FAULTS):
        return MachineError(Problem(place, f"the database refuses ({error.orig})", backend.REFUSED))
    return None


SQLITE = Backend(
    connect=_connect,
    writing=("pragma query_only = off", "pragma foreign_keys = on", "begin immediate"),
    reading=("pragma query_only = on", "pragma foreign_keys = on", "begin"),
    migrating=("pragma query_only = off", "pragma foreign_keys = off", "begin immediate"),
    bare=("pragma query_only = off",),
    fault=_fault,
)
"""A table can only be rebuilt while foreign keys are not watched."""
