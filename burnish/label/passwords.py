"""Passwords: their hashes, and how often one may be guessed. Knows no person and no page.

A hash takes 64 MiB for a moment (Argon2id, RFC 9106), so that no more than two are computed at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache
from threading import BoundedSemaphore, Lock

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from burnish.errors import Problem, Said, StoreError

SHORTEST, LONGEST = 10, 200
TRIES = 5
LOCKED = 300.0
"""Seconds for which nobody may guess on after TRIES wrong guesses."""
_argon = PasswordHasher()
_at_once = BoundedSemaphore(2)


def hashed(password: str) -> str:
    """The hash to keep. Raises StoreError for a password that is too short to be one."""
    if not SHORTEST <= len(password) <= LONGEST:
        found = Said("a password has %(fewest)s to %(most)s characters", fewest=SHORTEST, most=LONGEST)
        raise StoreError(Problem("password", found))
    with _at_once:
        return _argon.hash(password)


def fits(password: str, kept: str | None) -> bool:
    """Whether the password has this hash. Without one it takes as long, so that nobody learns which names there are."""
    with _at_once:
        nobodys = _nobodys()  # whoever is asked for: the first time takes longer
        try:
            return _argon.verify(kept or nobodys, password[:LONGEST]) and kept is not None
        except VerifyMismatchError:
            return False


@cache
def _nobodys() -> str:
    """A hash with the settings of all others. Not made on import, which it would hold up by a fifth."""
    return _argon.hash("a password that nobody has")


@dataclass(slots=True)
class Guesses:
    """Guesses by name and by address, of the last minutes. Forgets all at a restart; shared by the server's threads."""

    clock: Callable[[], float] = time.monotonic
    _times: dict[Hashable, list[float]] = field(default_factory=dict[Hashable, list[float]])
    _lock: Lock = field(default_factory=Lock)

    def begin(self, *keys: Hashable) -> bool:
        """Count a guess, before it is looked at: many at once are not looked at together. False, and none is counted,
        where there were too many for one of the keys."""
        with self._lock:
            since = self.clock() - LOCKED
            lately = {key: [at for at in times if at > since] for key, times in self._times.items()}
            self._times = {key: times for key, times in lately.items() if times}
            if any(len(self._times.get(key, [])) >= TRIES for key in keys):
                return False
            for key in keys:
                self._times.setdefault(key, []).append(self.clock())
            return True

    def right(self, *keys: Hashable) -> None:
        """Take a guess back: it was right. Earlier wrong ones stay, or who knows one password could guess at others."""
        with self._lock:
            for key in keys:
                if times := self._times.get(key):
                    times.pop()
