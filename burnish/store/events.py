"""The audit log: who did what when, each line hashed together with the one before. Knows nothing of what a verb means.

A changed, removed or reordered line breaks the chain, and `verify_log` names it. Two limits: whoever can rewrite the
whole file can also recompute every hash, and lines cut off the end leave a shorter chain that is still whole. Against
both, keep the last hash (`head`) somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.records.durable import digest_value
from burnish.store.schema import EventRow

GENESIS = "0" * 64


def append(
    session: Session, *, at: datetime, actor: str, verb: str, target: str, payload: Mapping[str, Any] | None = None
) -> None:
    """One more line. Needs the writer's transaction: the line before must not change meanwhile."""
    last = session.scalars(select(EventRow).order_by(EventRow.seq.desc()).limit(1)).first()
    row = EventRow(
        seq=last.seq + 1 if last else 1,
        at=at,
        actor=actor,
        verb=verb,
        target=target,
        payload=dict(payload or {}),
        previous=last.hash if last else GENESIS,
    )
    row.hash = _hash(row)
    session.add(row)
    session.flush()


def head(session: Session) -> tuple[int, str]:
    """Number and hash of the last line; (0, zeros) for an empty log."""
    last = session.execute(select(EventRow.seq, EventRow.hash).order_by(EventRow.seq.desc()).limit(1)).first()
    return (last.seq, last.hash) if last else (0, GENESIS)


def verify_log(session: Session) -> int:
    """How many lines the log has, after checking each. Raises StoreError naming the first that does not fit."""
    previous, count = GENESIS, 0
    for row in session.scalars(select(EventRow).order_by(EventRow.seq)):
        count += 1
        if row.seq != count or row.previous != previous or row.hash != _hash(row):
            found = f"line {count} of the audit log does not continue the one before: it was changed, or one is missing"
            raise StoreError(Problem(f"event {row.seq}", found, "Restore the database from a backup."))
        previous = row.hash
    return count


def _hash(row: EventRow) -> str:
    at = row.at.astimezone(UTC).isoformat()
    line = [row.previous, row.seq, at, row.actor, row.verb, row.target, row.payload]
    return digest_value(line)
