"""Campaigns from files: once is enough, all or nothing, and votes of others stay theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from burnish.errors import DataError, StoreError
from burnish.label import service
from burnish.label.campaigns import ask, take_in
from burnish.records.entries import Entry, Vote
from burnish.records.verdicts import read_verdicts
from burnish.store import queries
from burnish.store.details import ORDER_ONLY, Asks
from burnish.store.events import verify_log
from burnish.store.session import Store
from burnish.store.snapshot import freeze, read_labels
from burnish.types import Message, Prompt


def entry(number: int, *votes: Vote, answers: int = 2) -> Entry:
    prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}"),))
    texts = tuple(f"answer {place} to {number}" for place in range(answers))
    return Entry(where=f"rows.jsonl:{number + 1}:1", prompt=prompt, completions=texts, votes=votes)


def vote(who: str, *ranks: int) -> Vote:
    return Vote(who=who, ranks=ranks, seconds=3.0)


def judgements(store: Store, name: str):
    with store.reading() as session:
        return queries.judgements(session, queries.named(session, name).id)


TERMS = {"question": "Which?", "overlap": 2}


def test_the_same_again_adds_nothing_and_more_adds_the_rest(store: Store):
    assert ask(store, "one", [entry(0), entry(1)], **TERMS) == {"items": 2, "new_items": 2, "gold": 0}
    assert ask(store, "one", [entry(0), entry(1)], **TERMS) == {"items": 2, "new_items": 0, "gold": 0}
    assert ask(store, "one", [entry(1), entry(2)], **TERMS) == {"items": 3, "new_items": 1, "gold": 0}
    (found,) = service.campaigns(store)
    assert (found.name, found.kind, found.overlap) == ("one", "pairwise", 2)


def test_other_terms_or_texts_are_refused_and_nothing_is_written(store: Store):
    ask(store, "one", [entry(0)], **TERMS)
    with pytest.raises(StoreError, match="another question"):
        ask(store, "one", [entry(1)], question="Why?", overlap=2)
    with pytest.raises(StoreError, match="other messages or answers"):
        ask(store, "one", [entry(1), replace(entry(0), completions=("x", "y"))], **TERMS)
    assert service.progress(store, 1).items == 1


def test_entries_that_do_not_fit_the_kind_are_all_told(store: Store):
    with pytest.raises(DataError) as caught:
        ask(store, "one", [entry(0), entry(1, answers=3), entry(2, answers=4)], **TERMS, kind="pairwise")
    assert [problem.where for problem in caught.value.problems] == ["rows.jsonl:2:1", "rows.jsonl:3:1"]
    assert service.campaigns(store) == []
    ask(store, "one", [entry(0), entry(1, answers=3)], **TERMS)
    assert service.campaigns(store)[0].kind == "ranking"


def test_without_a_question_it_is_one_that_fits_the_kind(store: Store):
    asked = (("pairwise", 2, "better"), ("ranking", 3, "better"), ("scale", 2, "How good"), ("good_bad", 1, "Is the"))
    for kind, answers, words in asked:
        asks = Asks(axes=("helpful",)) if kind == "scale" else ORDER_ONLY
        ask(store, kind, [entry(0, answers=answers)], overlap=1, kind=kind, asks=asks)
        with store.reading() as session:
            assert words in queries.named(session, kind).question
    take_in(store, "votes", [entry(0, vote("Amina", 1, 2))])
    with store.reading() as session:
        assert "better" in queries.named(session, "votes").question


def test_without_a_question_a_campaign_keeps_its_own(store: Store):
    ask(store, "one", [entry(0)], **TERMS)
    assert ask(store, "one", [entry(1)], overlap=2)["items"] == 2
    assert service.campaigns(store)[0].question == "Which?"


def test_votes_are_taken_in_once_and_are_the_voters(store: Store):
    entries = [entry(0, vote("a", 1, 2), vote("b", 2, 1)), entry(1, vote("a", 1, 1))]
    found = take_in(store, "there", entries)
    assert found == {"items": 2, "new_items": 2, "judgements": 3, "new_judgements": 3}
    assert take_in(store, "there", entries)["new_judgements"] == 0
    assert [(said.annotator, said.ranks, said.seconds) for said in judgements(store, "there")] == [
        ("a", (1, 2), 3.0),
        ("b", (2, 1), 3.0),
        ("a", (1, 1), 3.0),
    ]
    assert {person.kind for person, _ in service.people(store)} == {"imported"}
    assert service.campaigns(store)[0].overlap == 2
    assert service.progress(store, 1).left == 1
    with store.reading() as session:
        assert verify_log(session) > 0


def test_a_vote_that_changed_is_refused(store: Store):
    take_in(store, "there", [entry(0, vote("a", 1, 2))])
    with pytest.raises(StoreError, match="another answer"):
        take_in(store, "there", [entry(1, vote("a", 1, 2)), entry(0, vote("a", 2, 1))])
    assert service.progress(store, 1).items == 1


def test_votes_take_seats_and_a_full_item_takes_no_more(store: Store):
    ask(store, "one", [entry(0)], question="Which?", overlap=1)
    take_in(store, "one", [entry(0, vote("a", 1, 2))])
    person = service.join(store, "Amina", "person")
    assert service.next_task(store, 1, person) is None
    with pytest.raises(StoreError, match="has the 1 judgements that it should get"):
        take_in(store, "one", [entry(0, vote("b", 1, 2))])


def test_people_go_on_where_the_votes_end(store: Store):
    take_in(store, "one", [entry(0, vote("a", 1, 2)), entry(1)], overlap=2)
    person = service.join(store, "Amina", "person")
    for number in range(2):
        task = service.next_task(store, 1, person)
        assert task
        service.submit(store, task=task.id, submission=f"s{number}", ranks=[1, 2])
    assert service.progress(store, 1).left == 1


def test_an_imported_voter_has_no_password_to_sign_in_with(store: Store):
    take_in(store, "one", [entry(0, vote("a", 1, 2))])
    with store.reading() as session:
        from burnish.store.people import password_of

        assert password_of(session, "a") is None
    ((voter, _),) = service.people(store)
    with pytest.raises(StoreError, match="not here"):
        service.invite_again(store, voter.id)


def test_campaigns_are_found_by_key_or_name(store: Store):
    ask(store, "one", [entry(0)], **TERMS)
    with store.transaction() as session:
        for key in ("k1", "k2"):
            queries.create_campaign(session, key=key, name="two", question="?", kind="pairwise", overlap=1)
    with store.reading() as session:
        assert queries.named(session, "one").key == "one"
        assert queries.named(session, "k2").key == "k2"
        with pytest.raises(StoreError, match=r"Give a key: k1, k2\."):
            queries.named(session, "two")
        with pytest.raises(StoreError, match='Did you mean "one"'):
            queries.named(session, "onee")


def test_thumbs_make_a_campaign_of_single_answers_that_kto_reads(store: Store, tmp_path: Path) -> None:
    rows = [
        {"id": f"t{n}", "prompt": f"Question {n}?", "completion": "Well.", "label": n % 3 > 0, "model": "juniper"}
        for n in range(12)
    ]
    (tmp_path / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries, problems = read_verdicts(tmp_path / "thumbs.jsonl", "labels")
    assert not problems
    found = take_in(store, "thumbs", entries)
    assert (found["items"], found["new_judgements"]) == (12, 12)
    with store.reading() as session:
        campaign = queries.named(session, "thumbs")
    assert campaign.kind == "good_bad"
    manifest = freeze(store, campaign.id, tmp_path / "snapshot", held_out=0.3, seed=1)
    assert manifest.models == {"juniper": 12}
    labels = [row.desirable for split in ("train", "heldout") for row in read_labels(tmp_path / "snapshot", split)]
    assert sorted(labels) == [False] * 4 + [True] * 8
    assert take_in(store, "thumbs", entries)["new_judgements"] == 0
