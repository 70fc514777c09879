"""How far the audit log's chain of hashes was checked since the server started. Knows no page.

A log of a million lines takes a minute to check. So each visit checks a stretch, and this process remembers the last
line that it checked and its hash; so it also sees when somebody rewrites the whole file, every hash included, while the
server runs. A line that is changed after it was checked, with its hash left as it was, is found by the next server, or
when it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from burnish.errors import Problem, StoreError
from burnish.store import events
from burnish.store.session import Store

STRETCH = 20_000
"""Lines that a visit checks; under a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What can be said of the chain now."""

    checked: int
    """Lines from the first on that fit."""
    lines: int
    head: str
    """The hash of the last line: kept elsewhere, it shows that none was cut off."""
    broken: Problem | None
    """What does not fit."""


@dataclass(slots=True)
class Chain:
    """The last line that was checked, and its hash."""

    line: int = 0
    hash: str = events.GENESIS
    lock: Lock = field(default_factory=Lock)

    def check(self, store: Store, most: int = STRETCH) -> Verdict:
        """Check the next stretch."""
        with self.lock, store.reading() as session:
            broken = None
            try:
                self.line, self.hash = events.verify_from(session, self.line, self.hash, most)
            except StoreError as error:
                broken = error.problems[0]
            lines, head = events.head(session)
            return Verdict(checked=self.line, lines=lines, head=head, broken=broken)
