"""Copies made while people judge."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL, event

from burnish.errors import ConfigError, MachineError
from burnish.records.durable import ASIDE
from burnish.store import backend, events, queries, tasks
from burnish.store.backup import backup
from burnish.store.session import Store, open_store
from burnish.store.sqlite import journal_mode


def under_load(
    store: Store,
    fill: Callable[..., int],
    people: Callable[..., list[int]],
    copied: Callable[[int], Store],
    times: int,
    items: int,
) -> None:
    """While two people judge without a pause, each copy holds what was acknowledged before it began, and is whole."""
    campaign, crowd = fill(store, items=items, overlap=2, k=2), people(store, 2)
    acknowledged: list[str] = []
    enough = threading.Event()

    def judge(who: int) -> None:
        while not enough.is_set():
            with store.transaction() as write:
                task = tasks.next_task(write, campaign, who)
                assert task, "the campaign is too short for this machine"
                said = tasks.submit(write, task=task.id, submission=f"{who}-{task.id}", ranks=[1, 2])
            acknowledged.append(said.id)

    workers = [threading.Thread(target=judge, args=(who,)) for who in crowd]
    for worker in workers:
        worker.start()
    try:
        for number in range(times):
            before, count = set(acknowledged), len(acknowledged)
            while len(acknowledged) == count:
                pass  # so that they are at it
            with closing(copied(number)) as copy, copy.reading() as read:
                said = queries.judgements(read, campaign)
                assert before <= {each.id for each in said}
                assert events.verify_log(read) == 1 + items + 2 + len(said)
    finally:
        enough.set()
        for worker in workers:
            worker.join()


TIMES = pytest.mark.parametrize(("times", "items"), [(2, 300), pytest.param(20, 5000, marks=pytest.mark.proof)])


@TIMES
def test_a_backup_holds_what_was_acknowledged_before_it(
    sqlite: Store, fill: Callable[..., int], people: Callable[..., list[int]], tmp_path: Path, times: int, items: int
):
    folder = tmp_path / "copies"

    def copied(number: int) -> Store:
        head = backup(sqlite, folder / f"{number}.db")
        copy = open_store(folder / f"{number}.db")
        with copy.reading() as read:
            assert events.head(read) == head
        return copy

    under_load(sqlite, fill, people, copied, times, items)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{number}.db" for number in range(times))


@TIMES
def test_postgresql_s_own_copies_do_too(
    postgres: Callable[[], URL],
    fill: Callable[..., int],
    people: Callable[..., list[int]],
    tmp_path: Path,
    times: int,
    items: int,
):
    *_, dump = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))

    def command(program: str, url: URL, *words: str) -> list[str]:
        socket = Path(str(url.query["unix_sock"])).parent
        return [str(dump.with_name(program)), "-h", str(socket), "-U", "burnish", "-d", str(url.database), *words]

    def copied(number: int) -> Store:
        file, there = str(tmp_path / f"{number}.dump"), postgres()
        subprocess.run(command("pg_dump", store.url, "--format=custom", f"--file={file}"), check=True)
        subprocess.run(command("pg_restore", there, "--exit-on-error", file), check=True)
        return open_store(there)

    with closing(open_store(postgres())) as store:
        under_load(store, fill, people, copied, times, items)


def test_nobody_else_can_read_a_backup_and_whoever_saves_meanwhile_waits_and_is_told(
    sqlite: Store, fill: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The guide and decision 0025 say so of a copy that takes more than ten seconds; here a wait is 50 ms."""
    fill(sqlite, items=50)
    monkeypatch.setattr(backend, "BUSY_MS", 50)
    told: list[str] = []

    def meanwhile() -> int:
        if not told:
            told.append(f"{(tmp_path / f'{ASIDE}copy.db').stat().st_mode & 0o777:o}")
            try:
                with impatient.transaction() as write:
                    queries.add_annotator(write, "Amina", "person")
            except MachineError as error:
                told.append(str(error))
        return 0

    old = os.umask(0o022)
    try:
        with closing(open_store(sqlite.url)) as impatient, closing(open_store(sqlite.url)) as copied:
            event.listen(copied.engine, "checkout", lambda raw, *_: raw.set_progress_handler(meanwhile, 1000))
            backup(copied, tmp_path / "copy.db")
            with impatient.transaction() as write:  # and afterwards they can
                queries.add_annotator(write, "Bob", "person")
    finally:
        os.umask(old)
    assert told[0] == f"{(tmp_path / 'copy.db').stat().st_mode & 0o777:o}" == "600"
    if journal_mode(sqlite3.sqlite_version_info) == "truncate":  # with a write-ahead log nobody waits
        assert "locked" in told[1]
    else:
        assert len(told) == 1


def test_a_backup_replaces_nothing(sqlite: Store, tmp_path: Path):
    (tmp_path / "taken.db").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        backup(sqlite, tmp_path / "taken.db")
    assert (tmp_path / "taken.db").read_text() == "mine"


def test_postgresql_is_left_to_its_own_tools(postgres: Callable[[], object], tmp_path: Path):
    store = open_store(postgres())
    with pytest.raises(ConfigError, match="pg_dump"):
        backup(store, tmp_path / "copy.db")
    store.close()
