"""Conversations of a live campaign, on both databases: what is kept when, whose it is, and what follows from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from burnish.errors import StoreError
from burnish.store import conversations, duels, events, people, queries, settings, snapshot, tasks
from burnish.store.conversations import Conversation, Turn
from burnish.store.details import NOTHING_MORE, Asks, Details
from burnish.store.live import Live, drawn_models, drawn_one
from burnish.store.person import about
from burnish.store.session import Store
from burnish.types import Message, Prompt

MODELS = {name: f"http://127.0.0.1:9/v1#{name}" for name in ("ape", "bee", "cat")}
ASKS = Asks(edits=True)


def live(store: Store, **more: object) -> int:
    with store.transaction() as write:
        made = Live(models=MODELS, **more)  # pyright: ignore[reportArgumentType]
        return queries.create_campaign(
            write, key="live", name="Arena", question="?", kind="pairwise", overlap=1, asks=ASKS, live=made
        )


def account(store: Store, name: str) -> int:
    with store.transaction() as write:
        return people.accept(write, people.invite(write, "annotator"), name, "$argon2id$canary")


def say(store: Store, campaign: int, who: int, message: str, submission: str = "", state: str | None = None) -> None:
    """The next message of whatever conversation there is."""
    with store.transaction() as write:
        talk = conversations.current(write, campaign, who)
        state = (talk.state if talk else "") if state is None else state
        conversations.say(write, campaign, who, submission=submission or message, message=message, state=state)


def talking(store: Store, campaign: int, who: int) -> Conversation:
    with store.reading() as read:
        found = conversations.current(read, campaign, who)
    assert found
    return found


def asked(store: Store, campaign: int, who: int) -> Turn:
    return talking(store, campaign, who).last


def answer(store: Store, turn: Turn, *texts: str) -> bool:
    with store.transaction() as write:
        return conversations.answer(write, turn, texts or ("one", "other"))


def judge(
    store: Store, campaign: int, who: int, better: str | None, details: Details = NOTHING_MORE, revise: int = 0
) -> int:
    """Prefer the answer of this text, or none. Edits in `details` are in the answers' own order."""
    with store.transaction() as write:
        task = tasks.find(write, revise) if revise else tasks.next_task(write, campaign, who)
        assert task
        shown = [1 if better in (None, text) else 2 for text in task.answers]
        submission = f"{task.id} {better} {revise}"
        said = details.shown_order(task.order)
        tasks.submit(write, task=task.id, submission=submission, ranks=shown, details=said, revise=bool(revise))
    return task.id


@pytest.fixture
def amina(store: Store) -> int:
    return account(store, "Amina")


def test_a_message_is_kept_once_and_before_anybody_answers(store: Store, amina: int):
    campaign = live(store, system="Be kind.")
    for _ in range(2):
        say(store, campaign, amina, "Hello", "s1", state="")
    talk = talking(store, campaign, amina)
    assert talk.messages == (Message(role="system", content="Be kind."), Message(role="user", content="Hello"))
    assert (talk.last.position, talk.last.writing, talk.asks) == (0, True, False)
    with pytest.raises(StoreError, match="another text"):
        say(store, campaign, amina, "Something else", "s1")
    with pytest.raises(StoreError, match="another text"):
        say(store, campaign, account(store, "Bob"), "Hello", "s1", state="")


def test_two_answers_are_an_item_for_its_writer_alone(store: Store, amina: int):
    campaign, bob = live(store), account(store, "Bob")
    say(store, campaign, amina, "Hello")
    turn = asked(store, campaign, amina)
    assert answer(store, turn, "one", "other")
    assert not answer(store, turn, "late", "later"), "a second process asked too"
    with store.transaction() as write:
        assert tasks.next_task(write, campaign, bob) is None
        assert tasks.share(write, campaign, bob).left == 0
        mine = tasks.next_task(write, campaign, amina)
        assert tasks.share(write, campaign, amina).left == 1
    assert mine
    assert sorted(mine.answers) == ["one", "other"]
    assert mine.prompt.messages == (Message(role="user", content="Hello"),)
    assert mine.prompt.meta["turn"] == 1
    judge(store, campaign, amina, "one")
    with store.reading() as read:
        (duel,) = duels.duels(read, campaign).duels
        assert (duel.a, duel.b, duel.won, duel.lost) == (*turn.models, 1, 0)
        counts = queries.progress(read, campaign)
        assert (counts.items, counts.judged, counts.left) == (1, 1, 0)


