"""A model as an annotator: both orders, its chances, no seat unless it counts, and marked as what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from burnish.errors import ConfigError, StoreError
from burnish.label import service
from burnish.label.campaigns import ask
from burnish.label.export import export
from burnish.pipeline.model_judge import UNREADABLE, Adviser, advise, principles
from burnish.pipeline.suggest import Wanted, suggest
from burnish.records.entries import Entry
from burnish.store import queries
from burnish.store.session import Store, open_store
from burnish.store.snapshot import freeze
from burnish.types import Completion, Message, Prompt, Sampling, Silent, Stop

ADVISER = Adviser(model="m", principles="It is true.")


class Scripted:
    """Answers by a function of what it is shown and of how often it was asked that."""

    def __init__(self, reply: Callable[[str, int], str]) -> None:
        self.reply, self.bodies, self.system = reply, list[str](), ""

    def generate(
        self, prompts: Sequence[Sequence[Message]], sampling: Sampling, *, n: int = 1
    ) -> list[list[Completion]]:
        self.bodies += [turns[-1].content for turns in prompts]
        self.system = prompts[0][0].content
        return [
            [Completion(text=self.reply(turns[-1].content, again), stop=Stop.EOS) for again in range(n)]
            for turns in prompts
        ]


def number_of(body: str, side: str) -> int:
    return int(body.split(f"Answer {side}:")[1].split("answer ")[1].split()[0])


def lower_is_better(body: str, _again: int) -> str:
    return "A" if number_of(body, "A") < number_of(body, "B") else "B"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "preferences.db")
    yield opened
    opened.close()


def make(store: Store, *, items: int = 3, k: int = 2, overlap: int = 1) -> None:
    entries = [
        Entry(
            where="here",
            prompt=Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}"),)),
            completions=tuple(f"answer {place} to {number}" for place in range(k)),
        )
        for number in range(items)
    ]
    ask(store, "one", entries, question="Which?", overlap=overlap)


def beside(store: Store):
    with store.reading() as session:
        return queries.judgements_beside(session, 1)


def test_every_two_answers_in_both_orders_and_ranks_of_them(store: Store):
    make(store, k=4)
    judge = Scripted(lower_is_better)
    found = advise(store, "one", judge, ADVISER, Silent())
    assert len(judge.bodies) == 3 * 6 * 2
    assert "It is true." in judge.system
    assert (found["judged"], found["consistent"], found["pairs"]) == (3, 18, 18)
    assert {said.ranks for said in beside(store)} == {(1, 2, 3, 4)}
    assert {said.chances for said in beside(store)} == {(1.0,) * 6}


def test_chances_are_shares_of_many_replies(store: Store):
    make(store, items=1)

    def three_of_four(body: str, again: int) -> str:
        return lower_is_better(body, 0) if again < 3 else "tie"

    advise(store, "one", Scripted(three_of_four), replace(ADVISER, samples=4), Silent())
    (said,) = beside(store)
    assert said.chances == (0.875,)
    assert said.ranks == (1, 2)


def test_position_bias_is_a_tie_and_nonsense_a_skip(store: Store):
    make(store, items=2)
    replies = {"0": "A", "1": "I like both"}
    judge = Scripted(lambda body, _: replies[body.split("Question ")[1][0]])
    found = advise(store, "one", judge, ADVISER, Silent())
    assert (found["judged"], found["unreadable"], found["consistent"]) == (1, 1, 0)
    tie, skip = beside(store)
    assert (tie.ranks, tie.chances) == ((1, 1), (0.5,))
    assert (skip.ranks, skip.skip) == (None, UNREADABLE)


def test_it_takes_no_seat_and_goes_into_no_snapshot(store: Store, tmp_path: Path):
    make(store)
    advise(store, "one", Scripted(lower_is_better), ADVISER, Silent())
    assert service.progress(store, 1).left == 3
    person = service.join(store, "Amina", "person")
    assert service.next_task(store, 1, person)
    with pytest.raises(StoreError, match="nothing in it was judged"):
        freeze(store, 1, tmp_path / "snapshot", held_out=0, seed=0)


def test_where_it_counts_it_takes_seats_and_is_marked_in_snapshots(store: Store, tmp_path: Path):
    make(store)
    adviser = replace(ADVISER, counts=True)
    person = service.join(store, "Amina", "person")
    task = service.next_task(store, 1, person)  # a live lease keeps its seat
    assert task
    found = advise(store, "one", Scripted(lower_is_better), adviser, Silent())
    assert (found["judged"], found["full"]) == (2, 1)
    service.submit(store, task=task.id, submission="s", ranks=[1, 2])
    assert service.progress(store, 1).left == 0
    manifest = freeze(store, 1, tmp_path / "snapshot", held_out=0, seed=0)
    assert manifest.annotators[1] == {
        "name": "model m",
        "kind": "model",
        "judgements": 2,
        "about": {"model": "m", "principles": "It is true.", "replies": 2},
    }
    assert '"chances": [["model m", [1.0]]]' in (tmp_path / "snapshot" / "train.jsonl").read_text()
    export(store, "one", "rankings", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "1 model: 2 judgements" in card
    assert "    It is true." in card


def test_the_same_again_asks_nothing_and_other_terms_need_another_name(store: Store):
    make(store)
    advise(store, "one", Scripted(lower_is_better), ADVISER, Silent())
    judge = Scripted(lower_is_better)
    assert advise(store, "one", judge, ADVISER, Silent())["judged"] == 0
    assert judge.bodies == []
    with pytest.raises(StoreError, match="on other terms"):
        advise(store, "one", judge, replace(ADVISER, principles="It is brief."), Silent())
    assert (
        advise(store, "one", judge, replace(ADVISER, principles="It is brief.", name="brief"), Silent())["judged"] == 3
    )


def test_only_an_order_can_be_asked_for(store: Store):
    with store.transaction() as session:
        queries.create_campaign(session, key="k", name="k", question="?", kind="good_bad", overlap=1)
    with pytest.raises(StoreError, match="asks for a good or bad"):
        advise(store, "k", Scripted(lower_is_better), ADVISER, Silent())
    with pytest.raises(StoreError, match="asks for a good or bad"):
        suggest(store, "k", Wanted(budget=1), reward=None, model="nowhere", progress=Silent())


def test_a_killed_run_goes_on(store: Store):
    make(store, items=20)
    calls = 0

    def dies(body: str, again: int) -> str:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise KeyboardInterrupt
        return lower_is_better(body, again)

    with pytest.raises(KeyboardInterrupt):
        advise(store, "one", Scripted(dies), ADVISER, Silent())
    assert len(beside(store)) == 8
    assert advise(store, "one", Scripted(lower_is_better), ADVISER, Silent())["judged"] == 12


def test_principles_are_a_text_or_a_file(tmp_path: Path):
    (tmp_path / "rubric.txt").write_text("It is true.\n")
    assert principles(str(tmp_path / "rubric.txt")) == principles("It is true.") == "It is true."
    for wrong in ("  ", "x" * 4001):
        with pytest.raises(ConfigError, match="1 to 4000 are wanted"):
            principles(wrong)
