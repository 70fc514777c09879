"""The audit log: who did what when, each line hashed together with the one before. Knows nothing of what a verb means.

A changed, removed or reordered line breaks the chain, and `verify_log` names it. Two limits: whoever can rewrite the
whole file can also recompute every hash, and lines cut off the end leave a shorter chain that is still whole. Against
both, keep the last hash (`head`) somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, Said, StoreError
from burnish.records.durable import digest_value
from burnish.store.schema import EventRow

GENESIS = "0" * 64
PAGE = 100
"""Lines that are read at once."""
_ADD = insert(EventRow)
_LAST = select(EventRow.seq, EventRow.hash).order_by(EventRow.seq.desc()).limit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of the log."""

    seq: int
    at: datetime
    actor: str
    """A handle, or "system"."""
    verb: str
    target: str
    payload: Mapping[str, Any]
    hash: str
    fits: bool
    """Whether the hash is that of the line."""


def append(
    session: Session, *, at: datetime, actor: str, verb: str, target: str, payload: Mapping[str, Any] | None = None
) -> None:
    """One more line. Needs the writer's transaction: the line before must not change meanwhile."""
    seq, last = head(session)
    line = {"seq": seq + 1, "at": at, "actor": actor, "verb": verb, "target": target, "payload": dict(payload or {})}
    line["previous"] = last
    session.connection().execute(_ADD, {**line, "hash": _hash(EventRow(**line))})


def head(session: Session) -> tuple[int, str]:
    """Number and hash of the last line; (0, zeros) for an empty log."""
    last = session.execute(_LAST).first()
    return (last.seq, last.hash) if last else (0, GENESIS)


def verify_log(session: Session) -> int:
    """How many lines the log has, after checking each. Raises StoreError naming the first that does not fit."""
    return verify_from(session)[0]


def verify_from(session: Session, line: int = 0, known: str = GENESIS, most: int | None = None) -> tuple[int, str]:
    """Check `most` lines of the log behind a line whose hash is `known`: the last one that was checked, and its hash.

    Raises StoreError naming the first that does not fit; the line that is known is one of them, if its hash is another
    by now, or it is gone.
    """
    if line and session.scalar(select(EventRow.hash).where(EventRow.seq == line)) != known:
        raise _broken(line)
    for row in session.scalars(select(EventRow).where(EventRow.seq > line).order_by(EventRow.seq).limit(most)):
        if row.seq != line + 1 or row.previous != known or row.hash != _hash(row):
            raise _broken(line + 1)
        line, known = row.seq, row.hash
    return line, known


def events(
    session: Session, *, actor: str = "", verb: str = "", before: int | None = None, most: int = PAGE
) -> list[Event]:
    """The newest lines, newest first: those of an actor or a verb, and those before a number, where they are named."""
    wanted = select(EventRow).order_by(EventRow.seq.desc()).limit(most)
    for column, value in ((EventRow.actor, actor), (EventRow.verb, verb)):
        wanted = wanted.where(column == value) if value else wanted
    wanted = wanted if before is None else wanted.where(EventRow.seq < before)
    return [
        Event(
            seq=row.seq,
            at=row.at,
            actor=row.actor,
            verb=row.verb,
            target=row.target,
            payload=row.payload,
            hash=row.hash,
            fits=row.hash == _hash(row),
        )
        for row in session.scalars(wanted)
    ]


def verbs(session: Session) -> list[str]:
    """All that occur, by name. Each is found through the index by stepping over the lines of the one before."""
    found = list[str]()
    while (
        verb := session.scalar(select(func.min(EventRow.verb)).where(EventRow.verb > (found or [""])[-1]))
    ) is not None:
        found.append(verb)
    return found


def _broken(line: int) -> StoreError:
    found = Said(
        "line %(line)s of the audit log does not continue the one before: it was changed, or one is missing", line=line
    )
    return StoreError(Problem(f"event {line}", found, "Restore the database from a backup."))


def _hash(row: EventRow) -> str:
    at = row.at.astimezone(UTC).isoformat()
    line = [row.previous, row.seq, at, row.actor, row.verb, row.target, row.payload]
    return digest_value(line)