@pytest.mark.parametrize(
    ("better", "details", "goes_on"),
    [
        ("one", NOTHING_MORE, {"one"}),
        ("other", NOTHING_MORE, {"other"}),
        (None, NOTHING_MORE, {"one", "other"}),
        (None, Details(both_bad=True), {"one", "other"}),
        (None, Details(both_bad=True, edits=(None, "mine")), {"mine"}),
        ("one", Details(edits=("one, mended", None)), {"one, mended"}),
        ("one", Details(edits=(None, "the other, mended")), {"one"}),
    ],
)
def test_the_conversation_goes_on_from_the_better_answer(
    store: Store, amina: int, better: str | None, details: Details, goes_on: set[str]
):
    campaign = live(store)
    say(store, campaign, amina, "Hello")
    answer(store, asked(store, campaign, amina))
    judge(store, campaign, amina, better, details)
    talk = talking(store, campaign, amina)
    assert talk.messages[-1].content in goes_on
    say(store, campaign, amina, "And then?")
    again = talking(store, campaign, amina)
    assert again.messages == (*talk.messages, Message(role="user", content="And then?"))


def test_a_second_thought_changes_what_comes_next_and_nothing_that_was_said(store: Store, amina: int):
    campaign = live(store)
    say(store, campaign, amina, "Hello")
    answer(store, asked(store, campaign, amina))
    first = judge(store, campaign, amina, "one")
    judge(store, campaign, amina, "other", revise=first)
    assert talking(store, campaign, amina).messages[-1].content == "other"
    say(store, campaign, amina, "And then?")
    judge(store, campaign, amina, "one", revise=first)
    assert [each.content for each in talking(store, campaign, amina).messages] == ["Hello", "other", "And then?"]


def test_who_skips_goes_on_too(store: Store, amina: int):
    campaign = live(store)
    say(store, campaign, amina, "Hello")
    answer(store, asked(store, campaign, amina))
    with store.transaction() as write:
        task = tasks.next_task(write, campaign, amina)
        assert task
        tasks.submit(write, task=task.id, submission="skip", skip="unsure")
    assert talking(store, campaign, amina).messages[-1].content in ("one", "other")
    say(store, campaign, amina, "And then?")


def test_a_failure_is_kept_until_the_message_is_sent_again(store: Store, amina: int):
    campaign = live(store)
    say(store, campaign, amina, "Hello")
    turn = asked(store, campaign, amina)
    with store.transaction() as write:
        assert conversations.fail(write, turn, "slow", model=turn.models[1], found="no answer in 1 s")
        assert not conversations.fail(write, turn, "slow", model=turn.models[1], found="no answer in 1 s")
    assert not answer(store, turn), "it came too late"
    failed = asked(store, campaign, amina)
    assert (failed.failure, failed.tries, failed.writing) == ("slow", 1, False)
    say(store, campaign, amina, "Hello there")
    again = asked(store, campaign, amina)
    assert (again.position, again.messages[-1].content, again.models) == (0, "Hello there", turn.models)
    assert again.writing
    assert not answer(store, turn), "to what was said before"
    assert answer(store, again)
    with store.reading() as read:
        told = [(line.verb, dict(line.payload)) for line in events.events(read)]
    assert ("conversation.fail", {"model": turn.models[1], "why": "slow", "found": "no answer in 1 s"}) in told
    assert "Hello" not in str(told)


