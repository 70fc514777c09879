"""Setting up and reading."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import event, select

from burnish.errors import StoreError
from burnish.store import elsewhere, queries, tasks
from burnish.store import people as accounts
from burnish.store.schema import AssignmentRow
from burnish.store.session import Store
from burnish.types import Message, Prompt

Fill = Callable[..., int]
People = Callable[[Store, int], list[int]]
ASK = Prompt(id="p", messages=(Message(role="user", content="Hello?"),), meta={"region": "EU"})
PAIR = [("Yes.", "a"), ("No.", "b")]


def make_campaign(store: Store, **changes: object) -> int:
    asked = {"key": "key", "name": "Round 1", "question": "?", "kind": "pairwise", "overlap": 2, **changes}
    with store.transaction() as write:
        return queries.create_campaign(write, **asked)


def test_a_campaign_is_made_once_by_its_key(store: Store):
    assert make_campaign(store) == make_campaign(store)
    assert make_campaign(store, key="other") != make_campaign(store)
    with store.reading() as read:
        found = queries.find_campaign(read, "key")
        assert found
        assert queries.campaign(read, found.id) == found
        assert queries.find_campaign(read, "nowhere") is None
        assert [campaign.key for campaign in queries.campaigns(read)] == ["key", "other"]


def test_a_campaign_under_a_used_key_must_be_the_same(store: Store):
    make_campaign(store)
    with pytest.raises(StoreError, match="another overlap"):
        make_campaign(store, overlap=3)
    with pytest.raises(StoreError, match="at least one person"):
        make_campaign(store, key="new", overlap=0)


def test_an_item_is_added_once_and_comes_back_as_it_was(store: Store):
    campaign = make_campaign(store)
    with store.transaction() as write:
        first = queries.add_item(write, campaign, ASK, PAIR, ids=[[1, 2], [3]])
        assert queries.add_item(write, campaign, ASK, PAIR) == first
    with store.reading() as read:
        (item,) = queries.items(read, campaign)
    assert (item.id, item.prompt, item.answers) == (first, ASK, ("Yes.", "No."))


def test_other_texts_under_a_used_prompt_id_are_refused(store: Store):
    campaign = make_campaign(store)
    other = Prompt(id="p", messages=(Message(role="user", content="Bye?"),))
    with store.transaction() as write:
        queries.add_item(write, campaign, ASK, PAIR)
        for prompt, answers in ((ASK, list(reversed(PAIR))), (other, PAIR)):
            with pytest.raises(StoreError, match="other messages or answers"):
                queries.add_item(write, campaign, prompt, answers)


@pytest.mark.parametrize(("kind", "answers"), [("pairwise", 3), ("pairwise", 1), ("ranking", 1), ("ranking", 10)])
def test_the_number_of_answers_must_fit(store: Store, kind: str, answers: int):
    campaign = make_campaign(store, kind=kind)
    with pytest.raises(StoreError, match="prompt p"), store.transaction() as write:
        queries.add_item(write, campaign, ASK, [("text", "model")] * answers)


def test_a_name_belongs_to_one_kind_of_annotator(store: Store):
    with store.transaction() as write:
        assert queries.add_annotator(write, "Amina", "person") == queries.add_annotator(write, "Amina", "person")
        with pytest.raises(StoreError, match="is a person annotator already"):
            queries.add_annotator(write, "Amina", "simulated")


def test_progress_counts_what_is_judged_skipped_and_left(store: Store, fill: Fill, people: People):
    campaign, (one, two, three) = fill(store, items=3, overlap=2), people(store, 3)

    def act(who: int, prompt_id: str, **said: object) -> None:
        with store.transaction() as write:
            task = tasks.next_task(write, campaign, who, prompt_id=prompt_id)
            assert task
            tasks.submit(write, task=task.id, submission=f"{who}-{prompt_id}", **said)

    act(one, "p0", ranks=[1, 2, 3, 4])
    act(two, "p0", ranks=[4, 3, 2, 1])
    act(one, "p1", skip="unsure")
    act(two, "p1", ranks=[1, 1, 1, 1])
    act(one, "p2", skip="unsure")
    act(three, "p2", skip="language")  # as many skips as seats: closed
    with store.reading() as read:
        counts = queries.progress(read, campaign)
        assert (counts.items, counts.wanted, counts.judged, counts.skipped, counts.left) == (3, 6, 3, 3, 1)
        assert counts.by_annotator == {"person 0": 1, "person 1": 2}
        said = queries.judgements(read, campaign)
        assert [(each.prompt_id, each.annotator) for each in said] == [
            ("p0", "person 0"),
            ("p0", "person 1"),
            ("p1", "person 0"),
            ("p1", "person 1"),
            ("p2", "person 0"),
            ("p2", "person 2"),
        ]
        known = {each.id for each in said}
        assert queries.exists(read, [*known, "nothing", *(f"no {number}" for number in range(1200))]) == known
        shares = [tasks.share(read, campaign, who) for who in (one, two, three)]
    assert [(share.done, share.left) for share in shares] == [(3, 0), (2, 0), (1, 1)]


def test_everything_is_sorted_by_code_points_whatever_the_database_thinks(store: Store):
    names = ["Zoe", "amina", "Émile", "Åsa", "aa", "B"]
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="pairwise", overlap=6)
        for name in names:
            queries.add_annotator(write, name, "person")
            queries.add_item(write, campaign, Prompt(id=name, messages=ASK.messages), PAIR)
    with store.reading() as read:
        assert [person.name for person in queries.annotators(read)] == sorted(names)
        assert [item.prompt.id for item in queries.items(read, campaign)] == sorted(names)


def test_who_has_done_how_much_is_what_judgements_say(store: Store, people: People):
    """Gold questions, second thoughts about a skip or to one, another campaign, and withdrawn work."""
    campaigns, (one, two, three) = [make_campaign(store, key=key, overlap=3) for key in ("a", "b")], people(store, 3)
    items: dict[int, list[int]] = {}
    with store.transaction() as write:
        for campaign in campaigns:
            prompts = (
                replace(ASK, id=f"p{number}", meta={"gold": [1, 2]} if number > 3 else {}) for number in range(6)
            )
            items[campaign] = [queries.add_item(write, campaign, prompt, PAIR) for prompt in prompts]

    def act(item: int, who: int, *said: str) -> None:
        """Each word but the first is a second thought."""
        with store.transaction() as write:
            for place, word in enumerate(said):
                what = {"skip": "unsure"} if word == "skip" else {"ranks": [1, 2]}
                what["submission"] = f"{item} {who} {place}"
                if place:
                    mine = (AssignmentRow.item_id == item, AssignmentRow.annotator_id == who)
                    task = write.scalars(select(AssignmentRow.id).where(*mine)).one()
                    tasks.submit(write, task=task, revise=True, **what)
                else:
                    elsewhere.record(write, item=item, annotator=who, **what)

    words = (("rank",), ("skip", "rank"), ("rank", "skip"), ("skip",), ("rank",), ("skip",))
    for item, said in zip(items[campaigns[0]], words, strict=True):
        for who in (one, two):
            act(item, who, *said)
    act(items[campaigns[0]][0], three, "rank")
    act(items[campaigns[1]][0], one, "rank")
    for standing in ("active", "withdrawn"):
        with store.transaction() as write:
            accounts.set_standing(write, two, standing)
        with store.reading() as read:
            for campaign in campaigns:
                said = [each for each in queries.judgements(read, campaign) if each.ranks]
                assert queries.progress(read, campaign).by_annotator == Counter(each.annotator for each in said)
                assert queries.progress(read, campaign).judged == len(said)


def test_progress_reads_indexes_alone(sqlite: Store, fill: Fill):
    campaign, asked = fill(sqlite), list[tuple[str, object]]()
    event.listen(sqlite.engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    with sqlite.reading() as read:
        queries.progress(read, campaign)
        plans = [
            row[3]
            for statement, values in list(asked)
            if statement.startswith("SELECT")
            for row in read.connection().exec_driver_sql(f"explain query plan {statement}", values)
        ]
    assert any("ix_item_counts" in plan for plan in plans)
    assert not [plan for plan in plans if re.match("SCAN (item|judgement|assignment)", plan)]


def test_no_other_question_comes_by_the_index_of_counts(sqlite: Store, fill: Fill, people: People):
    """The next task is the first of a small index; SQLite would rather sort all items of a campaign by this one."""
    campaign, (who,), asked = fill(sqlite), people(sqlite, 1), list[tuple[str, object]]()
    event.listen(sqlite.engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    with sqlite.transaction() as write:
        tasks.next_task(write, campaign, who)
        tasks.share(write, campaign, who)
        plans = [
            row[3]
            for statement, values in list(asked)
            if statement.startswith("SELECT")
            for row in write.connection().exec_driver_sql(f"explain query plan {statement}", values)
        ]
    assert any("ix_item_open" in plan for plan in plans)
    assert not any("ix_item_counts" in plan for plan in plans)
