"""Accounts: links that let people in, who is signed in, and what is done about people. Knows hashes, never a password.

A link and a cookie are random and are kept as digests only. Every function that writes needs the writer's transaction,
and what is done to a person is a line of the audit log under their handle. Wrong requests raise StoreError.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, StoreError
from burnish.records.durable import digest_bytes
from burnish.store import events, leases
from burnish.store.mapping import as_annotator
from burnish.store.queries import clock
from burnish.store.schema import AnnotatorRow, InvitationRow, VisitRow
from burnish.store.views import Annotator, Role, Standing

LINK_LASTS = timedelta(days=7)
VISIT_LASTS = timedelta(hours=12)
LOOKED_AFTER: tuple[Role, ...] = ("adjudicator", "annotator", "viewer")
"""Roles that a manager gives and takes; the others are an owner's to give."""
SYSTEM = "system"
"""Who acts from the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What a link offers."""

    role: Role
    languages: tuple[str, ...]
    name: str | None
    """Of the person it is for, None for someone new."""


def invite(
    session: Session,
    role: Role,
    *,
    by: Annotator | None = None,
    languages: Sequence[str] = (),
    annotator: int | None = None,
    now: datetime | None = None,
) -> str:
    """What a link holds that lets one person in within a week; for `annotator`, with a new password and nothing else.

    `by` is None for whoever runs the server, who may do everything.
    """
    now = clock(now)
    target = "" if annotator is None else _row(session, annotator).handle
    _refuse_above(by, role if annotator is None else _row(session, annotator).role)
    token = secrets.token_urlsafe(24)
    row = InvitationRow(
        digest=_digest(token), role=role, languages=list(languages), annotator_id=annotator, until=now + LINK_LASTS
    )
    session.add(row)
    session.flush()
    _log(session, now, by, "person.invite", target, {"role": role, "languages": list(languages)})
    return token


def invitation(session: Session, token: str, now: datetime | None = None) -> Invitation | None:
    """What a link offers, if it still does."""
    row = session.get(InvitationRow, _digest(token))
    if row is None or row.until < clock(now):
        return None
    person = row.annotator_id and session.get_one(AnnotatorRow, row.annotator_id).name
    return Invitation(role=cast(Role, row.role), languages=tuple(row.languages), name=person or None)


def accept(session: Session, token: str, name: str, password: str, now: datetime | None = None) -> int:
    """Use up a link: the id of its person, whose password's hash is now `password`. A name that is taken is refused."""
    now = clock(now)
    row = session.get(InvitationRow, _digest(token))
    if row is None or row.until < now:
        raise StoreError(Problem("link", "was used already, or is older than a week", "Ask for a new one."))
    if row.annotator_id is not None:
        person = _row(session, row.annotator_id)
        _sign_out(session, person.id)
    else:
        person = _newcomer(session, name, row, now)
    person.password = password
    session.delete(row)
    session.flush()
    events.append(session, at=now, actor=person.handle, verb="person.join", target=person.handle)
    return person.id


def password_of(session: Session, name: str) -> tuple[int, str] | None:
    """(id, the password's hash) of who signs in under this name."""
    found = session.scalars(select(AnnotatorRow).where(AnnotatorRow.name == name)).one_or_none()
    return (found.id, found.password) if found and found.password else None


def enter(session: Session, annotator: int, now: datetime | None = None) -> str:
    """What the cookie of someone who signed in holds, for twelve hours. Visits that ran out are forgotten."""
    now, token = clock(now), secrets.token_urlsafe(32)
    session.execute(delete(VisitRow).where(VisitRow.until < now))
    session.add(VisitRow(digest=_digest(token), annotator_id=annotator, until=now + VISIT_LASTS))
    session.flush()
    return token


def visitor(session: Session, token: str, now: datetime | None = None) -> Annotator | None:
    """Whose cookie this is."""
    visit = session.get(VisitRow, _digest(token))
    return (
        as_annotator(session.get_one(AnnotatorRow, visit.annotator_id)) if visit and visit.until > clock(now) else None
    )


