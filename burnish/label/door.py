"""Who may come in: links, passwords, and the visits that they open. Knows the store's accounts; no page.

A visit lies in the database under a digest of what the cookie holds, and outlives a restart. It ends at sign-out, after
twelve hours, and when a person's password, role or standing changes.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from burnish.errors import Problem, Said, StoreError
from burnish.label.passwords import Guesses, fits, hashed
from burnish.label.reach import is_loopback
from burnish.records.durable import digest_value
from burnish.store import people
from burnish.store.people import Invitation
from burnish.store.session import Store
from burnish.store.views import Annotator

LONGEST_NAME = 60
WRONG = "This name and password do not belong together"
LOCKED = "There were too many wrong passwords for this name or from this address; try again in five minutes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Someone who has signed in."""

    token: str
    """What the cookie holds."""
    person: Annotator

    @property
    def csrf(self) -> str:
        """What this visit's forms carry: whoever has not the cookie cannot know it."""
        return digest_value(["csrf", self.token])


@dataclass(slots=True)
class Door:
    """Lets people in. Shared by the server's threads."""

    store: Store
    guesses: Guesses = field(default_factory=Guesses)

    def offer(self, link: str) -> Invitation | None:
        """What a link offers, if it still does."""
        with self.store.reading() as session:
            return people.invitation(session, link)

    def join(self, link: str, name: str, password: str) -> str:
        """Use up a link: what the cookie of its person holds. StoreError, and the link stays, for what cannot be."""
        kept = hashed(password)
        with self.store.transaction() as session:
            person = people.accept(session, link, name, kept)
            return people.enter(session, person)

    def sign_in(self, name: str, password: str, address: str) -> str:
        """What the cookie of someone who knows their password holds. StoreError, in the same words and after the same
        time, for a wrong password and a name that is not there."""
        name = composed(name)
        keys = [("name", name)] + ([] if is_loopback(address) else [("address", address)])
        with self.store.reading() as session:
            found = people.password_of(session, name)
        if not self.guesses.begin(*keys):
            raise StoreError(Problem("password", LOCKED))
        if not fits(password, found and found[1]) or found is None:
            raise StoreError(Problem("password", WRONG))
        self.guesses.right(*keys)
        with self.store.transaction() as session:
            if people.password_of(session, name) != found:  # it was changed, or its person removed, meanwhile
                raise StoreError(Problem("password", WRONG))
            return people.enter(session, found[0])

    def leave(self, token: str) -> None:
        with self.store.transaction() as session:
            people.leave(session, token)


def composed(name: str) -> str:
    """A name as it is looked for: composed Unicode, single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def clean_name(text: str) -> str:
    """A name as it is stored: `composed`. Raises StoreError for an empty or unprintable one."""
    name = composed(text)
    if not name:
        raise StoreError(Problem("name", "a name is needed, so that your judgements can be told from others'"))
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise StoreError(Problem("name", Said("a name has at most %(most)s printable characters", most=LONGEST_NAME)))
    return name
