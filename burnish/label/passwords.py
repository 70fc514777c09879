"""Passwords: their hashes, and how often one may be guessed. Knows no person and no page.

A hash takes 64 MiB for a moment (Argon2id, RFC 9106), so that no more than two are computed at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from burnish.errors import Problem, StoreError

SHORTEST, LONGEST = 10, 200
TRIES = 5
LOCKED = 300.0
"""Seconds for which nobody may guess on after TRIES wrong guesses."""
_argon = PasswordHasher()
_at_once = BoundedSemaphore(2)
_nobody = _argon.hash("a password that nobody has")


def hashed(password: str) -> str:
    """The hash to keep. Raises StoreError for a password that is too short to be one."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise StoreError(Problem("password", f"a password has {SHORTEST} to {LONGEST} characters"))
    with _at_once:
        return _argon.hash(password)


def fits(password: str, kept: str | None) -> bool:
    """Whether the password has this hash. Without one it takes as long, so that nobody learns which names there are."""
    with _at_once:
        try:
            return _argon.verify(kept or _nobody, password[:LONGEST]) and kept is not None
        except VerifyMismatchError:
            return False


@dataclass(slots=True)
class Guesses:
    """Wrong guesses by name and by address. Forgets all at a restart; shared by the server's threads."""

    clock: Callable[[], float] = time.monotonic
    _wrong: dict[Hashable, list[float]] = field(default_factory=dict[Hashable, list[float]])
    _lock: Lock = field(default_factory=Lock)

    def locked(self, *keys: Hashable) -> bool:
        """Whether one of them was guessed for too often, lately."""
        with self._lock:
            return any(len(self._lately(key)) >= TRIES for key in keys)

    def wrong(self, *keys: Hashable) -> None:
        with self._lock:
            for key in keys:
                self._wrong[key] = [*self._lately(key), self.clock()]

    def right(self, *keys: Hashable) -> None:
        with self._lock:
            for key in keys:
                self._wrong.pop(key, None)

    def _lately(self, key: Hashable) -> list[float]:
        lately = [at for at in self._wrong.get(key, []) if at > self.clock() - LOCKED]
        if not lately:
            self._wrong.pop(key, None)
        return lately
