"""Accounts: links that let people in, who is signed in, and what is done about people. Knows hashes, never a password.

A link and a cookie are random and are kept as digests only. Every function that writes needs the writer's transaction,
and what is done to a person is a line of the audit log under their handle. Wrong requests raise StoreError.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Select, bindparam, delete, func, select
from sqlalchemy.orm import Session

from burnish.errors import Problem, Said, StoreError
from burnish.records.durable import digest_bytes
from burnish.store import events, leases
from burnish.store.conversations import forget_unanswered
from burnish.store.mapping import as_annotator
from burnish.store.queries import clock
from burnish.store.schema import AnnotatorRow, InvitationRow, VisitRow
from burnish.store.views import ROLES, Annotator, Role, Standing

LINK_LASTS = timedelta(days=7)
VISIT_LASTS = timedelta(hours=12)
LOOKED_AFTER: tuple[Role, ...] = ("adjudicator", "annotator", "viewer")
"""Roles that a manager gives and takes; the others are an owner's to give."""
GIVEN_BY: Mapping[str, Sequence[str]] = {"owner": ROLES, "manager": LOOKED_AFTER}
"""What a role gives and takes, where it gives any."""
GONE = "removed "
"""How the name of someone who was removed begins. Nobody chooses such a name, or a removal could meet it."""
SYSTEM = "system"
"""Who acts from the command line."""
_VISITOR = (
    select(AnnotatorRow)
    .join(VisitRow, VisitRow.annotator_id == AnnotatorRow.id)
    .where(VisitRow.digest == bindparam("digest"), VisitRow.until > bindparam("now"))
)


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
    now: datetime | None = None,
) -> str:
    """What a link holds that lets one new person in within a week.

    `by` is None for whoever runs the server, who may do everything. The link ends early if `by` may no longer give
    this role.
    """
    return _link(session, role, list(languages), None, by, clock(now))


def invite_again(session: Session, annotator: int, *, by: Annotator | None = None, now: datetime | None = None) -> str:
    """As `invite`, for someone who is here: a new password and nothing else. It ends early if their role changes."""
    row = _row(session, annotator)
    return _link(session, cast(Role, row.role), [], row, by, clock(now))


def invite_first_owner(session: Session, now: datetime | None = None) -> str | None:
    """As `invite`, for an owner where there is none; links that were made for one before open nothing any more."""
    if session.scalar(_owners()):
        return None
    session.execute(delete(InvitationRow).where(InvitationRow.role == "owner"))
    return invite(session, "owner", now=now)


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
        _revoke(session, person.id)
    else:
        person = _newcomer(session, name, row, now)
        session.delete(row)
    person.password = password
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
    row = session.scalars(_VISITOR, {"digest": _digest(token), "now": clock(now)}).one_or_none()
    return row and as_annotator(row)


def leave(session: Session, token: str) -> None:
    session.execute(delete(VisitRow).where(VisitRow.digest == _digest(token)))


def set_role(session: Session, annotator: int, role: Role, *, by: Annotator, now: datetime | None = None) -> None:
    """Give someone another role; they sign in again."""
    row = _row(session, annotator)
    _refuse_above(session, by, row.role)
    _refuse_above(session, by, role)
    if role != "owner":
        _refuse_last_owner(session, row)
    row.role = role
    _sign_out(session, annotator)
    _revoke(session, annotator)
    _revoke_given(session, row)
    _log(session, clock(now), by, "person.role", row.handle, {"role": role})


def set_standing(
    session: Session, annotator: int, standing: Standing, *, by: Annotator | None = None, now: datetime | None = None
) -> None:
    """Hold someone's work, withdraw it or let them go on. What is withdrawn stays in the database and counts nowhere;
    its seats are open again, until it is taken back."""
    row = _row(session, annotator)
    _refuse_above(session, by, row.role)
    if standing != "active":
        _refuse_last_owner(session, row)
    row.standing = standing
    _sign_out(session, annotator)
    _revoke_given(session, row)
    session.flush()
    leases.recount_all(session, leases.touched_by(annotator))
    _log(session, clock(now), by, "person.standing", row.handle, {"standing": standing})


