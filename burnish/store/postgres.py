"""PostgreSQL's habits: one writer by an advisory lock, and what its refusals mean. Knows no table.

The lock makes PostgreSQL what SQLite is: writes follow one another, so that every rule of the store holds on both for
the same reason, and no transaction ever has to be tried again. It ends with its transaction.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from burnish.errors import BurnishError, ConfigError, DataError, MachineError, Problem
from burnish.store import backend
from burnish.store.backend import Backend

WRITERS = 0x6275726E697368
"""The advisory lock of whoever writes: "burnish" in ASCII. PostgreSQL keeps one of each number per database."""
MACHINE_FAULTS = ("08", "25006", "28", "3D000", "53", "55P03", "57", "58")
"""SQLSTATEs, or their first two characters: connection, read-only, password, no such database, disk or memory, lock,
shut down, system."""


def _connect(url: URL) -> Engine:
    given = url.set(drivername="postgresql+pg8000", password=url.password or os.environ.get("PGPASSWORD"))
    try:
        driver = import_module("burnish.store.prepared")
    except ModuleNotFoundError as error:
        found = "PostgreSQL needs the package pg8000, which is not installed"
        raise ConfigError(Problem("store", found, "Run: pip install 'burnish[postgres]'")) from error
    engine = create_engine(given, pool_size=backend.KEPT, max_overflow=4, pool_pre_ping=True)

    def connect(_dialect: Any, _record: Any, where: list[Any], how: dict[str, Any]) -> Any:
        return driver.Connection(*where, **how)

    event.listen(engine, "do_connect", connect)
    return engine


def _fault(place: str, error: DBAPIError) -> BurnishError | None:
    said = error.orig.args[0] if error.orig and error.orig.args else ""
    if not isinstance(said, dict):
        mend = "Nothing was half written. See that the server runs, is reached from here, and has this database."
        return MachineError(Problem(place, f"the database does not answer ({said})", mend))
    code, words = str(said.get("C", "")), str(said.get("M", ""))
    if code.startswith(MACHINE_FAULTS):
        return MachineError(Problem(place, f"the database refuses ({words})", backend.REFUSED))
    if code.startswith("22"):
        return DataError(Problem(place, f"a value cannot be kept ({words})", "Nothing was written."))
    return None


_NEWEST = "set transaction isolation level read committed, read write"
_WAIT = f"set local lock_timeout = {backend.BUSY_MS}"
_LOCK = f"select pg_advisory_xact_lock({WRITERS})"
_WRITING = (f"{_NEWEST}; {_WAIT}; {_LOCK}",)
POSTGRES = Backend(
    connect=_connect,
    writing=_WRITING,
    reading=("set transaction isolation level repeatable read, read only",),
    migrating=_WRITING,
    bare=(),
    fault=_fault,
)
"""A write reads what was committed when each of its statements begins, whatever the server's default is: so it sees
what was there when it got the lock, not when it began to wait. Nobody else can commit between two of its statements."""