def leave(session: Session, token: str) -> None:
    session.execute(delete(VisitRow).where(VisitRow.digest == _digest(token)))


def set_role(session: Session, annotator: int, role: Role, *, by: Annotator, now: datetime | None = None) -> None:
    """Give someone another role; they sign in again."""
    row = _row(session, annotator)
    _refuse_above(by, row.role)
    _refuse_above(by, role)
    if role != "owner":
        _refuse_last_owner(session, row)
    row.role = role
    _sign_out(session, annotator)
    _log(session, clock(now), by, "person.role", row.handle, {"role": role})


def set_standing(
    session: Session, annotator: int, standing: Standing, *, by: Annotator | None = None, now: datetime | None = None
) -> None:
    """Hold someone's work, withdraw it or let them go on. What is withdrawn stays in the database and counts nowhere;
    its seats are open again, until it is taken back."""
    row = _row(session, annotator)
    _refuse_above(by, row.role)
    if standing != "active":
        _refuse_last_owner(session, row)
    row.standing = standing
    _sign_out(session, annotator)
    session.flush()
    leases.recount(session, leases.touched_by(annotator))
    _log(session, clock(now), by, "person.standing", row.handle, {"standing": standing})


def remove(session: Session, annotator: int, *, by: Annotator, now: datetime | None = None) -> None:
    """Take a person's name, languages and password out. Their judgements stay, under a handle that says nothing."""
    row = _row(session, annotator)
    _refuse_above(by, row.role)
    _refuse_last_owner(session, row)
    now = clock(now)
    row.name, row.languages, row.password, row.removed = f"removed {row.handle}", [], None, now
    row.standing = "held" if row.standing == "active" else row.standing
    _sign_out(session, annotator)
    session.execute(delete(InvitationRow).where(InvitationRow.annotator_id == annotator))
    _log(session, now, by, "person.remove", row.handle, {})


def has_owner(session: Session) -> bool:
    """Whether anybody can let others in."""
    return session.scalar(_owners()) != 0


def _newcomer(session: Session, name: str, offer: InvitationRow, now: datetime) -> AnnotatorRow:
    if session.scalar(select(AnnotatorRow.id).where(AnnotatorRow.name == name)):
        raise StoreError(Problem("name", f'"{name}" is somebody here already', "Choose another name."))
    person = AnnotatorRow(
        handle=f"p-{secrets.token_hex(6)}",
        name=name,
        kind="person",
        role=offer.role,
        languages=offer.languages,
        created=now,
    )
    session.add(person)
    return person


def _row(session: Session, annotator: int) -> AnnotatorRow:
    found = session.get(AnnotatorRow, annotator)
    if found is None or found.kind != "person" or found.removed:
        raise StoreError(Problem("person", "is not here, or was removed"))
    return found


def _refuse_above(by: Annotator | None, role: str) -> None:
    if by and by.role != "owner" and role not in LOOKED_AFTER:
        raise StoreError(Problem("role", f"only an owner may do that with the role of {role}"))


def _refuse_last_owner(session: Session, row: AnnotatorRow) -> None:
    if row.role == "owner" and session.scalar(_owners().where(AnnotatorRow.id != row.id)) == 0:
        raise StoreError(Problem("role", "is that of the last owner", "Make somebody else an owner first."))


def _owners() -> Select[int]:
    owners = select(func.count()).select_from(AnnotatorRow).where(AnnotatorRow.role == "owner")
    return owners.where(AnnotatorRow.standing == "active", AnnotatorRow.password.is_not(None))


def _sign_out(session: Session, annotator: int) -> None:
    session.execute(delete(VisitRow).where(VisitRow.annotator_id == annotator))


def _digest(token: str) -> str:
    return digest_bytes(token.encode())


def _log(
    session: Session, at: datetime, by: Annotator | None, verb: str, target: str, payload: dict[str, object]
) -> None:
    events.append(session, at=at, actor=by.handle if by else SYSTEM, verb=verb, target=target, payload=payload)
