"""The labelling page in a real browser, by keyboard, at the width of a desk and of a phone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn
from fastapi import FastAPI

from burnish.label import service
from burnish.store import queries
from burnish.store.session import Store

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM} (apt install chromium)")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
WIDTHS = {"desk": (1280, 800), "phone": (390, 844)}


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A fresh browser of that width; what it complains of on its console fails the test."""
    width, height = WIDTHS[request.param]
    complaints: list[str] = []
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=FLAGS, viewport={"width": width, "height": height}
        )
        page = context.pages[0]
        page.set_default_timeout(15_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        context.close()
    assert complaints == []


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def judge_three_pairs(page: Page) -> None:
    for number, keys in enumerate((["1"], ["2", "t"], ["s"])):
        page.get_by_text(f"Question {number}", exact=True).wait_for()
        page.wait_for_load_state()  # the script has run
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        press(page, "Enter")  # nothing is chosen yet: nothing is sent
        assert page.get_by_role("status").inner_text() == "Choose 1, 2 or t first."
        press(page, *keys, "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()


def test_judging_by_keyboard(store: Store, fill: Callable[..., int], address: str, page: Page):
    pairs, ranking = fill(store, items=3), fill(store, k=4, items=1)
    page.goto(f"{address}/join?once={service.invite(store, 'annotator')}")
    page.wait_for_selector("#name:focus")
    page.keyboard.type("Amina")
    press(page, "Tab")
    page.keyboard.type("correct horse")
    press(page, "Enter")
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
    page.get_by_role("link", name="Settle p4").press("Enter")
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
