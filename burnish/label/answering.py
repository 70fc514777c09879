"""Asking a live campaign's models while pages are looked at: two at once, with a time limit, outside of any
transaction. Knows servers and the store's turns; no page.

What is asked lives in this process alone. A message is in the database before, so that after a restart whoever looks at
it has it asked again; what comes in twice is kept once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from burnish.endpoints.chat import ChatEndpoint
from burnish.endpoints.dialect import Known
from burnish.endpoints.server import Address, Server
from burnish.errors import BurnishError
from burnish.store import conversations
from burnish.store.conversations import Turn
from burnish.store.live import LONGEST_ANSWER, Failure, Live, seed
from burnish.store.session import Store
from burnish.types import Sampling

MOST = 32
"""Messages whose models are asked at the same time; further ones wait until somebody looks at them again."""
LONGEST_FOUND = 500
"""Characters of a server's complaint that the log keeps."""
FIRST_WAIT = 0.2
"""Seconds before a server that fails is asked a second time: somebody waits, and six attempts take six of them."""


def named(addresses: Sequence[str]) -> dict[str, str]:
    """Addresses (`http://host/v1#model`) by the names of their models; where two have one name, by themselves. One
    without a model's name is asked for its only one.

    Raises ConfigError for an address or a name that leads nowhere, MachineError where nobody answers.
    """
    found: list[tuple[str, str]] = []
    for text in addresses:
        endpoint = ChatEndpoint.open(text, first_wait=FIRST_WAIT)
        endpoint.close()
        found.append((endpoint.model, f"{Address.parse(text).url}#{endpoint.model}"))
    names = [name for name, _ in found]
    return {name if names.count(name) == 1 else address: address for name, address in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed:
    failure: Failure
    model: str
    found: str


_Said = tuple[int, str | _Failed]
"""The place of a turn's model, and what came of asking it."""
_Inbox = SimpleQueue[_Said | None]
"""None: nobody waits any more."""


@dataclass(slots=True)
class Answering:
    """Asks, and keeps what was answered. Shared by the server's threads, which wait for nothing here."""

    store: Store
    most: int = MOST
    _asked: dict[int, _Inbox] = field(default_factory=dict[int, _Inbox])
    """By the annotator who waits: one message each, so that nobody takes all places."""
    _known: dict[str, Known] = field(default_factory=dict[str, Known])
    """By address, what its server takes: each message is asked in an endpoint of its own."""
    _lock: Lock = field(default_factory=Lock)

    def ask(self, live: Live, annotator: int, turn: Turn) -> bool:
        """See that a turn's models are being asked. False where this one must wait until others have their answers."""
        with self._lock:
            if annotator in self._asked:
                return True
            if len(self._asked) >= self.most:
                return False
            inbox = self._asked[annotator] = _Inbox()
        Thread(target=self._work, args=(live, annotator, turn, inbox), daemon=True).start()
        return True

    def close(self) -> None:
        """Wait for nobody any more. What was asked is asked again after a restart."""
        with self._lock:
            for inbox in self._asked.values():
                inbox.put(None)

    def _work(self, live: Live, annotator: int, turn: Turn, inbox: _Inbox) -> None:
        try:
            with self.store.reading() as session:
                waits = conversations.waits(session, turn)  # who asks may have looked before the answers were kept
            said = _answers(live, turn, inbox, self._known) if waits else None
            if said is not None:
                self._keep(turn, said)
        except BurnishError:
            pass  # the database refuses just now: whoever looks next has it asked again
        finally:
            with self._lock:
                del self._asked[annotator]

    def _keep(self, turn: Turn, said: list[str] | _Failed) -> None:
        with self.store.transaction() as session:
            if isinstance(said, _Failed):
                conversations.fail(session, turn, said.failure, model=said.model, found=said.found)
            else:
                conversations.answer(session, turn, said)


def _answers(live: Live, turn: Turn, inbox: _Inbox, known: dict[str, Known]) -> list[str] | _Failed | None:
    """What the turn's models say, in their order, once both have; the first failure; None when nobody waits."""
    endpoints: list[ChatEndpoint] = []
    found: dict[int, str] = {}
    until = time.monotonic() + live.seconds
    try:
        for place, model in enumerate(turn.models):
            endpoints.append(_endpoint(live, model, known))
            Thread(target=_one, args=(live, turn, place, endpoints[place], inbox), daemon=True).start()
        while len(found) < len(turn.models):
            came = inbox.get(timeout=max(0.0, until - time.monotonic()))
            if came is None:
                return None
            place, said = came
            if isinstance(said, _Failed):
                return said
            found[place] = said
    except Empty:
        late = next(model for place, model in enumerate(turn.models) if place not in found)
        return _Failed(failure="slow", model=late, found=f"no answer in {live.seconds:g} s")
    except BurnishError as error:  # no server was asked: a key would travel in the open, for example
        return _failed(turn.models[len(endpoints)], error)
    finally:
        for endpoint in endpoints:
            endpoint.close()
    return [found[place] for place in range(len(turn.models))]


def _endpoint(live: Live, model: str, known: dict[str, Known]) -> ChatEndpoint:
    name = live.models[model]
    address = Address.parse(name)
    server = Server.at(address, first_wait=FIRST_WAIT, seconds=live.seconds)
    return ChatEndpoint(server, address.model or model, known=known.setdefault(name, Known()))


def _one(live: Live, turn: Turn, place: int, endpoint: ChatEndpoint, inbox: _Inbox) -> None:
    """In a thread of its own, which nobody waits for once the time is up."""
    model = turn.models[place]
    drawn = seed(turn.key, turn.position, turn.tries, model)
    sampling = Sampling(temperature=live.temperature, max_new_tokens=live.max_new_tokens, seed=drawn)
    try:
        inbox.put((place, _fit(model, endpoint.answer(turn.messages, sampling).spoken)))
    except BurnishError as error:
        inbox.put((place, _failed(model, error)))
    except RuntimeError:
        pass  # the connection was closed under it: the time is up


def _failed(model: str, error: BurnishError) -> _Failed:
    return _Failed(failure="failed", model=model, found=str(error.problems[0])[:LONGEST_FOUND])


def _fit(model: str, text: str) -> str | _Failed:
    """An answer that a page can hold."""
    text = text.strip()
    if not text:
        return _Failed(failure="empty", model=model, found="an empty answer")
    if len(text) > LONGEST_ANSWER:
        return _Failed(failure="long", model=model, found=f"{len(text):,} characters; {LONGEST_ANSWER:,} are kept")
    return text
