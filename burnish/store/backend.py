"""What a kind of database has of its own: how a transaction begins, and whose fault a refusal is. Knows no table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import URL, Engine
from sqlalchemy.exc import DBAPIError

from burnish.errors import BurnishError

BUSY_MS = 10_000
"""How long a transaction waits for another's lock."""
KEPT = 16
"""Connections that stay open. Opening one costs as much as a page: of fewer than ask at once, some would be opened anew
each time."""
REFUSED = "Nothing was half written. Make room or wait for the other program, then run the same command."


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """SQLite or PostgreSQL."""

    connect: Callable[[URL], Engine]
    """An engine; makes what must be there before a connection, connects to nothing itself."""
    writing: tuple[str, ...]
    """Statements at a write's start. They take the one write lock, so that what it reads cannot change before it
    writes; a chain of hashes and seats that never overbook follow from that."""
    reading: tuple[str, ...]
    """Statements at a read's start: one state of the database, and no writes."""
    migrating: tuple[str, ...]
    """Statements before the tables themselves are changed."""
    bare: tuple[str, ...]
    """Statements before what is done outside of a transaction."""
    fault: Callable[[str, DBAPIError], BurnishError | None]
    """What to raise for a refusal of the database at this place; None where the fault is ours."""
