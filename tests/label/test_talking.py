"""Talking with two hidden models on the pages: sending, waiting for both, judging, going on; and what can go wrong."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from burnish.label import answering, service
from burnish.label.answering import Answering
from burnish.label.export import export
from burnish.store import events, queries, settings
from burnish.store.details import Asks
from burnish.store.live import LONGEST_ANSWER
from burnish.store.session import Store

from .conftest import HIDDEN, Browser
from .hidden_models import HiddenModel, hidden, live, settled
from .payloads import RAW
from .test_rights import csrf_of

Models = dict[str, HiddenModel]
WRITING = "Both models are writing"


@pytest.fixture
def models(app: FastAPI) -> Iterator[Models]:
    with hidden("ape", "bee") as found:
        yield found
        settled(app)


def say(browser: Browser, campaign: int, message: str, **fields: str) -> str:
    """Send the page's form, and look at the page that follows."""
    page = browser.open(f"/campaigns/{campaign}") if "state" not in fields else ""
    form = page.partition('id="say"')[2].partition("</form>")[0]
    sent = {**dict(HIDDEN.findall(form)), "message": message, **fields}
    browser.page = browser.client.post(f"/campaigns/{campaign}/conversation", data=sent)
    return browser.page.text


def wait(browser: Browser, campaign: int) -> str:
    """What a script without its page would do: look until both have answered, or one has failed."""
    until = time.monotonic() + 100
    while browser.client.get(f"/campaigns/{campaign}/conversation/writing").json()["writing"]:
        assert time.monotonic() < until, "nobody answers"
        time.sleep(0.02)
    return browser.open(f"/campaigns/{campaign}")


def judge(browser: Browser, campaign: int, model: str, **fields: str) -> str:
    """Prefer what this model said on the page that is open."""
    assert browser.page
    answers = browser.page.text.partition('id="answers"')[2]
    first = answers.index(f"{model} says") < answers.index("Answer 2")
    browser.send(choice="first" if first else "second", act="judge", **fields)
    assert browser.page.status_code == 200, browser.page.text
    return browser.page.text


def test_three_turns_and_what_comes_of_them(
    store: Store, enter: Callable[..., Browser], models: Models, tmp_path: Path
):
    campaign = live(store, models, system="Be kind.")
    browser = enter("Amina")
    assert "You talk with two models" in browser.open("/")
    for turn in range(3):
        assert WRITING in say(browser, campaign, f"question {turn}")
        page = wait(browser, campaign)
        assert f"ape says: question {turn}" in page
        assert f"bee says: question {turn}" in page
        assert WRITING not in judge(browser, campaign, "bee")
    assert [turn["content"] for turn in models["ape"].asked[-1]["messages"]] == [
        "Be kind.",
        "question 0",
        "bee says: question 0",
        "question 1",
        "bee says: question 1",
        "question 2",
    ]
    assert {each["seed"] for each in models["ape"].asked} & {each["seed"] for each in models["bee"].asked} == set()
    found = export(store, "Arena", "preference", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert found["judgements"] == len(rows) == 3
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows] == [
        (f"bee says: question {turn}", f"ape says: question {turn}") for turn in range(3)
    ]
    assert [len(row["prompt"]) for row in rows] == [2, 4, 6]
    _, (board,) = service.standings(store, campaign)
    assert [(line.model, line.won, line.lost) for line in board.lines] == [("bee", 3, 0), ("ape", 0, 3)]


def test_a_message_is_there_before_its_answers_and_both_come_at_once(
    store: Store, enter: Callable[..., Browser], models: Models
):
    campaign, browser = live(store, models), enter("Amina")
    models["bee"].waiting.clear()
    say(browser, campaign, "hello")
    until = time.monotonic() + 20
    while not models["ape"].asked:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.2)  # by then one of them has its answer
    page = browser.open(f"/campaigns/{campaign}")
    assert WRITING in page
    assert "hello" in page
    assert "says" not in page, "nothing tells which was faster"
    assert '<noscript><meta http-equiv="refresh"' in page
    for each in range(3):
        browser.open(f"/campaigns/{campaign}?again={each}")
    models["bee"].waiting.set()
    wait(browser, campaign)
    assert [len(model.asked) for model in models.values()] == [1, 1], "a reload asks nobody a second time"


