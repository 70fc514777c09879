"""A model that criticises a campaign's answers: each once, and on from where it was killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from burnish.errors import StoreError
from burnish.label.campaigns import ask
from burnish.pipeline.critic import criticise
from burnish.records.entries import Entry
from burnish.store import critiques, events
from burnish.store.session import Store, open_store
from burnish.types import Completion, Critique, Message, Prompt, Sampling, Silent, Stop

PLANTED = (None, Critique(text="Planted.", model="me", right=False))


class Critic:
    """Quotes the answer; has nothing to say of some, and dies after so many."""

    def __init__(self, lives: int = 10**6) -> None:
        self.asked, self.lives = list[str](), lives

    def generate(self, prompts: Sequence[Sequence[Message]], sampling: Sampling, *, n: int = 1):
        bodies = [turns[-1].content.split("Answer:\n> ")[1].split("\n")[0] for turns in prompts]
        self.asked += bodies
        if len(self.asked) > self.lives:
            raise KeyboardInterrupt
        texts = ["" if body.startswith("silence") else f"On {body}." for body in bodies]
        return [[Completion(text=text, stop=Stop.EOS)] for text in texts]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "preferences.db")
    yield opened
    opened.close()


def make(store: Store, items: int) -> None:
    """The first is known and has planted critiques; of the second's first answer nothing can be said."""
    entries = [
        Entry(
            where="here",
            prompt=Prompt(
                id=f"p{number:02}",
                messages=(Message(role="user", content="?"),),
                meta={"gold": [1, 2]} if number == 0 else {},
            ),
            completions=(f"{'silence' if number == 1 else 'a'} {number}", f"b {number}"),
            critiques=PLANTED if number == 0 else (),
        )
        for number in range(items)
    ]
    ask(store, "one", entries, question="Which?", overlap=1)


def run(store: Store, critic: Critic) -> dict[str, object]:
    return criticise(store, "one", critic, model="m", criteria="It is true.", progress=Silent())


def kept(store: Store) -> dict[int, tuple[str | None, ...]]:
    with store.reading() as read:
        found = critiques.by_item(read, 1)
    return {item: tuple(each and each.text for each in said) for item, said in found.items()}


def test_each_answer_is_criticised_once_and_planted_ones_stay(store: Store):
    make(store, 3)
    assert run(store, Critic()) == {"campaign": "one", "model": "m", "items": 2, "critiques": 3, "unreadable": 1}
    assert kept(store) == {1: (None, "Planted."), 2: (None, "On b 1."), 3: ("On a 2.", "On b 2.")}
    again = Critic()
    assert run(store, again)["items"] == 0
    assert again.asked == []
    with store.reading() as read:
        (line,) = events.events(read, verb="critique.ask")
    assert line.payload == {"model": "m", "criteria": "It is true.", "items": 2}


def test_a_killed_run_goes_on(store: Store):
    make(store, 21)
    with pytest.raises(KeyboardInterrupt):
        run(store, Critic(lives=20))
    assert len(kept(store)) == 1 + 8
    assert run(store, Critic())["items"] == 12


def test_there_is_no_such_campaign(store: Store):
    with pytest.raises(StoreError, match="none of this name"):
        run(store, Critic())
