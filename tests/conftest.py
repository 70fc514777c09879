"""A PostgreSQL server of the tests' own, where the machine has one installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
MEMORY = Path("/dev/shm")
LACKING = "no PostgreSQL here (apt install postgresql)"
OWNER = "postgres" if os.geteuid() == 0 else None
"""PostgreSQL refuses to run as root."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], URL]]:
    """Makes an empty database and returns its address. The server writes no flushes: these tests pull no plug."""
    if not PROGRAMS:
        pytest.skip(LACKING)
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 8 * 2**30
    kept = MEMORY if in_memory else None  # a database is a thousand files, and some disks take minutes to forget them
    place = Path(tempfile.mkdtemp(prefix="burnish-pg-", dir=kept))  # pytest's own folders are closed to other users
    if OWNER:
        shutil.chown(place, OWNER)
    binaries = PROGRAMS[-1].parent
    quiet = {"user": OWNER, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": place}
    make = [binaries / "initdb", "-D", place / "data", "-U", "burnish", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(make, check=True, **quiet)
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={place}", "-c", "fsync=off"]
    server = subprocess.Popen([binaries / "postgres", "-D", place / "data", *settings], **quiet)
    try:
        yield _maker(place / ".s.PGSQL.5432")
    finally:
        server.send_signal(signal.SIGINT)  # the shutdown that does not wait for those who are connected
        server.wait(30)
        shutil.rmtree(place)


def _answers(address: URL) -> bool:
    engine = create_engine(address)
    try:
        engine.connect().close()
    except DBAPIError:
        return False
    finally:
        engine.dispose()
    return True


def _maker(socket: Path) -> Callable[[], URL]:
    address = URL.create("postgresql+pg8000", username="burnish", query={"unix_sock": str(socket)})
    until = time.monotonic() + 30
    while not _answers(address.set(database="postgres")):  # its socket is there before it is ready
        assert time.monotonic() < until, "the server does not come up"
        time.sleep(0.02)
    numbers = count()

    def make() -> URL:
        url = address.set(database=f"test{next(numbers)}")
        engine = create_engine(address.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"create database {url.database}")
        engine.dispose()
        return url

    return make