def test_a_message_sent_twice_is_one(store: Store, enter: Callable[..., Browser], models: Models):
    campaign, browser = live(store, models), enter("Amina")
    csrf = csrf_of(browser.open("/"))
    for _ in range(2):
        say(browser, campaign, "hello", csrf=csrf, submission="one", state="")
        assert browser.page
        assert browser.page.status_code == 200
    wait(browser, campaign)
    say(browser, campaign, "hello", csrf=csrf, submission="two", state="")
    assert browser.page
    assert browser.page.status_code == 409
    assert "The conversation has gone on in another window meanwhile." in browser.page.text
    assert "hello</textarea>" in browser.page.text, "what was written is not lost"
    assert len(models["ape"].asked) == 1


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        (lambda model: setattr(model, "status", 400), "could not answer"),
        (lambda model: setattr(model, "says", lambda _: " \n"), "said nothing"),
        (lambda model: setattr(model, "says", lambda _: "x" * (LONGEST_ANSWER + 1)), "said far too much"),
        (lambda model: model.waiting.clear(), "took too long"),
    ],
)
def test_a_model_that_fails(
    store: Store,
    enter: Callable[..., Browser],
    models: Models,
    fails: Callable[[HiddenModel], None],
    words: str,
):
    campaign, browser = live(store, models, seconds=4.0), enter("Amina")
    fails(models["bee"])
    say(browser, campaign, "hello")
    page = wait(browser, campaign)
    assert words in page
    assert "hello</textarea>" in page
    assert not re.search(r"\bbee\b", page), "which one it was, nobody is told"
    assert wait(browser, campaign).count(words) == 1
    models["bee"].status, models["bee"].says = 200, None
    models["bee"].waiting.set()
    say(browser, campaign, "hello again")
    page = wait(browser, campaign)
    assert "bee says: hello again" in page
    assert 'class="turn user"' in page
    assert page.count("hello again") >= 3
    with store.reading() as read:
        told = [line for line in events.events(read) if line.verb == "conversation.fail"]
    assert [line.payload["model"] for line in told] == ["bee"]


