from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from burnish.label import service
from burnish.label.app import create_app
from burnish.store import queries
from burnish.store.details import ORDER_ONLY, Asks
from burnish.store.session import Store, open_store
from burnish.store.views import CampaignKind, Role
from burnish.types import Message, Prompt

PASSWORD = "correct horse"
HIDDEN = re.compile(r'type="hidden" name="(\w+)" value="([^"]*)"')


@dataclass(slots=True, kw_only=True)
class Browser:
    """A person's browser without JavaScript: follows links and sends the forms that pages hold."""

    client: TestClient
    page: Response | None = None

    def open(self, path: str) -> str:
        self.page = self.client.get(path)
        return self.page.text

    def send(self, **fields: str) -> Response:
        """Send the last form of the last page, before its foot, with these fields filled in."""
        assert self.page is not None
        page = self.page.text.partition("<footer>")[0]
        action = re.findall(r'action="([^"]+)"', page)[-1]
        filled = {**dict(HIDDEN.findall(page)), **fields}
        self.page = self.client.post(action, data=filled)
        return self.page


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "preferences.db")
    yield opened
    opened.close()


@pytest.fixture
def fill() -> Callable[..., int]:
    """Make a campaign and return its id."""

    def make(
        store: Store,
        *,
        k: int = 2,
        items: int = 3,
        overlap: int = 1,
        texts: tuple[str, ...] = (),
        kind: CampaignKind | None = None,
        asks: Asks = ORDER_ONLY,
    ) -> int:
        kind = kind or ("pairwise" if k == 2 else "ranking")
        name, question = f"Round of {k}", "Which is better?"
        with store.transaction() as write:
            campaign = queries.create_campaign(
                write, key=kind, name=name, question=question, kind=kind, overlap=overlap, asks=asks
            )
            for number in range(items):
                turns = (Message(role="system", content="Be kind."), Message(role="user", content=f"Question {number}"))
                answers = [(text, "secret-model") for text in texts or [f"answer {n} to {number}" for n in range(k)]]
                queries.add_item(write, campaign, Prompt(id=f"p{number}", messages=turns), answers)
        return campaign

    return make


@pytest.fixture
def app(store: Store) -> FastAPI:
    return create_app(store)


@pytest.fixture
def enter(app: FastAPI, store: Store) -> Iterator[Callable[..., Browser]]:
    """Invite someone and let them in."""
    clients: list[TestClient] = []

    def come_in(name: str, role: Role = "annotator", languages: tuple[str, ...] = ()) -> Browser:
        client = TestClient(app, base_url="http://127.0.0.1:8600")
        clients.append(client)
        browser = Browser(client=client)
        browser.open(f"/join?once={service.invite(store, role, languages=languages)}")
        assert browser.send(name=name, password=PASSWORD).status_code == 200
        return browser

    yield come_in
    for client in clients:
        client.close()
