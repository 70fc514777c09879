"""A server on the loopback that speaks enough of OpenAI's API to be asked, and fails as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stub:
    """Answers with the last message, its seed and the choice's number."""

    def __init__(self) -> None:
        self.models = ["small"]
        self.failing: list[tuple[int, dict[str, str]]] = []
        """Statuses and headers of the next answers, before a good one."""
        self.choices: int | None = None
        """So many at most, whatever `n` says."""
        self.finish: dict[str, Any] = {"finish_reason": "stop"}
        self.body: bytes | None = None
        """Sent in place of a chat completion."""
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""

    def completion(self, asked: dict[str, Any]) -> bytes:
        if self.body is not None:
            return self.body
        count = min(asked.get("n", 1), self.choices or 99)
        said = asked["messages"][-1]["content"]
        logprobs = {"content": [{"token": "a", "logprob": -0.5}]} if asked.get("logprobs") else None
        choices = [
            {"message": {"role": "assistant", "content": f"{said}:{asked['seed']}:{k}"}, "logprobs": logprobs}
            | self.finish
            for k in range(count)
        ]
        return json.dumps({"choices": choices}).encode()


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """The stub behind a port of its own, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(json.dumps({"data": [{"id": name} for name in stub.models]}).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.asked.append(asked)
            self.answer(stub.completion(asked))

        def answer(self, body: bytes) -> None:
            stub.keys.append(self.headers.get("Authorization"))
            status, headers = stub.failing.pop(0) if stub.failing else (200, {})
            body = body if status == 200 else json.dumps({"error": {"message": f"told to fail, {status}"}}).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
