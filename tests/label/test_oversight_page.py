"""Critiques on the pages: where they stand, who sees when, and what is told to those who look after a campaign."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.label import service
from burnish.label.campaigns import ask
from burnish.label.export import export
from burnish.records.entries import Entry
from burnish.store import gold, queries
from burnish.store.details import ORDER_ONLY, Asks
from burnish.store.session import Store
from burnish.store.views import CampaignKind
from burnish.types import Critique, Message, Prompt

from .conftest import Browser
from .test_rights import csrf_of

Enter = Callable[..., Browser]
MARK = "Written by a model. It may be wrong."


def scene(
    store: Store,
    given: str,
    *,
    items: int = 2,
    known: int = 0,
    kind: CampaignKind = "pairwise",
    asks: Asks = ORDER_ONLY,
) -> int:
    """A campaign whose every answer has a critique, shown to all."""
    answers = 1 if kind == "good_bad" else 2
    entries = [
        Entry(
            where="here",
            prompt=Prompt(
                id=f"p{number}",
                messages=(Message(role="user", content=f"Question {number}"),),
                meta={"gold": [1, 2]} if number < known else {},
            ),
            completions=tuple(f"answer {place} to {number}" for place in range(answers)),
            critiques=tuple(
                Critique(text=f"**Poor** <b>{place}</b>", model="secret-critic") for place in range(answers)
            ),
        )
        for number in range(items)
    ]
    ask(store, "Round 1", entries, question="Which?", overlap=1, kind=kind, asks=asks)
    service.set_assistance(store, 1, given, 1.0, by=None)
    return 1


@pytest.mark.parametrize("kind", ["pairwise", "ranking", "scale", "good_bad"])
def test_before_they_stand_under_each_answer_as_text_that_can_do_nothing(
    store: Store, enter: Enter, kind: CampaignKind
):
    asks = Asks(axes=("helpful",)) if kind == "scale" else ORDER_ONLY
    campaign = scene(store, "before", items=1, kind=kind, asks=asks)
    page = enter("Amina").open(f"/campaigns/{campaign}")
    count = 1 if kind == "good_bad" else 2
    assert page.count(MARK) == page.count('<aside class="critique"') == count
    assert 'aria-label="What a model says of answer 1"' in page
    assert page.count("<strong>Poor</strong> &lt;b&gt;") == count
    assert "secret-critic" not in page
    for place in range(count):  # the critique of an answer stands after it, and before the next
        answer, said = page.index(f"answer {place} to 0"), page.index(f"&lt;b&gt;{place}&lt;/b&gt;")
        assert answer < said
        assert page[answer:said].count('class="text"') <= 2


def test_after_nothing_is_seen_at_first_and_the_second_look_cannot_be_passed_by(store: Store, enter: Enter):
    campaign = scene(store, "after")
    browser = enter("Amina")
    page = browser.open(f"/campaigns/{campaign}")
    assert MARK not in page
    assert "critique" not in page.lower()
    second = browser.send(choice="first", act="judge")
    assert second.text.count(MARK) == 2
    assert "What you said is saved. A model has read the answers too" in second.text
    assert "Leave it as it is" not in second.text
    assert 'value="first" data-keys="1" data-said="Answer 1 is better." data-at="-1" required checked' in second.text
    assert "Question 0" in browser.open(f"/campaigns/{campaign}"), "the next task waits for it"
    unfit = browser.send(choice="", act="judge")
    assert (unfit.status_code, unfit.text.count(MARK)) == (422, 2)
    assert "What you said is saved" in unfit.text
    assert "Question 1" in browser.send(choice="second", act="judge").text
    with store.reading() as read:
        (said,) = queries.judgements(read, campaign)
    assert said.aided
    assert said.supersedes


def test_after_a_skip_there_is_no_second_look(store: Store, enter: Enter):
    campaign = scene(store, "after")
    browser = enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    assert "Question 1" in browser.send(act="skip", reason="unsure").text


def test_a_lesson_waits_for_the_second_look(store: Store, enter: Enter):
    """Or it would say what is right before the person has read the critique."""
    campaign = scene(store, "after", items=1, known=1)
    browser = enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    with store.transaction() as write:
        gold.set_training(write, campaign, 1, 0.0, by=None)
    assert MARK in browser.send(choice="first", act="judge").text
    assert "The practice is over" in browser.send(choice="first", act="judge").text


def test_those_who_look_after_it_set_it_and_read_it(store: Store, enter: Enter):
    campaign = scene(store, "none", known=1)
    path = f"/progress/{campaign}/assistance"
    manager, viewer = enter("Mara", "manager"), enter("Vera", "viewer")
    assert path in manager.open("/progress")
    page = viewer.open(path)
    assert "There is nothing to conclude." in page
    assert "Critiques are shown: to nobody" in page
    assert "<form" not in page.partition("<footer>")[0].partition("<main")[2]
    page = manager.open(path)
    assert "Critiques by secret-critic: 4." in page
    assert "Gold questions among this campaign&#39;s items: 1." in page or "items: 1." in page
    assert manager.send(given="after", share="40").status_code == 200
    found = service.campaign(store, campaign)
    assert (found.assistance, found.assisted) == ("after", 0.4)
    csrf = csrf_of(manager.open(path))
    for wrong in ({"given": "perhaps", "share": "50"}, {"given": "after", "share": "101"}, {"given": "after"}):
        assert manager.client.post(path, data={"csrf": csrf, **wrong}).status_code == 422
    assert service.campaign(store, campaign).assisted == 0.4


def test_a_report_with_figures_and_one_without(store: Store, enter: Enter):
    """Six people on 14 known items, half with critiques: all with them are right, of the others every third is not."""
    campaign = scene(store, "before", items=14, known=14)
    service.set_assistance(store, campaign, "before", 0.5, by=None)
    people = [f"Person {number}" for number in range(6)]
    for count, name in enumerate(people, start=1):
        who = service.join(store, name, "person")
        while task := service.next_task(store, campaign, who):
            right = bool(task.critiques) or int(task.prompt.id[1:]) % 3 > 0
            ranks = [1 if (answer[7] == "0") == right else 2 for answer in task.answers]
            took = count / 100 + (60.0 if task.critiques else 30.0)
            service.submit(store, task=task.id, submission=f"{name} {task.id}", ranks=ranks, seconds=took)
        if count == 4:
            page = enter("Vera", "viewer").open(f"/progress/{campaign}/assistance")
            assert "Too few to conclude anything: one side has 4 people on " in page
            assert "Difference" not in page
    found = service.assistance(store, campaign)
    right, seconds, *_ = found.reports[0].findings
    assert right.found
    assert seconds.found
    assert (right.found.one.value, round(seconds.found.difference.value, 1)) == (1.0, 30.0)
    assert 0.5 < right.found.other.value < 0.8
    page = enter("Mara", "manager").open(f"/progress/{campaign}/assistance")
    assert "With critiques people take longer, by " in page
    assert "100 % <span" in page
    assert "+30.0 <span" in page
    assert not any(name in page for name in people), "nobody is named"


def test_exports_say_what_was_assisted(store: Store, tmp_path):
    campaign = scene(store, "before", items=2)
    who = service.join(store, "Amina", "person")
    while task := service.next_task(store, campaign, who):
        service.submit(store, task=task.id, submission=str(task.id), ranks=[1, 2])
    export(store, "Round 1", "rankings", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2 were made with a model's critiques of the answers in sight" in card
    assert "- `secret-critic`: 4 critiques" in card
    assert '"aided": [' in (tmp_path / "out" / "snapshot.json").read_text()
