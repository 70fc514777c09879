"""Models behind servers of their own on the loopback, as a live campaign asks them: they say, wait and fail as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from fastapi import FastAPI
from loopback import Reply, replying

from burnish.label.campaigns import converse
from burnish.store.details import ORDER_ONLY, Asks
from burnish.store.live import Live
from burnish.store.session import Store


@dataclass(slots=True)
class HiddenModel:
    """One of them. Its answer names it, so that a test can tell which one spoke."""

    name: str
    says: Callable[[list[dict[str, str]]], str] | None = None
    status: int = 200
    refuses: frozenset[str] = frozenset()
    """Settings that its server does not know."""
    refused: int = 0
    waiting: threading.Event = field(default_factory=threading.Event)
    """Cleared: it has its answer ready and does not give it."""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    address: str = ""

    def __post_init__(self) -> None:
        self.waiting.set()

    def answer(self, asked: dict[str, Any]) -> str:
        self.asked.append(asked)
        self.waiting.wait(100)
        said = asked["messages"][-1]["content"]
        return self.says(asked["messages"]) if self.says else f"{self.name} says: {said}"


@contextmanager
def hidden(*names: str) -> Iterator[dict[str, HiddenModel]]:
    """Models of these names, each behind a port of its own, for as long as the block lasts."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(_behind(HiddenModel(name))) for name in names}


def live(store: Store, models: dict[str, HiddenModel], *, asks: Asks = ORDER_ONLY, **more: Any) -> int:
    """A live campaign of these models: its id."""
    settings = Live(models={name: model.address for name, model in models.items()}, **{"seconds": 100.0, **more})
    return converse(store, "Arena", settings, question="Which is better?", asks=asks)


def settled(app: FastAPI) -> None:
    """Wait until nothing is asked any more."""
    desk = app.state.desk
    desk.answering.close()
    until = time.monotonic() + 100
    while desk.answering._asked:
        assert time.monotonic() < until, "somebody still waits"
        time.sleep(0.01)


@contextmanager
def _behind(model: HiddenModel) -> Iterator[HiddenModel]:
    def reply(_: Message, asked: dict[str, Any] | None) -> Reply:
        if asked is None:
            return Reply.of({"data": [{"id": model.name}]})
        if model.refuses & asked.keys():
            model.refused += 1
            return Reply.of({"error": f"unknown: {sorted(model.refuses)}"}, 400)
        text = model.answer(asked)
        if model.status != 200:
            return Reply.of({"error": "told to fail"}, model.status)
        return Reply.of({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})

    with replying(reply) as address:
        model.address = f"{address}/v1#{model.name}"
        try:
            yield model
        finally:
            model.waiting.set()