def test_what_was_written_for_another_state_is_refused(store: Store, amina: int):
    campaign = live(store)
    say(store, campaign, amina, "Hello")
    waiting = talking(store, campaign, amina).state
    for state in ("", waiting, "7/0/0"):
        with pytest.raises(StoreError, match="gone on in another window"):
            say(store, campaign, amina, "Again", state=state)
    answer(store, asked(store, campaign, amina))
    with pytest.raises(StoreError, match="say first which"):
        say(store, campaign, amina, "Again")
    judge(store, campaign, amina, "one")
    with pytest.raises(StoreError, match="1 to 10,000 characters"):
        say(store, campaign, amina, "x" * 10_001, "longer")
    with pytest.raises(StoreError, match="1 to 10,000 characters"):
        say(store, campaign, amina, " \n", "blank")
    say(store, campaign, amina, "x" * 10_000, "longest")


def test_a_conversation_has_a_limit(store: Store, amina: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conversations, "MOST_TURNS", 2)
    campaign = live(store)
    for message in ("one", "two"):
        say(store, campaign, amina, message)
        answer(store, asked(store, campaign, amina))
        judge(store, campaign, amina, None)
    assert talking(store, campaign, amina).full
    with pytest.raises(StoreError, match="at most 2 turns"):
        say(store, campaign, amina, "three")


def test_an_ended_conversation_takes_nothing_more(store: Store, amina: int):
    campaign, bob = live(store), account(store, "Bob")
    say(store, campaign, amina, "Hello")
    talk = talking(store, campaign, amina)
    with store.transaction() as write:
        conversations.end(write, bob, talk.id)
        assert conversations.current(write, campaign, amina), "it is not Bob's"
        conversations.end(write, amina, talk.id)
        conversations.end(write, amina, talk.id)
        conversations.end(write, amina, 999)
        assert conversations.current(write, campaign, amina) is None
    assert not answer(store, talk.last)
    say(store, campaign, amina, "Another")
    assert talking(store, campaign, amina).id != talk.id


def test_closed_or_on_hold_nothing_is_said(store: Store, amina: int):
    campaign = live(store)
    with store.transaction() as write:
        settings.change(write, campaign, overlap=1, closed=True, guideline="", by=None)
    with pytest.raises(StoreError, match="campaign is closed"):
        say(store, campaign, amina, "Hello")
    with store.transaction() as write:
        settings.change(write, campaign, overlap=1, closed=False, guideline="", by=None)
        people.set_standing(write, amina, "held")
    with pytest.raises(StoreError, match="your work is on hold"):
        say(store, campaign, amina, "Hello")


def test_a_live_campaign_stays_one(store: Store, fill: Callable[..., int], amina: int):
    campaign, other = live(store), fill(store, k=2)
    assert live(store) == campaign
    with pytest.raises(StoreError, match="another live"):
        live(store, temperature=0.5)
    with store.transaction() as write, pytest.raises(StoreError, match="alone"):
        settings.change(write, campaign, overlap=3, closed=False, guideline="", by=None)
    prompt = Prompt(id="p", messages=(Message(role="user", content="?"),))
    with store.transaction() as write, pytest.raises(StoreError, match="is live"):
        queries.add_item(write, campaign, prompt, [("a", "m"), ("b", "n")])
    with pytest.raises(StoreError, match="nobody answers"):
        say(store, other, amina, "Hello")
    with store.transaction() as write, pytest.raises(StoreError, match="another live"):
        queries.create_campaign(write, key="live", name="Arena", question="?", kind="pairwise", overlap=1, asks=ASKS)


@pytest.mark.parametrize(
    "wrong", [{"models": {"ape": "x"}}, {"openings": ("",)}, {"max_new_tokens": 0}, {"seconds": 0.0}]
)
def test_what_cannot_be_a_live_campaign(store: Store, wrong: dict[str, object]):
    made = Live(**{"models": MODELS, **wrong})  # pyright: ignore[reportArgumentType]
    with store.transaction() as write, pytest.raises(StoreError):
        queries.create_campaign(write, key="x", name="x", question="?", kind="pairwise", overlap=1, live=made)


