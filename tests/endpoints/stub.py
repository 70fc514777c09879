"""A server on the loopback that speaks enough of OpenAI's API to be asked, and fails as it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import Message
from typing import Any

from loopback import Reply, replying


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

    def reply(headers: Message, asked: dict[str, Any] | None) -> Reply:
        if asked is not None:
            stub.asked.append(asked)
        stub.keys.append(headers["Authorization"])
        status, more = stub.failing.pop(0) if stub.failing else (200, {})
        if status != 200:
            return replace(Reply.of({"error": {"message": f"told to fail, {status}"}}, status), headers=more)
        if asked is None:
            return Reply.of({"data": [{"id": name} for name in stub.models]})
        return Reply(stub.completion(asked), headers=more)

    with replying(reply) as address:
        stub.url = f"{address}/v1"
        yield stub