def remove(session: Session, annotator: int, *, by: Annotator, now: datetime | None = None) -> None:
    """Take a person's name, languages and password out. Their judgements stay, with what those are about, under a
    handle that says nothing: a new one, where it was the name. What they wrote and no model answered is taken out."""
    row = _row(session, annotator)
    _refuse_above(session, by, row.role)
    _refuse_last_owner(session, row)
    now = clock(now)
    row.handle = _fresh_handle() if row.handle == row.name else row.handle
    row.name, row.languages, row.password, row.removed = f"{GONE}{row.id}", [], None, now
    row.standing = "held" if row.standing == "active" else row.standing
    _sign_out(session, annotator)
    _revoke(session, annotator)
    _revoke_given(session, row)
    forget_unanswered(session, annotator)
    _log(session, now, by, "person.remove", row.handle, {})


def _link(
    session: Session, role: Role, languages: list[str], person: AnnotatorRow | None, by: Annotator | None, now: datetime
) -> str:
    _refuse_above(session, by, role)
    token = secrets.token_urlsafe(24)
    row = InvitationRow(
        digest=_digest(token),
        role=role,
        languages=languages,
        annotator_id=person and person.id,
        invited_by=by and by.id,
        until=now + LINK_LASTS,
    )
    session.add(row)
    session.flush()
    _log(session, now, by, "person.invite", person.handle if person else "", {"role": role, "languages": languages})
    return token


def _newcomer(session: Session, name: str, offer: InvitationRow, now: datetime) -> AnnotatorRow:
    if name.startswith(GONE) or session.scalar(select(AnnotatorRow.id).where(AnnotatorRow.name == name)):
        found = Said("“%(name)s” is somebody here already", name=name)
        raise StoreError(Problem("name", found, "Choose another name."))
    person = AnnotatorRow(
        handle=_fresh_handle(),
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


def _fresh_handle() -> str:
    return f"p-{secrets.token_hex(6)}"


def _refuse_above(session: Session, by: Annotator | None, role: str) -> None:
    """What `by` may do is read anew: since the page was asked for, somebody may have changed it."""
    if by and not _gives(session.get_one(AnnotatorRow, by.id), role):
        found = "only an owner may do that with this role"
        if role in LOOKED_AFTER:
            found = "only an owner or a manager who is not on hold may do that"
        raise StoreError(Problem("role", found))


def _gives(person: AnnotatorRow, role: str) -> bool:
    return person.standing == "active" and role in GIVEN_BY.get(person.role, ())


def _refuse_last_owner(session: Session, row: AnnotatorRow) -> None:
    if row.role == "owner" and session.scalar(_owners().where(AnnotatorRow.id != row.id)) == 0:
        raise StoreError(Problem("role", "is that of the last owner", "Make somebody else an owner first."))


def _owners() -> Select[int]:
    owners = select(func.count()).select_from(AnnotatorRow).where(AnnotatorRow.role == "owner")
    return owners.where(AnnotatorRow.standing == "active", AnnotatorRow.password.is_not(None))


def _sign_out(session: Session, annotator: int) -> None:
    session.execute(delete(VisitRow).where(VisitRow.annotator_id == annotator))


def _revoke(session: Session, annotator: int) -> None:
    """No link for this person opens any more: it was made for the role that they had, by someone who might give it."""
    session.execute(delete(InvitationRow).where(InvitationRow.annotator_id == annotator))


def _revoke_given(session: Session, maker: AnnotatorRow) -> None:
    """Nor one that this person made and could not make now."""
    for link in session.scalars(select(InvitationRow).where(InvitationRow.invited_by == maker.id)):
        if not _gives(maker, link.role):
            session.delete(link)
    session.flush()


def _digest(token: str) -> str:
    return digest_bytes(token.encode())


def _log(
    session: Session, at: datetime, by: Annotator | None, verb: str, target: str, payload: dict[str, object]
) -> None:
    events.append(session, at=at, actor=by.handle if by else SYSTEM, verb=verb, target=target, payload=payload)
