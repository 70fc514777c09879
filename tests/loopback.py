"""A server on the loopback that replies as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes
    status: int = 200
    headers: dict[str, str] | None = None

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Reply:
        return cls(json.dumps(value).encode(), status)


@contextmanager
def replying(reply: Callable[[Message, Any], Reply]) -> Iterator[str]:
    """The server's address, for as long as the block lasts. `reply` is given the headers of a request and the JSON of
    its body; None for a request without."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, asked: Any) -> None:
            found = reply(self.headers, asked)
            self.send_response(found.status)
            for name, value in {"Content-Length": str(len(found.body)), **(found.headers or {})}.items():
                self.send_header(name, value)
            with suppress(OSError):  # nobody waits for it any more
                self.end_headers()
                self.wfile.write(found.body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
