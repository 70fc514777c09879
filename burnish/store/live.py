"""What a live campaign is made with, and what is drawn in it: people talk with two hidden models, and say of every turn
which answered better. Pure; knows no database and no server.

Draws are functions of a conversation's key, which is random and on no page: who writes can neither foresee nor choose
who answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from burnish.errors import Problem, StoreError
from burnish.records.durable import digest_value

T = TypeVar("T")
Failure = Literal["failed", "slow", "empty", "long"]
"""Why a turn has no answers: a model's server gave an error, took too long, said nothing, or more than is kept."""
LONGEST_MESSAGE = 10_000
LONGEST_ANSWER = 30_000
"""Characters; what is longer no page would lay out."""
MOST_TURNS = 50
MOST_OPENINGS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Who answers in a live campaign, and how."""

    models: Mapping[str, str]
    """Their addresses (`http://host/v1#model`) by the names that their answers have. No page shows either to those who
    judge, and none can change them: the server asks nobody whom the command line did not name."""
    system: str = ""
    """The system turn that every conversation begins with; empty for none."""
    openings: tuple[str, ...] = ()
    """First messages that the page offers."""
    temperature: float = 1.0
    max_new_tokens: int = 1024
    seconds: float = 120.0
    """How long a model may take."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"models": dict(self.models), "openings": list(self.openings)}

    @staticmethod
    def of(found: Mapping[str, Any]) -> Live:
        given: dict[str, Any] = {**found, "openings": tuple(found["openings"])}
        return Live(**given)


def check(live: Live) -> None:
    """Raises StoreError for what cannot be a live campaign."""
    if len(live.models) < 2:
        raise StoreError(Problem("model", f"{len(live.models)} model, and two answer each message", "Name two models."))
    if strange := [name for name in live.models if not 1 <= len(name) <= 200]:
        raise StoreError(Problem("model", f"a model's name has 1 to 200 characters, not {len(strange[0])}"))
    if len(live.openings) > MOST_OPENINGS or any(not 1 <= len(text) <= LONGEST_MESSAGE for text in live.openings):
        found = f"are more than {MOST_OPENINGS:,}, or one has not 1 to {LONGEST_MESSAGE:,} characters"
        raise StoreError(Problem("openings", found, "Give fewer, or shorter ones."))
    if live.temperature < 0 or live.max_new_tokens < 1 or live.seconds <= 0:
        raise StoreError(Problem("sampling", "takes a temperature from 0, and tokens and seconds above it"))


def drawn_models(live: Live, key: str, turn: int) -> list[str]:
    """Who answers this turn (0 the first) of the conversation of this key: every two models are equally likely."""
    return sorted(live.models, key=lambda name: digest_value([key, turn, name]))[:2]


def drawn_one(equals: Sequence[T], key: str, turn: int) -> T:
    """One of the answers that nobody preferred another to."""
    return equals[int(digest_value([key, turn, "goes on"])[:8], 16) % len(equals)]


def seed(key: str, turn: int, tries: int, model: str) -> int:
    """What a model is asked to draw with. After a failure it is another one."""
    return int(digest_value([key, turn, tries, model])[:8], 16) >> 1
