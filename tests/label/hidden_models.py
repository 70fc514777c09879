"""Models behind servers of their own on the loopback, as a live campaign asks them: they say, wait and fail as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fastapi import FastAPI

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
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": model.name}]})

        def do_POST(self) -> None:
            text = model.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            self.reply(model.status, {"choices": [choice]} if model.status == 200 else {"error": "told to fail"})

        def reply(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # nobody waits for it any more
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        model.address = f"http://127.0.0.1:{server.server_address[1]}/v1#{model.name}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield model
        finally:
            model.waiting.set()
            server.shutdown()
            thread.join()
