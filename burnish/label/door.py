"""Who may come in: one-time links, and the sessions they open. Knows no page and no database; forgets all at a restart.

A link works once; then the next one is announced on the terminal, so that whoever runs the server decides who comes in.
Sessions live in memory under random ids, never in the cookie itself, and each has its own CSRF token.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from burnish.errors import Problem, StoreError

LASTS = timedelta(hours=12)
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Someone who has signed in."""

    session: str
    csrf: str
    annotator: int
    name: str
    until: datetime


def _silent(_token: str) -> None:
    pass


@dataclass(slots=True)
class Door:
    """Hands out sessions for one-time tokens. Shared by the server's threads."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """The one that opens now."""
    announce: Callable[[str], None] = _silent
    """Called with the next token when one was used."""
    _inside: dict[str, Visitor] = field(default_factory=dict[str, Visitor])
    _lock: Lock = field(default_factory=Lock)

    def fits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())

    def use(self, token: str) -> bool:
        """Whether the token opens; if so it never will again."""
        with self._lock:
            if not self.fits(token):
                return False
            self.token = secrets.token_urlsafe(24)
        self.announce(self.token)
        return True

    def admit(self, annotator: int, name: str) -> Visitor:
        """A new session for someone whose token opened."""
        until = datetime.now(UTC) + LASTS
        visitor = Visitor(
            session=secrets.token_urlsafe(32),
            csrf=secrets.token_urlsafe(32),
            annotator=annotator,
            name=name,
            until=until,
        )
        with self._lock:
            self._inside[visitor.session] = visitor
        return visitor

    def visitor(self, session: str | None) -> Visitor | None:
        """Whose session this is, unless it is unknown or has run out."""
        found = self._inside.get(session or "")
        if found and found.until < datetime.now(UTC):
            self.leave(found)
            return None
        return found

    def leave(self, visitor: Visitor) -> None:
        with self._lock:
            self._inside.pop(visitor.session, None)


def clean_name(text: str) -> str:
    """A name as it is stored: composed Unicode, single spaces. Raises StoreError for an empty or unprintable one."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise StoreError(Problem("name", "a name is needed, so that your judgements can be told from others'"))
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise StoreError(Problem("name", f"a name has at most {LONGEST_NAME} printable characters"))
    return name