def test_every_two_models_meet_equally_often():
    made = Live(models=MODELS)
    pairs = Counter(tuple(drawn_models(made, f"key {n}", turn)) for n in range(200) for turn in range(6))
    assert set(pairs) == {pair for each in combinations(MODELS, 2) for pair in (each, each[::-1])}
    assert all(abs(count - 200) < 4 * (1200 * (1 / 6) * (5 / 6)) ** 0.5 for count in pairs.values())
    ones = Counter(drawn_one(("a", "b"), f"key {n}", 0) for n in range(1000))
    assert abs(ones["a"] - 500) < 4 * 250**0.5


def held(store: Store, amina: int, openings: list[str], turns: int = 3) -> int:
    """A campaign with a conversation of so many turns for each opening."""
    campaign = live(store)
    for number, opening in enumerate(openings):
        for turn in range(turns):
            say(store, campaign, amina, opening if turn == 0 else f"And {turn}? ({number})", f"{number} {turn}")
            answer(store, asked(store, campaign, amina), "one", "other")
            details = Details(edits=("one, mended", None)) if turn else NOTHING_MORE
            judge(store, campaign, amina, "one", details)
        with store.transaction() as write:
            conversations.end(write, amina, talking(store, campaign, amina).id)
    return campaign


def test_a_split_parts_no_conversation(store: Store, amina: int, tmp_path: Path):
    openings = [f"Question {n}" for n in range(8)] + ["Question 0", "Question 1"]
    campaign = held(store, amina, openings)
    manifest = snapshot.freeze(store, campaign, tmp_path / "frozen", held_out=0.5, seed=3)
    assert manifest.split_by == "conversation"
    sides = {side: snapshot.read_snapshot(tmp_path / "frozen", side) for side in snapshot.SPLITS}
    talks = {side: Counter(row.prompt.meta["conversation"] for row in rows) for side, rows in sides.items()}
    assert set(talks["train"]) & set(talks["heldout"]) == set()
    assert set((talks["train"] + talks["heldout"]).values()) == {3}
    assert min(map(len, talks.values())) >= 2
    begun = {side: {row.prompt.messages[0].content for row in rows} for side, rows in sides.items()}
    assert begun["train"] & begun["heldout"] == set(), "two that began alike are on one side too"
    lines = (tmp_path / "frozen" / "edits.jsonl").read_text().splitlines()
    edited = {json.loads(line)["messages"][0]["content"] for line in lines}
    assert edited == begun["train"]


def test_a_conversation_counts_once_for_how_sure_a_board_is(store: Store, amina: int):
    campaign = held(store, amina, ["Hail", "Hello"])
    with store.reading() as read:
        found = duels.duels(read, campaign)
    assert (found.items, sorted(Counter(duel.item for duel in found.duels).values())) == (6, [3, 3])


def test_what_a_person_wrote_is_given_to_them_and_what_nobody_answered_goes_with_them(store: Store, amina: int):
    campaign = held(store, amina, ["My name is Amina"], turns=1)
    say(store, campaign, amina, "Nobody answers this")
    with store.reading() as read:
        first, second = about(read, "Amina")["conversations"]
        bob = about(read, "Amina")["account"]["handle"]
    assert [(each["message"], each["answered"]) for each in first["messages"]] == [("My name is Amina", True)]
    assert [(each["message"], each["answered"]) for each in second["messages"]] == [("Nobody answers this", False)]
    assert first["ended"]
    assert not second["ended"]
    with store.transaction() as write:
        owner = people.accept(write, people.invite(write, "owner"), "Olga", "$argon2id$canary")
        turn = conversations.current(write, campaign, amina)
        assert turn
        people.remove(write, amina, by=queries.annotator(write, owner))
        assert conversations.answer(write, turn.last, ("one", "other")) is False
        assert conversations.current(write, campaign, amina) is None
    with store.reading() as read:
        kept = about(read, bob)["conversations"]
        assert [talk["messages"] and talk["messages"][0]["message"] for talk in kept] == ["My name is Amina", []]
        assert [said.ranks for said in queries.judgements(read, campaign)] == [(1, 2)]