def test_a_server_that_is_not_there(
    store: Store, enter: Callable[..., Browser], models: Models, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(answering, "FIRST_WAIT", 0.001)
    models["bee"].address = "http://127.0.0.1:9/v1#bee"
    campaign, browser = live(store, models), enter("Amina")
    say(browser, campaign, "hello")
    assert "could not answer" in wait(browser, campaign)


def test_thoughts_are_not_what_is_said(store: Store, enter: Callable[..., Browser], models: Models):
    models["bee"].says = lambda _: "<think>\nHm, hello.\n</think>\n\nbee says: good day"
    campaign, browser = live(store, models), enter("Amina")
    say(browser, campaign, "hello")
    page = wait(browser, campaign)
    assert "bee says: good day" in page
    assert "Hm, hello" not in page


def test_what_a_server_does_not_know_is_learned_once(store: Store, enter: Callable[..., Browser], models: Models):
    models["bee"].refuses = frozenset({"min_p"})
    campaign, browser = live(store, models), enter("Amina")
    for turn in range(3):
        say(browser, campaign, f"question {turn}")
        assert f"bee says: question {turn}" in wait(browser, campaign)
        judge(browser, campaign, "bee")
    assert models["bee"].refused == 1


def test_what_no_database_holds_is_replaced(store: Store, enter: Callable[..., Browser], models: Models):
    models["bee"].says = lambda _: "bee says: \x00 \ud800!"
    campaign, browser = live(store, models), enter("Amina")
    say(browser, campaign, "hello")
    assert "bee says: \ufffd \ufffd!" in wait(browser, campaign)
    judge(browser, campaign, "bee")


def test_a_server_that_was_killed_asks_again(store: Store, enter: Callable[..., Browser], models: Models, app: FastAPI):
    """Whoever looks has it asked by a process that knows nothing of the one before."""
    campaign, browser = live(store, models), enter("Amina")
    models["ape"].waiting.clear()
    say(browser, campaign, "hello")
    old = app.state.desk.answering
    object.__setattr__(app.state.desk, "answering", Answering(store=store))
    browser.open(f"/campaigns/{campaign}")
    models["ape"].waiting.set()
    wait(browser, campaign)
    until = time.monotonic() + 20
    while old._asked:
        assert time.monotonic() < until
        time.sleep(0.01)
    with store.reading() as read:
        assert queries.progress(read, campaign).items == 1, "both processes had answers, and two were kept"
    assert [len(model.asked) for model in models.values()] == [2, 2]


def test_what_was_answered_meanwhile_is_asked_of_nobody(
    store: Store, enter: Callable[..., Browser], models: Models, app: FastAPI
):
    """A page may have looked just before the answers were kept."""
    campaign, browser = live(store, models), enter("Amina")
    models["bee"].waiting.clear()
    say(browser, campaign, "hello")
    ((person, _),) = service.people(store)
    talk, found = service.conversation(store, campaign, person.id), service.campaign(store, campaign)
    assert talk
    assert found.live
    models["bee"].waiting.set()
    wait(browser, campaign)
    settled(app)
    app.state.desk.answering.ask(found.live, person.id, talk.last)
    settled(app)
    assert [len(model.asked) for model in models.values()] == [1, 1]


def test_so_many_are_asked_and_no_more(store: Store, enter: Callable[..., Browser], models: Models, app: FastAPI):
    app.state.desk.answering.most = 1
    campaign, amina, bob = live(store, models), enter("Amina"), enter("Bob")
    models["ape"].waiting.clear()
    say(amina, campaign, "hello")
    assert WRITING in say(bob, campaign, "hail")
    assert not any("hail" in str(each) for model in models.values() for each in model.asked)
    models["ape"].waiting.set()
    wait(amina, campaign)
    assert "ape says: hail" in wait(bob, campaign)


def test_who_ends_one_begins_another(store: Store, enter: Callable[..., Browser], models: Models):
    campaign, browser = live(store, models, openings=("Hail!", "What is new?")), enter("Amina")
    assert "Hail!" in browser.open(f"/campaigns/{campaign}")
    assert "Hail!</textarea>" in browser.open(f"/campaigns/{campaign}?opening=0")
    for strange in ("7", "-1", "x", "9" * 500):
        assert ">\n</textarea>" in browser.open(f"/campaigns/{campaign}?opening={strange}")
    say(browser, campaign, "hello")
    wait(browser, campaign)
    judge(browser, campaign, "ape")
    page = browser.open(f"/campaigns/{campaign}")
    form = page.partition('class="end"')[2].partition("</form>")[0]
    ending = dict(HIDDEN.findall(form))
    for _ in range(2):
        page = browser.client.post(f"/campaigns/{campaign}/conversation/end", data=ending).text
        assert "A new conversation" in page
        assert "hello" not in page
    for strange in ("", "x", "-1", "9" * 40):
        browser.client.post(f"/campaigns/{campaign}/conversation/end", data={**ending, "conversation": strange})
    assert WRITING in say(browser, campaign, "once more")


def test_nobody_talks_in_anothers_name_or_where_nobody_answers(
    store: Store, enter: Callable[..., Browser], models: Models, fill: Callable[..., int]
):
    campaign, other = live(store, models), fill(store)
    amina, bob = enter("Amina"), enter("Bob")
    say(amina, campaign, "hello")
    page = wait(amina, campaign)
    task = page.partition(f'action="/campaigns/{campaign}/tasks/')[2].partition('"')[0]
    assert "A new conversation" in bob.open(f"/campaigns/{campaign}")
    assert bob.client.get(f"/campaigns/{campaign}/tasks/{task}").status_code == 404
    talk = service.conversation(store, campaign, service.people(store)[0][0].id)
    assert talk
    csrf = csrf_of(bob.open("/"))
    data = {"csrf": csrf, "conversation": str(talk.id)}
    bob.client.post(f"/campaigns/{campaign}/conversation/end", data=data)
    assert service.conversation(store, campaign, service.people(store)[0][0].id)
    for path in ("conversation", "conversation/end"):
        assert bob.client.post(f"/campaigns/{other}/{path}", data=data).status_code == 404
    assert bob.client.get(f"/campaigns/{other}/conversation/writing").status_code == 404


def test_a_closed_campaign_keeps_what_was_written_on_the_page(
    store: Store, enter: Callable[..., Browser], models: Models
):
    campaign, browser = live(store, models), enter("Amina")
    csrf = csrf_of(browser.open("/"))
    with store.transaction() as write:
        settings.change(write, campaign, overlap=1, closed=True, guideline="", by=None)
    page = say(browser, campaign, "too late", csrf=csrf, submission="s", state="")
    assert browser.page
    assert browser.page.status_code == 409
    assert "too late</textarea>" in page
    assert "It is closed for now." in browser.open(f"/campaigns/{campaign}")


def test_hostile_texts_are_shown_and_do_nothing(store: Store, enter: Callable[..., Browser], models: Models):
    """The template is that of every conversation (see test_hostile_texts); here, that each place goes through it."""
    models["bee"].says = lambda _: "bee says: " + RAW[0]
    campaign, browser = live(store, models, openings=(RAW[1],)), enter("Amina")
    assert RAW[1] not in browser.open(f"/campaigns/{campaign}?opening=0")
    for text in ("", " ", "x" * 10_001):
        say(browser, campaign, text)
        assert browser.page
        assert (browser.page.status_code, "A message has 1 to 10,000 characters." in browser.page.text) == (422, True)
    for text in (RAW[2], "</textarea>" + RAW[3]):
        assert RAW[2] not in say(browser, campaign, text)
        page = wait(browser, campaign)
        assert RAW[0] not in page
        assert RAW[3] not in page
        assert RAW[0] not in judge(browser, campaign, "bee")


def test_the_language_of_a_conversation_is_one_that_its_person_reads(
    store: Store, enter: Callable[..., Browser], models: Models
):
    campaign = live(store, models)
    both, one = enter("Amina", languages=("ar", "fr")), enter("Bob", languages=("fr",))
    assert '<option value="fr">' in both.open(f"/campaigns/{campaign}")
    assert 'name="language"' not in one.open(f"/campaigns/{campaign}").partition("<footer>")[0]
    for browser, said in ((both, "fr"), (one, "tlh")):
        say(browser, campaign, "bonjour", language=said)
        wait(browser, campaign)
        judge(browser, campaign, "bee")
    with store.reading() as read:
        tongues = [each.prompt.meta.get("language") for each in queries.items(read, campaign)]
    assert sorted(tongues, key=str) == [None, "fr"]


def test_both_bad_and_written_better(store: Store, enter: Callable[..., Browser], models: Models):
    campaign, browser = live(store, models, asks=Asks(edits=True, strength=True)), enter("Amina")
    say(browser, campaign, "hello")
    wait(browser, campaign)
    browser.send(choice="both_bad", act="judge", **{"edit-1": "As it should be."})
    assert "As it should be." in browser.open(f"/campaigns/{campaign}")


@pytest.mark.parametrize(("language", "words"), [("es", "Los dos modelos"), ("de", "Beide Modelle")])
def test_other_languages(store: Store, enter: Callable[..., Browser], models: Models, language: str, words: str):
    campaign, browser = live(store, models), enter("Amina")
    browser.client.post("/language", data={"language": language})
    models["bee"].waiting.clear()
    assert words in say(browser, campaign, "hello")
    models["bee"].waiting.set()
    wait(browser, campaign)


def test_models_are_known_by_name_or_else_by_address(models: Models):
    ape, bee = (model.address for model in models.values())
    assert answering.named([ape, bee]) == {"ape": ape, "bee": bee}
    assert answering.named([ape.partition("#")[0], bee]) == {"ape": ape, "bee": bee}, "the only one that it has"
    twin = bee.replace("#bee", "#ape")
    assert answering.named([ape, twin]) == {ape: ape, twin: twin}
