from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from burnish.store import queries
from burnish.store.session import Store, open_store
from burnish.types import Message, Prompt

ANSWERS = ("best", "good", "poor", "bad")
"""Each item's answers in their own order."""


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database, of each kind."""
    sqlite = request.param == "sqlite"
    opened = open_store(tmp_path / "preferences.db" if sqlite else request.getfixturevalue("postgres")())
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """An empty database in a file."""
    opened = open_store(tmp_path / "preferences.db")
    yield opened
    opened.close()


@pytest.fixture
def fill() -> Callable[..., int]:
    """Make a campaign of some items with K answers and return its id."""

    def make(store: Store, *, items: int = 4, overlap: int = 2, k: int = 4, key: str = "key") -> int:
        with store.transaction() as write:
            kind = "pairwise" if k == 2 else "ranking"
            campaign = queries.create_campaign(
                write, key=key, name="Round 1", question="Which is better?", kind=kind, overlap=overlap
            )
            for number in range(items):
                prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}"),))
                queries.add_item(write, campaign, prompt, [(f"{text} {number}", "model") for text in ANSWERS[:k]])
        return campaign

    return make


@pytest.fixture
def people() -> Callable[[Store, int], list[int]]:
    """Make some annotators and return their ids."""

    def make(store: Store, count: int) -> list[int]:
        with store.transaction() as write:
            return [queries.add_annotator(write, f"person {number}", "person") for number in range(count)]

    return make
