"""A copy of the preference database, made while people go on judging. Knows SQLite; PostgreSQL has its own tools."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from burnish.errors import ConfigError, Problem, StoreError
from burnish.records.durable import written_aside
from burnish.store import events
from burnish.store.session import Store, open_store


def backup(store: Store, path: Path) -> tuple[int, str]:
    """Write one state of the database to `path`, and check it: (number, hash) of the last line of its audit log.

    Everything acknowledged before this began is in it, and only its owner can read it. A copy of the file by other
    means may be torn, or miss what still lies in a journal beside it. Raises ConfigError for PostgreSQL or where `path`
    exists, StoreError where the copy is not whole, MachineError when the disk refuses.
    """
    if store.url.get_backend_name() != "sqlite":
        raise ConfigError(Problem(store.place, "is PostgreSQL, which has tools of its own", "Use pg_dump."))
    if path.exists():
        raise ConfigError(Problem(str(path), "exists already, and a backup replaces nothing", "Give another path."))
    with written_aside(path) as aside:
        aside.unlink(missing_ok=True)  # of a backup that was killed
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL, 0o600))  # SQLite fills an empty file, as readable as it is
        with store.bare() as session:
            session.connection().exec_driver_sql("vacuum into ?", (str(aside),))
        return _checked(aside)


def _checked(path: Path) -> tuple[int, str]:
    with closing(open_store(path)) as copy, copy.reading() as read:
        said = read.connection().exec_driver_sql("pragma integrity_check").scalar()
        if said != "ok":
            raise StoreError(Problem(str(path), f"the copy is damaged ({said})", "Check the disk."))
        events.verify_log(read)
        return events.head(read)
