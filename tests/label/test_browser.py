"""The labelling page in a real browser, by keyboard, at the width of a desk and of a phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from fastapi import FastAPI

from burnish.label import service
from burnish.label.export import export
from burnish.store import queries, tasks
from burnish.store.details import Asks
from burnish.store.session import Store

from .chromium import answering, browsing, needs_browser
from .hidden_models import hidden, live, settled
from .test_oversight_page import scene

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = needs_browser
WIDTHS = {"desk": (1280, 800), "phone": (390, 844)}


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with answering(app) as address:
        yield address


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A fresh browser of that width; what it complains of on its console fails the test."""
    complaints: list[str] = []
    with browsing(tmp_path / "profile", *WIDTHS[request.param]) as context:
        page = context.pages[0]
        page.set_default_timeout(15_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
    expected = (
        "Failed to load resource",
        "Autofocus processing was blocked",
    )  # refused; at work
    assert [each for each in complaints if not any(known in each for known in expected)] == []


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def enter(store: Store, page: Page, address: str) -> None:
    """Come in by a link."""
    page.goto(f"{address}/join?once={service.invite(store, 'annotator')}")
    page.wait_for_selector("#name:focus")
    page.keyboard.type("Amina")
    press(page, "Tab")
    page.keyboard.type("correct horse")
    press(page, "Enter")
    page.get_by_role("heading", name="What there is to judge").wait_for()


def judge_three_pairs(page: Page) -> None:
    for number, keys in enumerate((["1"], ["2", "t"], ["s"])):
        page.get_by_text(f"Question {number}", exact=True).wait_for()
        page.wait_for_load_state()  # the script has run
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        press(page, "Enter")  # nothing is chosen yet: nothing is sent
        assert page.get_by_role("status").inner_text() == "Choose 1, 2, t or b first."
        press(page, *keys, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()


def test_strength_by_keyboard(store: Store, fill: Callable[..., int], address: str, page: Page):
    """Digits and arrows along one scale; a letter for what stands beside it."""
    campaign = fill(store, items=4, asks=Asks(strength=True))
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    said = (
        (["1"], (3, False)),
        (["5", "ArrowRight", "ArrowRight", "ArrowRight"], (3, False)),  # no further than much better
        (["ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight"], (None, False)),  # and back to the tie
        (["7", "b"], (None, True)),
    )
    for number, (keys, _) in enumerate(said):
        page.get_by_text(f"Question {number}", exact=True).wait_for()
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        press(page, *keys, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    with store.reading() as read:
        found = [each.details for each in queries.judgements(read, campaign)]
    assert [(each.strength, each.both_bad) for each in found] == [wanted for _, wanted in said]


def order_of(page: Page) -> list[str]:
    """Each answer with its place, from the top."""
    texts = page.locator("fieldset .text").all_inner_texts()
    ranks = page.eval_on_selector_all("fieldset input:checked", "inputs => inputs.map((each) => each.value)")
    return [f"{rank}: {text}" for rank, text in zip(ranks, texts, strict=True)]


def test_ranking_by_moving_cards(store: Store, fill: Callable[..., int], address: str, page: Page):
    campaign = fill(store, k=4, items=1)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    a, b, c, d = page.locator("fieldset .text").all_inner_texts()
    status = page.get_by_role("status")
    press(page, "J")
    assert order_of(page) == [f"1: {b}", f"2: {a}", f"3: {c}", f"4: {d}"]
    assert status.inner_text() == "Answer 1 has place 2 of 4."
    press(page, "=")
    assert order_of(page) == [f"1: {b}", f"1: {a}", f"2: {c}", f"3: {d}"]
    assert status.inner_text() == "Answer 1 has place 1 of 3, with Answer 2."
    press(page, "j", "j", "K", "K", "K", "K")  # the mark to the last card, and that one to the top
    assert order_of(page) == [f"1: {d}", f"2: {b}", f"2: {a}", f"3: {c}"]  # what shared a place still does
    press(page, "1")  # digits go on to work: the marked card stands in the first place already
    box = page.locator("fieldset", has_text=a).locator(".grip").bounding_box()
    target = page.locator("fieldset", has_text=d).bounding_box()
    assert box
    assert target
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(target["x"] + 10, target["y"] + 10, steps=12)
    page.mouse.up()
    assert order_of(page) == [f"1: {a}", f"2: {d}", f"3: {b}", f"4: {c}"]
    press(page, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    with store.reading() as read:
        (said,) = queries.judgements(read, campaign)
    own = {text: place for place, text in enumerate((a, d, b, c), start=1)}
    assert said.ranks == tuple(own[f"answer {place} to 0"] for place in range(4))


def test_dragging_by_touch(store: Store, fill: Callable[..., int], address: str, page: Page):
    """The finger drags the card, and the page does not scroll away under it."""
    campaign = fill(store, k=3, items=1)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    a, b, c = page.locator("fieldset .text").all_inner_texts()
    box = page.locator("fieldset", has_text=a).locator(".grip").bounding_box()
    target = page.locator("fieldset", has_text=b).bounding_box()
    assert box
    assert target
    client = page.context.new_cdp_session(page)
    x, y = box["x"] + 20, box["y"] + 20
    far = (target["x"] + target["width"] - 15, target["y"] + target["height"] - 10)
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for part in range(1, 11):
        point = {"x": x + (far[0] - x) * part / 10, "y": y + (far[1] - y) * part / 10}
        client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert order_of(page) == [f"1: {b}", f"2: {a}", f"3: {c}"]
    assert page.locator(".dragged").count() == 0


def test_undo_by_keyboard(store: Store, fill: Callable[..., int], address: str, page: Page):
    campaign = fill(store, items=2)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    press(page, "u", "1", "Enter")  # nothing to undo yet
    page.get_by_text("Question 1", exact=True).wait_for()
    page.wait_for_load_state()
    press(page, "u")
    page.get_by_text("You said this before").wait_for()
    page.wait_for_load_state()
    assert page.locator('input[value="first"]').is_checked()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    press(page, "2", "Enter")
    page.get_by_text("Question 1", exact=True).wait_for()
    page.wait_for_load_state()
    press(page, "t", "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    with store.reading() as read:
        changed, tie = queries.judgements(read, campaign)
        order = tasks.find(read, changed.task).order
    assert changed.supersedes
    assert changed.ranks == tuple((2, 1)[order.index(position)] for position in range(2))
    assert (tie.ranks, tie.supersedes) == ((1, 1), None)


def test_grades_and_single_answers_by_keyboard(store: Store, fill: Callable[..., int], address: str, page: Page):
    scale = fill(store, kind="scale", items=1, asks=Asks(axes=("helpful", "honest")))
    single = fill(store, k=1, kind="good_bad", items=2)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{scale}")
    first, second = page.locator("section.answer .text").all_inner_texts()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    press(page, "Enter")
    assert page.get_by_role("status").inner_text() == "Give every grade first."
    press(page, "7", "6", "1", "2", "k", "3")  # the third grade is a 3 after all
    assert page.get_by_role("status").inner_text() == "All are graded. Enter saves."
    press(page, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    page.goto(f"{address}/campaigns/{single}")
    for number, key in enumerate(("g", "b")):
        page.get_by_text(f"Question {number}", exact=True).wait_for()
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        press(page, key, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    with store.reading() as read:
        (graded,) = queries.judgements(read, scale)
        good, bad = queries.judgements(read, single)
    own = {first: {"helpful": 7, "honest": 6}, second: {"helpful": 3, "honest": 2}}
    assert graded.details.ratings == tuple(own[f"answer {place} to 0"] for place in range(2))
    assert graded.ranks == ((1, 2) if first == "answer 0 to 0" else (2, 1))
    assert (good.details.good, bad.details.good) == (True, False)


def test_what_is_filled_in_outlives_a_reload(store: Store, fill: Callable[..., int], address: str, page: Page):
    campaign = fill(store, k=3, items=2)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    press(page, "2", "1", "r")
    page.keyboard.type("It is kinder.")
    page.reload()
    assert page.get_by_role("status").inner_text() == "This is what you had filled in."
    assert page.locator("#rationale").input_value() == "It is kinder."
    assert page.locator("fieldset input:checked").count() == 2
    press(page, "3", "Enter")  # the mark stands on what was left
    page.get_by_text("Question 1", exact=True).wait_for()
    page.wait_for_load_state()
    assert page.locator("#rationale").input_value() == ""
    assert page.evaluate("Object.keys(localStorage)") == []
    press(page, "1")
    assert len(page.evaluate("Object.keys(localStorage)")) == 1
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert page.evaluate("Object.keys(localStorage)") == []
    with store.reading() as read:
        (said,) = queries.judgements(read, campaign)
    assert said.details.rationale == "It is kinder."


def test_a_lost_connection_loses_nothing(store: Store, fill: Callable[..., int], address: str, page: Page):
    campaign = fill(store, items=2)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    page.context.set_offline(True)
    press(page, "1", "Enter")
    page.get_by_text("No connection.").wait_for()
    press(page, "t")  # a second thought meanwhile
    page.context.set_offline(False)
    page.get_by_text("Question 1", exact=True).wait_for()  # it was sent by itself
    page.wait_for_load_state()
    lost: list[str] = []

    def lose(route: Route) -> None:
        """Let the server have it, and nobody hear of it, once."""
        lost.append(parse_qs(route.request.post_data or "")["submission"][0])
        if len(lost) == 1:
            route.fetch(max_redirects=0)
            route.abort()
        else:
            route.continue_()

    page.route("**/tasks/*", lose)
    press(page, "2", "Enter")
    page.get_by_text("No connection.").wait_for()
    page.get_by_role("heading", name="Thank you").wait_for()
    assert len(lost) == 2
    assert len(set(lost)) == 1
    with store.reading() as read:
        first, second = queries.judgements(read, campaign)
        order = tasks.find(read, second.task).order
    assert (first.ranks, first.supersedes) == ((1, 1), None)
    assert second.ranks == tuple((2, 1)[order.index(position)] for position in range(2))
    assert second.submission == lost[0]


def test_what_the_server_refuses_is_shown(store: Store, fill: Callable[..., int], address: str, page: Page):
    """Another tab was quicker."""
    campaign = fill(store, items=2)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    other = page.context.new_page()
    other.goto(f"{address}/campaigns/{campaign}")
    press(other, "1", "Enter")
    other.get_by_text("Question 1", exact=True).wait_for()
    press(page, "2", "Enter")
    page.get_by_text("the first answer is kept").wait_for()
    page.get_by_role("link", name="Go on with the next one").press("Enter")
    page.get_by_text("Question 1", exact=True).wait_for()


def test_judging_by_keyboard(store: Store, fill: Callable[..., int], address: str, page: Page):
    pairs, ranking = fill(store, items=3), fill(store, k=4, items=1)
    enter(store, page, address)
    page.get_by_role("link", name="Start: Round of 2").press("Enter")
    judge_three_pairs(page)

    page.goto(f"{address}/campaigns/{ranking}")
    shown = page.locator("fieldset .text").all_inner_texts()
    press(
        page, "2", "k", "1", "3", "3", "4", "Enter"
    )  # the first answer is second; back to it: it is the best after all
    page.get_by_role("heading", name="Thank you").wait_for()

    with store.reading() as read:
        first, tie, skip = queries.judgements(read, pairs)
        (order,) = queries.judgements(read, ranking)
    assert first.ranks
    assert sorted(first.ranks) == [1, 2]
    assert tie.ranks == (1, 1)
    assert skip.skip == "unsure"
    own = dict(zip(shown, (1, 2, 2, 3), strict=True))  # places 1, 3, 3, 4 without the gap
    assert order.ranks == tuple(own[f"answer {place} to 0"] for place in range(4))


def judged_against_each_other(store: Store, campaign: int) -> None:
    """Two people order every pair the other way round, but for the last."""
    for name, ranks in (("Amina", (1, 2)), ("Bob", (2, 1))):
        who = service.join(store, name, "person")
        for number in range(6):
            task = service.next_task(store, campaign, who, prompt_id=f"p{number}")
            assert task
            shown = [(ranks if number < 5 else (1, 2))[position] for position in task.order]
            service.submit(store, task=task.id, submission=f"{name} {number}", ranks=shown, seconds=20.0)


def fits(page: Page) -> bool:
    page.wait_for_load_state()
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_manager_invites_reads_how_people_agree_and_settles(
    store: Store, fill: Callable[..., int], address: str, page: Page
):
    campaign = fill(store, items=6, overlap=2)
    judged_against_each_other(store, campaign)
    page.goto(f"{address}/join?once={service.invite(store, 'manager')}")
    page.get_by_label("Your name").fill("Mona")
    page.get_by_label("A password").fill("correct horse")
    page.get_by_role("button", name="Start").click()

    page.get_by_role("link", name="People").click()
    page.get_by_role("button", name="Make a link").click()
    assert page.get_by_label("The link").input_value().startswith(f"{address}/join?once=")
    assert fits(page)

    page.get_by_role("link", name="Progress").click()
    page.get_by_role("link", name="How they agree").click()
    page.get_by_text("Krippendorff's α").wait_for()
    assert fits(page)
    page.goto(f"{address}/progress/{campaign}/people")
    page.get_by_role("heading", name="How people work").wait_for()
    assert fits(page)

    page.goto(f"{address}/progress")
    page.get_by_role("link", name="Disagreements").click()
    assert page.get_by_role("article").count() == 5
    assert fits(page)
    page.get_by_role("link", name="Settle this one: p4").press("Enter")
    shown = page.locator(".dispute .answer .text").all_inner_texts()
    for place, text in enumerate(shown, start=1):
        page.locator(f"select[name=rank-{place}]").focus()
        press(page, "1" if text == "answer 1 to 4" else "2")
    page.get_by_label("Why").fill("It answers what was asked.")
    assert fits(page)
    page.get_by_role("button", name="Settle it").press("Enter")
    page.get_by_role("heading", name="Settled").wait_for()
    assert page.get_by_role("article").count() == 4
    (settled,) = service.settled(store, campaign)
    assert (settled.ranks, settled.note) == ((2, 1), "It answers what was asked.")

    page.get_by_role("link", name="Log").click()
    page.get_by_text("lines fit").wait_for()
    page.get_by_label("What").select_option("item.settle")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("cell", name="Mona").wait_for()
    assert fits(page)
    assert page.evaluate(
        "[...document.querySelectorAll('main, .card')].every((each) => each.scrollWidth <= each.clientWidth)"
    )


def sign_in(page: Page) -> None:
    """Out, and in again by name and password."""
    page.get_by_role("button", name="Sign out").press("Enter")
    page.wait_for_selector("#name:focus")
    page.keyboard.type("Amina")
    press(page, "Tab")
    page.keyboard.type("correct horse")
    press(page, "Enter")
    page.get_by_role("heading", name="What there is to judge").wait_for()


def asked(page: Page, number: int) -> None:
    page.get_by_text(f"Question {number}", exact=True).wait_for()
    page.wait_for_load_state()


def judge_pairs(page: Page, count: int) -> list[dict[str, int]]:
    """What was meant of each pair: places by text. One is said without a connection, and one is undone."""
    meant: list[dict[str, int]] = []
    ranks = {"1": (1, 2), "2": (2, 1), "t": (1, 1)}
    for number in range(count):
        asked(page, number)
        texts = page.locator(".answer .text").all_inner_texts()
        key = "12t"[number % 3]
        page.context.set_offline(number == 7)
        press(page, key, "Enter")
        if number == 7:
            page.get_by_text("No connection.").wait_for()
            page.context.set_offline(False)
        if number == 11:
            asked(page, number + 1)
            press(page, "u")
            page.get_by_text("You said this before").wait_for()
            page.wait_for_load_state()
            key = "1"
            press(page, key, "Enter")
        meant.append(dict(zip(texts, ranks[key], strict=True)))
    page.get_by_role("heading", name="Thank you").wait_for()
    return meant


def judge_rankings(page: Page, count: int) -> list[dict[str, int]]:
    """What was meant of each ranking: places by text. One is filled in when the page is loaded again."""
    meant: list[dict[str, int]] = []
    for number in range(count):
        asked(page, number)
        press(page, *(["J", "J"], ["3", "1", "2"], ["j", "K", "j", "=", "j", "="])[number % 3])
        found = [each.split(": ") for each in order_of(page)]
        meant.append({text: int(place) for place, text in found})
        if number == 4:
            page.reload()
        press(page, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    return meant


def test_an_hours_work_by_keyboard_alone(store: Store, fill: Callable[..., int], address: str, page: Page):
    pairs, rankings = fill(store, items=20), fill(store, k=3, items=10)
    enter(store, page, address)
    sign_in(page)
    page.get_by_role("link", name="Start: Round of 2").press("Enter")
    of_pairs = judge_pairs(page, 20)
    page.get_by_role("link", name="All campaigns").press("Enter")
    page.get_by_role("link", name="Start: Round of 3").press("Enter")
    of_rankings = judge_rankings(page, 10)
    for campaign, meant, k in ((pairs, of_pairs, 2), (rankings, of_rankings, 3)):
        with store.reading() as read:
            said = {each.prompt_id: each for each in queries.judgements(read, campaign)}
        assert len(said) == len(meant)
        for number, places in enumerate(meant):
            own = tuple(places[f"answer {place} to {number}"] for place in range(k))
            assert said[f"p{number}"].ranks == own, f"{number}: {places}"
    assert {tuple(sorted(places.values())) for places in of_rankings} == {(1, 2, 3), (1, 1, 1)}


def test_texts_and_guideline_by_keyboard(store: Store, fill: Callable[..., int], address: str, page: Page):
    """A guideline opens beside the task, texts change their look, code is copied, and what was chosen stays."""
    code = "```python\nprint('a < b')\n```"
    campaign = fill(store, items=1, texts=(f"**one**\n\n{code}\n\n$x^2$", "two [x](https://e.org)"))
    enter(store, page, address)
    (amina,) = [person for person, _ in service.people(store)]
    service.change_settings(store, campaign, overlap=1, closed=False, guideline="Be *fair*.", by=amina)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{address}/campaigns/{campaign}")
    assert not page.get_by_text("Be fair.").is_visible()
    press(page, "g")
    assert page.get_by_text("Be fair.").is_visible()
    press(page, "?")
    assert not page.get_by_text("Be fair.").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "print('a < b')\n"
    assert page.locator("input[name=choice]:checked").count() == 0
    two = page.locator(".answer", has_text="two")
    two.locator(".text").click()
    assert two.locator("input").is_checked()
    press(page, "w")
    page.get_by_text("**one**").wait_for()
    page.wait_for_load_state()
    assert two.locator("input").is_checked()
    press(page, "w")
    page.locator("strong", has_text="one").wait_for()


@pytest.mark.parametrize("code", ["es", "de"])
def test_other_languages_fit_and_are_chosen_by_hand(
    store: Store, fill: Callable[..., int], address: str, page: Page, code: str
):
    """Longer words make no page wider than the screen, and the script speaks as the page does."""
    campaigns = [
        fill(store, asks=Asks(strength=True, edits=True)),
        fill(store, k=4),
        fill(store, kind="scale", asks=Asks(axes=("helpful",))),
        fill(store, k=1, kind="good_bad"),
    ]
    page.goto(f"{address}/join?once={service.invite(store, 'owner')}")
    page.locator("#name").fill("Amina")
    page.locator("#password").fill("correct horse")
    page.locator("#language").select_option(code)
    page.locator("footer button").click()
    page.wait_for_selector(f"html[lang={code}]")
    assert "/join?once=" in page.url, "the link is not lost"
    page.locator("#name").fill("Amina")
    page.locator("#password").fill("correct horse")
    press(page, "Enter")
    page.get_by_text({"es": "Qué hay que evaluar", "de": "Was zu bewerten ist"}[code]).wait_for()
    first = f"/progress/{campaigns[0]}"
    pages = ["/", "/people", "/exports", "/log", "/progress", first, f"{first}/models", f"{first}/people"]
    pages += [f"{first}/assistance"]
    pages += [f"{first}/settings", f"/campaigns/{campaigns[0]}/disagreements", "/nowhere"]
    for path in [*(f"/campaigns/{campaign}" for campaign in campaigns), *pages]:
        page.goto(address + path)
        page.eval_on_selector_all("main details", "all => all.forEach((each) => { each.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page.goto(f"{address}/campaigns/{campaigns[1]}")
    page.wait_for_load_state()
    press(page, "J")
    moved = {"es": "Respuesta 1: puesto 2 de 4.", "de": "Antwort 1: Platz 2 von 4."}[code]
    assert page.get_by_role("status").inner_text() == moved
    page.locator("#language").focus()
    press(page, "Enter")  # in the foot it is the browser's key, and judges nothing
    assert page.get_by_role("status").inner_text() == moved


@pytest.mark.parametrize("given", ["before", "after"])
def test_critiques_by_keyboard(store: Store, address: str, page: Page, given: str):
    """Before: they stand there at first. After: a first judgement without, then a second look that one key confirms."""
    campaign = scene(store, given)
    enter(store, page, address)
    page.goto(f"{address}/campaigns/{campaign}")
    for number, keys in enumerate(([], ["2"])):
        page.get_by_text(f"Question {number}", exact=True).wait_for()
        page.wait_for_load_state()
        assert page.locator("aside.critique").count() == (2 if given == "before" else 0)
        press(page, "1", "Enter")
        if given == "after":
            page.get_by_text("What you said is saved.").wait_for()
            page.wait_for_load_state()
            assert page.get_by_role("complementary", name="What a model says of answer 2").is_visible()
            assert page.get_by_role("status").inner_text().startswith("A second look")
            assert fits(page)
            press(page, *keys, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    with store.reading() as read:
        kept, changed = queries.judgements(read, campaign)
        orders = [tasks.find(read, each.task).order for each in (kept, changed)]
    assert (kept.aided, changed.aided) == (True, True)
    assert [bool(each.supersedes) for each in (kept, changed)] == [given == "after"] * 2
    wanted = [(1, 2), (2, 1) if given == "after" else (1, 2)]
    assert [
        tuple(each.ranks[at] for at in order) for each, order in zip((kept, changed), orders, strict=True)
    ] == wanted


def prefer(page: Page, model: str) -> None:
    """By the key of the place in which it is shown."""
    page.locator(".answer", has_text=f"{model} says").wait_for()
    page.wait_for_load_state()
    first = page.locator(".answer").first.inner_text()
    press(page, "1" if f"{model} says" in first else "2", "Enter")
    page.locator("#message").wait_for()


def test_three_turns_with_two_models(app: FastAPI, store: Store, address: str, page: Page, tmp_path: Path):
    """A reload in the middle loses nothing, and nothing jumps when the answers come."""
    with hidden("ape", "bee") as models:
        campaign = live(store, models, openings=("Hail!", "A long opening, " * 30))
        enter(store, page, address)
        page.goto(f"{address}/campaigns/{campaign}")
        for turn in range(3):
            page.wait_for_selector("#message:focus")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            page.keyboard.type(f"question {turn}")
            models["bee"].waiting.clear()
            if turn == 1:
                page.reload()  # what was written is still there
                page.wait_for_selector("#message:focus")
                assert page.locator("#message").input_value() == "question 1"
            press(page, "Enter")
            page.get_by_role("heading", name="Both models are writing…").wait_for()
            page.get_by_text("Their answers come together").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            if turn == 1:
                page.reload()
                page.get_by_role("heading", name="Both models are writing…").wait_for()
                page.get_by_text("question 1", exact=True).wait_for()
            page.wait_for_load_state()  # before its styles are there a page lies otherwise
            above = page.locator("#last").bounding_box()
            models["bee"].waiting.set()
            page.get_by_text(f"bee says: question {turn}").wait_for()
            assert page.locator("#last").bounding_box() == above, "nothing jumps"
            prefer(page, "bee")
        page.get_by_role("button", name="End the conversation").click()
        page.get_by_role("heading", name="A new conversation").wait_for()
        page.wait_for_load_state()
        assert page.locator("#message").input_value() == ""
        assert [len(model.asked) for model in models.values()] == [3, 3]
        export(store, "Arena", "preference", tmp_path / "out")
        rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
        assert [row["chosen"][0]["content"] for row in rows] == [f"bee says: question {turn}" for turn in range(3)]
        _, (board,) = service.standings(store, campaign)
        assert [line.model for line in board.lines] == ["bee", "ape"]
        settled(app)
