"""Critiques beside answers: what is kept, who is shown them and when, and what is kept of what people then say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from burnish.errors import StoreError
from burnish.store import assistance, critiques, events, gold, queries, tasks
from burnish.store.details import Details
from burnish.store.person import about
from burnish.store.session import Store
from burnish.store.snapshot import freeze, read_manifest, read_rows
from burnish.store.views import Task
from burnish.types import Critique, Message, Prompt

People = Callable[[Store, int], list[int]]
ANSWERS = [("best", "a"), ("poor", "b")]
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def said(right: bool | None = None) -> tuple[Critique | None, ...]:
    """Of the second answer alone."""
    return (None, Critique(text="It is *poor*.", model="critic", right=right))


def campaign_of(
    store: Store,
    given: str = "none",
    share: float = 1.0,
    *,
    known: int = 0,
    others: int = 4,
    training: int = 0,
    overlap: int = 3,
    bare: int = 0,
    right: bool | None = None,
) -> int:
    """Known items g0, g1, … whose first answer is right, then others p0, p1, …; the last `bare` have no critique."""
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="pairwise", overlap=overlap)
        names = [f"g{number}" for number in range(known)] + [f"p{number}" for number in range(others)]
        for number, name in enumerate(names):
            meta = {"gold": [1, 2]} if name[0] == "g" else {}
            prompt = Prompt(id=name, messages=(Message(role="user", content="?"),), meta=meta)
            item = queries.add_item(write, campaign, prompt, ANSWERS)
            if number < len(names) - bare:
                assert critiques.add(write, item, said(right))
        gold.set_training(write, campaign, training, 0.7, by=None)
        assistance.change(write, campaign, given, share, by=None)
    return campaign


def give(store: Store, campaign: int, who: int, now: datetime = NOON, prompt_id: str | None = None) -> Task | None:
    with store.transaction() as write:
        return tasks.next_task(write, campaign, who, now, prompt_id=prompt_id)


def judge(store: Store, task: Task, best: str = "best", now: datetime = NOON, **more: Any):
    ranks = [1 if answer == best else 2 for answer in task.answers]
    with store.transaction() as write:
        name = f"{task.id} {best} {more.get('revise', False)}"
        return tasks.submit(write, task=task.id, submission=name, ranks=ranks, now=now, **more)


def look(store: Store, task: int, now: datetime = NOON) -> Task:
    with store.transaction() as write:
        return tasks.look(write, task, now)


def waiting(store: Store, campaign: int, who: int) -> int | None:
    with store.reading() as read:
        return assistance.second_look(read, campaign, who)


def column(store: Store, name: str) -> Sequence[Any]:
    with store.reading() as read:
        return read.execute(text(f"select {name} from assignment order by id")).scalars().all()


def test_critiques_are_kept_once_and_never_changed(store: Store):
    campaign = campaign_of(store, others=2, bare=1)
    with store.transaction() as write:
        (bare,) = critiques.wanting(write, campaign)
        assert bare.prompt.id == "p1"
        assert critiques.of_item(write, 1) == said()
        assert critiques.of_item(write, bare.id) == (None, None)
        assert not critiques.add(write, 1, said())  # the same again
        assert not critiques.add(write, bare.id, (None, None))  # nothing
        assert critiques.by_item(write, campaign) == {1: said()}
        assert critiques.count(write, campaign) == {"critic": 1}
        for wrong, found in (
            ((None,), "1 critiques for 2 answers"),
            (said(right=True), "other critiques already"),
            ((None, Critique(text="x" * 4001, model="m")), "1 to 4,000 characters"),
            ((None, Critique(text=" ", model="m")), "1 to 4,000 characters"),
        ):
            with pytest.raises(StoreError, match=found):
                critiques.add(write, 1, wrong)
        (line,) = events.events(write, verb="critique.add")
        assert (line.target, line.payload["models"]) == ("k/p0", ["critic"])
    for act in ("update critique set model = 'x'", "delete from critique"):
        with pytest.raises(DBAPIError, match="append-only"), store.transaction() as write:
            write.execute(text(act))


def test_what_nobody_will_judge_any_more_needs_no_critique(store: Store, people: People):
    campaign, (who,) = campaign_of(store, known=1, others=2, bare=3, overlap=1), people(store, 1)
    task = give(store, campaign, who, prompt_id="p0")
    assert task
    judge(store, task)
    with store.reading() as read:
        assert [item.prompt.id for item in critiques.wanting(read, campaign)] == ["g0", "p1"]


def test_settings_are_checked_kept_and_logged(store: Store):
    campaign = campaign_of(store, others=1)
    with store.transaction() as write:
        assistance.change(write, campaign, "before", 0.25, by=None)
        assistance.change(write, campaign, "before", 0.25, by=None)  # nothing new
        found = queries.campaign(write, campaign)
        assert (found.assistance, found.assisted) == ("before", 0.25)
        lines = [line.payload for line in events.events(write, verb="campaign.assistance")]
        assert lines == [{"assistance": "before", "share": 0.25}, {"assistance": "none", "share": 1.0}]
        for given, share in (("perhaps", 0.5), ("after", 1.5), ("after", -0.1)):
            with pytest.raises(StoreError):
                assistance.change(write, campaign, given, share, by=None)
    with pytest.raises(DBAPIError), store.transaction() as write:
        write.execute(text("update campaign set assistance = 'perhaps'"))


def test_who_is_shown_what_is_drawn_once_and_kept(store: Store, people: People):
    campaign, crowd = campaign_of(store, "before", 0.5, others=24, overlap=5), people(store, 5)
    shown: dict[tuple[int, str], bool] = {}
    for who in crowd:
        while task := give(store, campaign, who):
            shown[who, task.prompt.id] = bool(task.critiques)
            judge(store, task)
    assert len(shown) == 120
    # Of 120 fair draws 38 to 82 fall on one side but once in ten thousand.
    assert 38 < sum(shown.values()) < 82
    by_person = {tuple(shown[who, f"p{number}"] for number in range(24)) for who in crowd}
    assert len(by_person) == 5, "each person's draws are their own"
    with store.transaction() as write:
        assert dict(assistance.drawn(write, campaign)) == {
            "before": sum(shown.values()),
            "none": 120 - sum(shown.values()),
        }
        assistance.change(write, campaign, "none", 0.5, by=None)
        for number in range(1, 121):  # what was drawn stays
            task = tasks.find(write, number)
            assert bool(task.critiques) == shown[task.annotator, task.prompt.id]


def test_a_share_of_all_and_of_none(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "before", 0.0), people(store, 1)
    none = give(store, campaign, who)
    assert none
    judge(store, none)
    with store.transaction() as write:
        assistance.change(write, campaign, "before", 1.0, by=None)
    every = give(store, campaign, who)
    assert every
    assert (none.critiques, sorted(map(str, every.critiques))) == ((), ["It is *poor*.", "None"])
    assert every.critiques[every.answers.index("poor")] == "It is *poor*."


def test_nothing_is_drawn_where_there_is_nothing_to_measure(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "before", others=1, bare=1), people(store, 1)
    assert give(store, campaign, who)
    assert column(store, "assistance") == [None]
    with store.transaction() as write:
        panel = queries.add_annotator(write, "panel", "simulated")
        item = critiques.wanting(write, campaign)[0].id
        critiques.add(write, item, said())
    assert give(store, campaign, panel)
    assert column(store, "assistance") == [None, None], "a simulated annotator reads no critique"
    again = give(store, campaign, who)
    assert again
    assert again.critiques == (), "a task stays as it was handed out"


def test_in_a_training_people_are_measured_alone(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "before", known=3, others=1, training=2), people(store, 1)
    for _ in range(4):
        task = give(store, campaign, who)
        assert task
        judge(store, task)
    assert column(store, "assistance") == [None, None, "before", "before"]
    with store.reading() as read:
        training = gold.training(read, campaign, who)
        assert (len(training.answered), training.passed_after) == (2, 2), "what critiques led to says less of them"


def test_known_items_come_often_and_all_of_them(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "after", 0.0, known=20, others=30), people(store, 1)
    with store.reading() as read:
        assert tasks.share(read, campaign, who).left == 50
    given: list[str] = []
    while task := give(store, campaign, who):
        given.append(task.prompt.id)
        judge(store, task)
    assert len(set(given)) == len(given) == 50
    early = sum(name[0] == "g" for name in given[: given.index("p29")])
    assert 8 <= early <= 20  # about a third of those until the last other one
    with store.reading() as read:
        assert tasks.share(read, campaign, who).left == 0
        assert queries.progress(read, campaign).items == 30


def test_before_is_marked_from_the_first_judgement_on(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "before"), people(store, 1)
    task = give(store, campaign, who)
    assert task
    first = judge(store, task, now=NOON + timedelta(seconds=40))
    again = judge(store, task, "poor", now=NOON + timedelta(seconds=90), revise=True)
    assert (first.aided, first.seconds, again.aided, again.seconds) == (True, 40, True, 40)
    assert waiting(store, campaign, who) is None
    with store.reading() as read:
        (line, _) = reversed(events.events(read, verb="judgement.add"))
        assert line.payload["aided"] is True


def test_after_keeps_the_first_view_and_then_shows(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "after", known=1, others=0, right=False), people(store, 1)
    task = give(store, campaign, who)
    assert task
    assert task.critiques == ()
    assert look(store, task.id).critiques == (), "nothing before the first judgement"
    first = judge(store, task, now=NOON + timedelta(seconds=30))
    assert (first.aided, first.seconds) == (False, 30)
    assert waiting(store, campaign, who) == task.id
    with store.reading() as read:
        assert tasks.find(read, task.id).critiques == (), "only a look shows them"
    later = NOON + timedelta(minutes=2)
    look(store, task.id, later - timedelta(minutes=1))
    seen = look(store, task.id, later)  # a reload begins it anew, as with a task
    assert seen.critiques[seen.answers.index("poor")] == "It is *poor*."
    second = judge(store, task, "poor", now=later + timedelta(seconds=12), revise=True)
    assert (second.aided, second.supersedes, second.seconds) == (True, first.id, 42)
    assert waiting(store, campaign, who) is None
    third = judge(store, task, now=later + timedelta(hours=1), revise=True)
    assert (third.aided, third.seconds) == (True, 42)
    with store.reading() as read:
        (known,) = assistance.known(read, campaign)
    assert known.unaided == assistance.Look(score=1, seconds=30)
    assert known.aided == assistance.Look(score=0, seconds=42), "the first with critiques, not a later thought"
    assert (known.given, known.right) == ("after", False)


def test_single_answers_are_measured_by_whether_they_are_good(store: Store, people: People, tmp_path: Path):
    """And a snapshot says what was said without: the good word that a critique talked somebody out of."""
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="good_bad", overlap=1)
        for name in ("g", "p"):
            meta = {"gold": [1, 2]} if name == "g" else {}
            prompt = Prompt(id=name, messages=(Message(role="user", content="?"),), meta=meta)
            item = queries.add_item(write, campaign, prompt, ANSWERS[:1])
            critiques.add(write, item, (Critique(text="It is *poor*.", model="critic", right=False),))
        assistance.change(write, campaign, "after", 1.0, by=None)
    (who,) = people(store, 1)
    for number in range(2):
        task = give(store, campaign, who)
        assert task
        for good in (True, False):
            with store.transaction() as write:
                said = {"submission": f"{number} {good}", "details": Details(good=good), "revise": not good}
                tasks.submit(write, task=task.id, seconds=1.0, **said)
                tasks.look(write, task.id)
    with store.reading() as read:
        (known,) = assistance.known(read, campaign)
    assert (known.unaided, known.aided) == (
        assistance.Look(score=1, seconds=1.0),
        assistance.Look(score=0, seconds=1.0),
    )
    freeze(store, campaign, tmp_path / "snapshot", held_out=0.0, seed=0)
    (row,) = map(json.loads, (tmp_path / "snapshot" / "train.jsonl").read_text().splitlines())
    ((_, without),), ((_, vote),) = row["unaided"], row["votes"]
    assert (row["id"], without, vote) == ("p", [1, 2], [2, 1])


def test_a_skip_shows_nothing_and_an_order_after_it_does(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "after"), people(store, 1)
    task = give(store, campaign, who)
    assert task
    with store.transaction() as write:
        tasks.submit(write, task=task.id, submission="s", skip="unsure")
    assert waiting(store, campaign, who) is None
    assert look(store, task.id).critiques == ()
    assert judge(store, task, revise=True).aided is False
    assert waiting(store, campaign, who) == task.id


def test_nobody_on_hold_and_no_campaign_that_stopped_asks_for_a_second_look(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "after"), people(store, 1)
    task = give(store, campaign, who)
    assert task
    judge(store, task)
    with store.transaction() as write:
        assistance.change(write, campaign, "none", 1.0, by=None)
    assert waiting(store, campaign, who) is None
    with store.transaction() as write:
        assistance.change(write, campaign, "after", 1.0, by=None)
        write.execute(text("update annotator set standing = 'held'"))
    assert waiting(store, campaign, who) is None


def test_whose_work_was_withdrawn_says_nothing_of_critiques(store: Store, people: People):
    campaign, (who, other) = campaign_of(store, "before", known=1, others=0), people(store, 2)
    for person in (who, other):
        task = give(store, campaign, person)
        assert task
        judge(store, task)
    with store.transaction() as write:
        assert [each.person for each in assistance.known(write, campaign)] == [who, other]
        write.execute(text("update annotator set standing = 'withdrawn' where id = :who"), {"who": who})
        assert [each.person for each in assistance.known(write, campaign)] == [other]


def test_a_snapshot_says_who_was_assisted_and_what_they_said_before(store: Store, people: People, tmp_path):
    campaign, (one, two) = campaign_of(store, "after", others=2, overlap=2), people(store, 2)
    for who, names in ((one, ("p0", "p1")), (two, ("p0",))):
        for name in names:
            task = give(store, campaign, who, prompt_id=name)
            assert task
            judge(store, task)
            if (who, name) == (one, "p0"):
                look(store, task.id)
                judge(store, task, "poor", revise=True)
    manifest = freeze(store, campaign, tmp_path / "snapshot", held_out=0, seed=0)
    first, second = read_rows(tmp_path / "snapshot", "train")
    assert first.assistance == {"person 0": "after", "person 1": "none"}
    assert second.assistance == {"person 0": "none"}, "drawn, but not yet shown"
    row = (tmp_path / "snapshot" / "train.jsonl").read_text().splitlines()[0]
    assert '"unaided": [["person 0", [1, 2]]]' in row
    assert '"critiques": [null, {"text": "It is *poor*.", "model": "critic"}]' in row
    assert manifest == read_manifest(tmp_path / "snapshot")
    found: Mapping[str, Any] = manifest.assistance
    assert (found["judgements"], found["critics"], len(found["aided"])) == ({"after": 1, "none": 2}, {"critic": 1}, 1)
    assert set(found["aided"]) < set(manifest.judgements)


def test_without_assistance_a_snapshot_is_as_it_was(store: Store, people: People, tmp_path):
    campaign, (who,) = campaign_of(store, others=1, overlap=1), people(store, 1)
    task = give(store, campaign, who)
    assert task
    judge(store, task)
    assert freeze(store, campaign, tmp_path / "snapshot", held_out=0, seed=0).assistance == {}
    row = (tmp_path / "snapshot" / "train.jsonl").read_text()
    assert "critiques" not in row
    assert "assistance" not in row


def test_what_is_kept_of_a_person_has_the_critiques_they_saw(store: Store, people: People):
    campaign, (who,) = campaign_of(store, "before", others=1), people(store, 1)
    task = give(store, campaign, who)
    assert task
    judge(store, task)
    with store.reading() as read:
        (told,) = about(read, "person 0")["tasks"]
    assert told["critiques_as_shown"] == list(task.critiques)
    assert told["judgements"][0]["aided"] is True
