"""Signs that somebody's answers need a look, and training in the pages."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest

from burnish.label import service
from burnish.label.alarms import signs
from burnish.store import gold, queries
from burnish.store.conduct import Conduct
from burnish.store.gold import Answered, Training
from burnish.store.session import Store
from burnish.store.views import Annotator
from burnish.types import Message, Prompt

from .conftest import HIDDEN, Browser

Enter = Callable[..., Browser]


def person(
    name: str, *, seconds: float = 30, answers: int = 40, first: int = 20, gold: tuple[float, ...] = ()
) -> Conduct:
    answered = tuple(Answered(task=task, score=score) for task, score in enumerate(gold))
    training = Training(answered=answered, wanted=0, passed_after=0, left=0)
    who = Annotator(id=1, handle=name, name=name, kind="person")
    return Conduct(person=who, seconds=(seconds,) * answers, first=first, last=answers - first, training=training)


def alarms(*people: Conduct, mark: float = 0.7) -> dict[str, list[str]]:
    return {each.person.name: [alarm.split(":")[0] for alarm in each.alarms] for each in signs(people, mark)}


def test_careful_people_raise_no_alarm():
    assert alarms(person("A"), person("B", seconds=25)) == {"A": [], "B": []}
    assert signs([], 0.7) == []


def test_under_a_third_of_the_usual_time_is_too_fast_with_enough_answers():
    crowd = [person("A"), person("B"), person("C")]
    assert alarms(*crowd, person("D", seconds=9.9, answers=20, first=10))["D"] == ["fast"]
    assert alarms(*crowd, person("D", seconds=10, answers=20, first=10))["D"] == []
    assert alarms(*crowd, person("D", seconds=1, answers=19, first=9))["D"] == []


def test_one_place_is_favoured_when_the_exact_interval_leaves_no_half():
    # A fair coin gives 27 or more of 40 with chance 0.019, 26 or more with 0.040: beyond and within 2.5% on one side.
    assert alarms(person("A", first=27), person("B", first=26), person("C", first=13)) == {
        "A": ["one place"],
        "C": ["one place"],
        "B": [],
    }


def test_gold_is_told_only_when_it_is_surely_under_the_mark():
    assert alarms(person("A", gold=(1, 0, 0)), person("B", gold=(0,) * 6 + (1,) * 2), person("C", gold=(0.5,))) == {
        "B": ["gold questions"],
        "A": [],
        "C": [],
    }


def scene(store: Store, training: int = 2) -> int:
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="Round 1", question="?", kind="pairwise", overlap=2)
        for number in range(3):
            meta = {"gold": [2, 1], "why": "The second <i>is</i> right."}
            prompt = Prompt(id=f"g{number}", messages=(Message(role="user", content="?"),), meta=meta)
            queries.add_item(write, campaign, prompt, [("wrong", "a"), ("right", "b")])
        prompt = Prompt(id="p", messages=(Message(role="user", content="Unknown"),))
        queries.add_item(write, campaign, prompt, [("one", "a"), ("two", "b")])
    return campaign


def choose(browser: Browser, text: str) -> str:
    assert browser.page
    shown = re.findall(r'dir="auto">(right|wrong)<', browser.page.text)
    return browser.send(act="judge", choice=("first", "second")[shown.index(text)]).text


def test_a_manager_asks_for_practice_and_people_are_shown_what_was_right(store: Store, enter: Enter):
    campaign, manager = scene(store), enter("Mona", "manager")
    page = manager.open(f"/progress/{campaign}/people")
    assert "Gold questions among this campaign's items: 3." in html.unescape(page)
    fields = dict(HIDDEN.findall(page))
    for wrong in ({"training": "x", "pass": "80"}, {"training": "2", "pass": "101"}, {"training": "-1", "pass": "5"}):
        answer = manager.client.post(f"/progress/{campaign}/people", data={**fields, **wrong})
        assert (answer.status_code, "A whole number from 0" in answer.text) == (422, True)
    manager.client.post(f"/progress/{campaign}/people", data={**fields, "training": "2", "pass": "80"})
    assert service.campaign(store, campaign).pass_mark == 0.8

    amina = enter("Amina")
    assert "This is practice" in amina.open(f"/campaigns/{campaign}")
    page = choose(amina, "right")
    assert "<h1>Right</h1>" in page
    assert "The second &lt;i&gt;is&lt;/i&gt; right." in page
    assert "Practice 1 of 2" in page
    lesson = str(amina.page.url) if amina.page else ""
    amina.open(f"/campaigns/{campaign}")
    page = choose(amina, "wrong")
    assert "<h1>Not so</h1>" in page
    assert "80 % must be right; here is another" in page
    amina.open(f"/campaigns/{campaign}")
    page = choose(amina, "right")
    assert "That was the last practice question" in page
    assert "practice questions are used up" in amina.open(f"/campaigns/{campaign}")

    assert enter("Bob").client.get(lesson).status_code == 404  # somebody else's
    page = manager.open("/progress")
    assert "did not pass the training" in page
    assert "did not pass the training" in manager.open(f"/progress/{campaign}/people")
    assert "did not pass" not in enter("Vera", "viewer").open("/progress")


@pytest.mark.parametrize(
    ("language", "right", "wrong"),
    [
        ("en", "The answer is bad. You said: bad.", "The answer is bad. You said: good."),
        ("es", "La respuesta es mala. Usted dijo: mala.", "La respuesta es mala. Usted dijo: buena."),
        ("de", "Die Antwort ist schlecht. Sie sagten: schlecht.", "Die Antwort ist schlecht. Sie sagten: gut."),
    ],
)
def test_a_lesson_tells_of_a_single_answer_whether_it_is_good(
    store: Store, enter: Enter, language: str, right: str, wrong: str
):
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="Round 1", question="?", kind="good_bad", overlap=1)
        for number in range(2):
            meta = {"gold": [2, 1], "why": "It is <i>rude</i>."}
            prompt = Prompt(id=f"g{number}", messages=(Message(role="user", content="?"),), meta=meta)
            queries.add_item(write, campaign, prompt, [("Go away.", "a")])
        gold.set_training(write, campaign, 2, 1.0, by=None)
    amina = enter("Amina")
    amina.client.post("/language", data={"language": language})
    for choice, words, class_ in (("bad", right, "hint"), ("good", wrong, "error")):
        amina.open(f"/campaigns/{campaign}")
        page = amina.send(act="judge", choice=choice).text
        assert f'<p class="{class_}">{words}</p>' in page
        assert "It is &lt;i&gt;rude&lt;/i&gt;." in page
        assert " 1</span>" not in page, "one answer has no number"
    assert language != "en" or "<h1>Not so</h1>" in page


@pytest.mark.parametrize("task", ["1", "2", "99", "0", "x"])
def test_an_ordinary_task_has_no_lesson(store: Store, fill: Callable[..., int], enter: Enter, task: str):
    campaign, amina = fill(store), enter("Amina")
    assert "This is practice" not in amina.open(f"/campaigns/{campaign}")
    amina.send(act="judge", choice="first")
    assert amina.client.get(f"/campaigns/{campaign}/tasks/{task}/lesson").status_code == 404
