"""Opening the preference database, and its two kinds of transaction. Knows no table and no kind of database.

A write has the database's one write lock from its start to its end, so that what it reads cannot change before it
writes; a read sees one state and cannot write. A commit returns when the disk has the data.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from burnish.errors import ConfigError, Problem, StoreError
from burnish.store.backend import BUSY_MS, Backend
from burnish.store.postgres import POSTGRES
from burnish.store.sqlite import SQLITE

MIGRATIONS = Path(__file__).parent / "migrations"
BACKENDS = {"sqlite": SQLITE, "postgresql": POSTGRES, "postgres": POSTGRES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """An open preference database. Safe to share between threads; each transaction has its own connection."""

    url: URL
    backend: Backend
    engine: Engine
    _engines: dict[tuple[str, ...], Engine] = field(init=False, default_factory=dict, repr=False, compare=False)
    """The same engine by how its transactions begin."""
    _turn: Lock = field(init=False, default_factory=Lock, repr=False, compare=False)
    """Of this process's writers. SQLite lets each ask again and again, and who is unlucky waits too long."""

    @property
    def place(self) -> str:
        """Where it is, for people: the path of a file, or an address without its password."""
        return _place(self.url)

    @contextmanager
    def transaction(self) -> Generator[Session]:
        """All of the block's writes or, if it raises, none. Raises MachineError when the disk or a lock refuses."""
        with self._in_turn(), self._session(self.backend.writing) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """One consistent state, read only."""
        with self._session(self.backend.reading) as session:
            yield session

    @contextmanager
    def migrating(self) -> Generator[Session]:
        """As `transaction`, for changes of the tables themselves."""
        with self._session(self.backend.migrating) as session, session.begin():
            yield session

    @contextmanager
    def bare(self) -> Generator[Session]:
        """No transaction, for what SQLite does outside of one only."""
        with self._session(self.backend.bare) as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _in_turn(self) -> Generator[None]:
        """Wait for the other writers here, as long as the database would; then it is the database that refuses."""
        mine = self._turn.acquire(timeout=BUSY_MS / 1000)
        try:
            yield
        finally:
            if mine:
                self._turn.release()

    @contextmanager
    def _session(self, begin: tuple[str, ...]) -> Generator[Session]:
        if begin not in self._engines:
            self._engines[begin] = self.engine.execution_options(burnish_begin=begin)
        with self._faults(), Session(self._engines[begin], expire_on_commit=False) as session:
            yield session

    @contextmanager
    def _faults(self) -> Generator[None]:
        try:
            yield
        except DBAPIError as error:
            if (fault := self.backend.fault(self.place, error)) is None:
                raise
            raise fault from error


def open_store(place: str | Path | URL) -> Store:
    """The preference database at a path or URL (`postgresql://user@host/name`), made or brought up to date as needed.

    The password of a URL may be in PGPASSWORD instead. Raises ConfigError for another kind of database, StoreError for
    a file that is not a preference database or was made by a newer burnish, MachineError when disk or server refuse.
    """
    store = _connected(store_url(place))
    try:
        _migrate(store)
    except BaseException:
        store.close()
        raise
    return store


def store_url(place: str | Path | URL) -> URL:
    """A path or URL as a URL. Raises ConfigError for a kind of database that is not supported."""
    if isinstance(place, Path) or (isinstance(place, str) and "://" not in place):
        return URL.create("sqlite", database=str(place))
    mend = "Give the path of an SQLite file, for example runs/demo/preferences.db, or postgresql://USER@HOST/NAME."
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise ConfigError(Problem("store", "this address of a database cannot be read", mend)) from error
    if url.get_backend_name() not in BACKENDS:
        found = f'this kind of database is not supported ("{url.get_backend_name()}://")'
        raise ConfigError(Problem("store", found, mend))
    return url


def _connected(url: URL) -> Store:
    backend = BACKENDS[url.get_backend_name()]
    engine = backend.connect(url)
    event.listen(engine, "begin", _begin)
    return Store(url=url, backend=backend, engine=engine)


def _place(url: URL) -> str:
    return url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _begin(connection: Connection) -> None:
    for statement in connection.get_execution_options()["burnish_begin"]:
        connection.exec_driver_sql(statement)


def _migrate(store: Store, to: str = "head") -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    with store.reading() as session:
        current = MigrationContext.configure(session.connection()).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current not in {None, *(script.revision for script in scripts.walk_revisions())}:
        found = (
            f"was made by a newer burnish (its schema is {current}, the newest known here {scripts.get_current_head()})"
        )
        raise StoreError(Problem(store.place, found, "Update burnish: pip install --upgrade burnish."))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with store.migrating() as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, to)
