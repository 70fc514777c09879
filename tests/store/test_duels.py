"""What judgements say of models, two by two."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.store import duels, queries
from burnish.store import people as accounts
from burnish.store.session import Store
from burnish.types import Message, Prompt

from .test_disputes import say

People = Callable[[Store, int], list[int]]


def campaign_of(store: Store, rows: list[tuple[str, list[tuple[str, str]]]], overlap: int = 2) -> int:
    """Items (language, [(text, model)]) under p0, p1, …"""
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="ranking", overlap=overlap)
        for number, (tongue, answers) in enumerate(rows):
            meta = {"language": tongue} if tongue else {}
            prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content="?"),), meta=meta)
            queries.add_item(write, campaign, prompt, answers)
    return campaign


def read_duels(store: Store, campaign: int, language: str | None = None) -> duels.Duels:
    with store.reading() as read:
        return duels.duels(read, campaign, language)


def test_each_two_models_of_an_item_meet_and_what_is_withdrawn_does_not_count(store: Store, people: People):
    answers = [("yes", "x"), ("well, no", "y"), ("hm", "x")]
    campaign, (one, two) = campaign_of(store, [("", answers), ("", answers)]), people(store, 2)
    say(store, campaign, one, "p0", (1, 2, 3))
    say(store, campaign, two, "p0", (2, 1, 1))
    found = read_duels(store, campaign)
    assert (found.items, found.judged, found.judgements, found.languages) == (1, 1, 2, ())
    # x's two answers do not meet; the first is once above y's and once below, the second once below and once equal.
    assert [(each.a, each.b, each.won, each.tied, each.lost, each.lengths) for each in found.duels] == [
        ("x", "y", 1, 0, 1, (3, 8)),
        ("y", "x", 1, 1, 0, (8, 2)),
    ]
    with store.transaction() as write:
        accounts.set_standing(write, two, "withdrawn")
    assert [(each.won, each.lost) for each in read_duels(store, campaign).duels] == [(1, 0), (1, 0)]


def test_one_language_alone(store: Store, people: People):
    rows = [("en", [("a", "x"), ("b", "y")]), ("fr-CA", [("a", "x"), ("b", "z")])]
    campaign, (one,) = campaign_of(store, rows), people(store, 1)
    for prompt_id in ("p0", "p1"):
        say(store, campaign, one, prompt_id, (1, 2))
    assert read_duels(store, campaign).languages == ("en", "fr")
    assert [each.b for each in read_duels(store, campaign, "fr").duels] == ["z"]
    assert read_duels(store, campaign, "de").duels == ()


def test_of_many_items_a_part_that_follows_no_rhythm(store: Store, people: People, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(duels, "MOST", 30)
    rows = [(("en", "fr")[number % 2], [("a", "x"), ("b", "y")]) for number in range(120)]
    campaign, (one,) = campaign_of(store, rows), people(store, 1)
    for number in range(120):
        say(store, campaign, one, f"p{number}", (1, 2))
    found = read_duels(store, campaign)
    assert found.judged == 120
    assert 25 <= found.items <= 35
    assert found.judgements == len(found.duels) == found.items
    read = {each.item for each in found.duels}
    assert read == {each.item for each in read_duels(store, campaign).duels}
    assert 10 <= len(read & {each.item for each in read_duels(store, campaign, "fr").duels}) <= 20
