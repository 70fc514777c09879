"""Hostile texts in every place that takes one, in a real browser: nothing runs, nothing is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from fastapi import FastAPI

from burnish.label import service
from burnish.label.desk import COOKIE
from burnish.label.door import LONGEST_NAME, Door, Visitor, clean_name
from burnish.label.turn import named
from burnish.store import queries
from burnish.store.details import Asks, Details
from burnish.store.session import Store
from burnish.types import Message, Prompt, Role

from .chromium import answering, browsing, needs_browser
from .conftest import PASSWORD
from .payloads import PAYLOADS, RAW

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = needs_browser
CONTROL = "http://control.example/"
LONG = 10_000
LIVE = """() => [...document.querySelectorAll("*")].filter((each) =>
  ["IFRAME", "OBJECT", "EMBED", "STYLE", "BASE", "SVG", "VIDEO", "AUDIO"].includes(each.tagName.toUpperCase())
  || (each.tagName === "SCRIPT" && each.type !== "application/json"
    && !each.getAttribute("src")?.startsWith("/static/"))
  || [...each.attributes].some(({ name, value }) => name.startsWith("on") || name === "style"
    || (/href|src|action/.test(name) && /^\\s*(javascript|data|vbscript):/i.test(value))))
  .map((each) => each.outerHTML)"""
"""Elements of a page that could act by themselves."""


@dataclass(slots=True)
class Seen:
    """What a browser was made to do."""

    dialogs: list[str] = field(default_factory=list[str])
    outgoing: list[str] = field(default_factory=list[str])
    complaints: list[str] = field(default_factory=list[str])
    """On its console; a policy that had to stop something says so there."""


@contextmanager
def watched(profile: Path, address: str) -> Iterator[tuple[Page, Seen]]:
    """A browser that reaches nothing but the address, and what it tried."""
    seen = Seen()
    with browsing(profile) as context:
        page = context.pages[0]
        page.set_default_timeout(30_000)

        def only_here(route: Route) -> None:
            if route.request.url.startswith(address):
                route.continue_()
            elif route.request.url.startswith(CONTROL):
                route.fallback()
            else:
                seen.outgoing.append(route.request.url)
                route.abort()

        context.route("**/*", only_here)
        context.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        context.on("console", lambda message: seen.complaints.append(message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        yield page, seen


def placed(text: str, place: str, longest: int = 200) -> str:
    """The text with the place's name behind it, so that a page can be asked whether it has the place at all."""
    return f"{text[: longest - len(place) - 2]} ={place}"


def owner(store: Store, text: str, number: int) -> Visitor:
    """Somebody whose name is the text."""
    door = Door(store=store)
    name = clean_name(placed(text, f"own{number}", LONGEST_NAME))
    token = door.join(service.invite(store, "owner"), name, PASSWORD)
    person = named(store, token, None, None).person
    assert person
    return Visitor(token=token, person=person)


def made(store: Store, text: str, number: int) -> tuple[int, int]:
    """Two campaigns with the text wherever a file or a recipe may have one: pairs with a gold question, and a scale."""
    answers = [(placed(text, place, LONG), placed(text, f"model-{place}")) for place in ("first", "second")]
    roles: tuple[Role, ...] = ("system", "user", "assistant", "user")
    turns = tuple(Message(role=role, content=placed(text, role, LONG)) for role in roles)
    meta = {"gold": [1, 2], "why": placed(text, "why"), "topic": text}
    named = {"name": placed(f"{number} {text}", "campaign"), "question": placed(text, "question")}
    with store.transaction() as write:
        pairs = queries.create_campaign(
            write, key=f"pairs {number}", kind="pairwise", overlap=2, asks=Asks(edits=True), **named
        )
        for prompt_id, beside in (("gold", meta), ("settled", {}), ("open", {})):
            prompt = Prompt(id=placed(text, prompt_id), messages=turns, meta=beside)
            queries.add_item(write, pairs, prompt, answers)
        axes = Asks(axes=(placed(text, "axis", 60),))
        scale = queries.create_campaign(
            write, key=f"scale {number}", name=f"Scale {number}", question="?", kind="scale", overlap=1, asks=axes
        )
        queries.add_item(write, scale, Prompt(id="p", messages=turns), answers)
    return pairs, scale


def quarrelled(store: Store, text: str, number: int, campaign: int, by: Visitor) -> list[int]:
    """Two items about which two people said opposite things, and the text; the first of them is settled with it."""
    for name, ranks in (("one", (1, 2)), ("other", (2, 1))):
        who = service.join(store, placed(f"{number} {text}", name), "person")
        for item in ("settled", "open"):
            task = service.next_task(store, campaign, who, prompt_id=placed(text, item))
            assert task
            shown, reason = [ranks[place] for place in task.order], Details(rationale=placed(text, f"reason-{name}"))
            service.submit(store, task=task.id, submission=f"{number} {name} {item}", ranks=shown, details=reason)
    found, _ = service.disputes(store, campaign, by.person)
    items = sorted(each.item.id for each in found)
    note = placed(text, "note")
    service.settle(store, items[0], by.person, submission=f"note {number}", ranks=(1, 2), note=note, over=None)
    return items


def practised(store: Store, text: str, number: int, campaign: int, by: Visitor) -> int:
    """The gold question, answered with the text for a reason and for a better answer."""
    service.set_training(store, campaign, 1, 0.0, by=by.person)
    task = service.next_task(store, campaign, by.person.id)
    assert task
    said = Details(rationale=placed(text, "rationale"), edits=(placed(text, "edit", LONG), None))
    service.submit(store, task=task.id, submission=f"gold {number}", ranks=(1, 2), details=said)
    return task.id


def pages(store: Store, text: str, number: int, by: Visitor) -> dict[str, set[str]]:
    """The places that each page shows, by the page's address."""
    pairs, scale = made(store, text, number)
    settled, still = quarrelled(store, text, number, pairs, by)
    task = practised(store, text, number, pairs, by)
    shown = {"system", "user", "assistant", "first", "second"}
    dispute = {"campaign", "question", "open", *shown, "reason-one", "reason-other"}
    progress, judging, own = f"/progress/{pairs}", f"/campaigns/{pairs}", f"own{number}"
    return {
        "/": {"campaign", "question", own},
        "/progress": {"campaign", "one", own},
        "/people": {"one", "other", own},
        "/log": {"note", own},
        f"/log?actor={quote(text)}&verb={quote(text)}": {own},
        f"{judging}/tasks/{task}": {"question", *shown, "rationale", "edit", own},
        f"{judging}/tasks/{task}/lesson": {*shown, "why", own},
        judging: {"campaign", own},
        f"/campaigns/{scale}": {*shown, "axis", own},
        progress: {"campaign", "one", "other", own},
        f"{progress}/models": {"campaign", "question", "model-first", "model-second", own},
        f"{progress}/models?language={quote(text)}": {"campaign", own},
        f"{progress}/people": {"campaign", "one", "other", own},
        f"/exports/{pairs}": {"campaign", "open", "settled", *shown, "reason-one", own},
        f"{judging}/disagreements": {*dispute, "note", own},
        f"{judging}/disagreements/{still}": {*dispute, own},
        f"{judging}/disagreements/{settled}": {"settled", "note", own},
        f"/join?once={quote(text)}": set(),
        f"/{quote(text)}": {own},
    }


def harmless(page: Page, seen: Seen, where: str) -> None:
    """What is on the page does nothing, and did nothing yet."""
    page.wait_for_load_state()
    assert page.evaluate(LIVE) == [], where
    assert (seen.dialogs, seen.outgoing) == ([], []), where
    assert [each for each in seen.complaints if "Failed to load resource" not in each] == [], where  # of a 401 or 404


def refilled(page: Page, seen: Seen, address: str, text: str) -> None:
    """The text as a draft that the page's own script fills in again, and as a name that cannot sign in."""
    page.locator("#why summary").click()
    page.locator("#rationale").fill(text)
    page.reload()
    assert page.locator("#rationale").input_value() == text
    harmless(page, seen, "draft")
    page.context.clear_cookies()
    page.goto(address)
    page.locator("#name").evaluate("(input, text) => { input.value = text }", text)
    page.fill("#password", "not the password")
    page.press("#password", "Enter")
    page.get_by_role("alert").wait_for()
    assert page.input_value("#name") == text.replace("\n", "")
    harmless(page, seen, "door")


PARTS = [pytest.param(PAYLOADS[part::5], marks=pytest.mark.proof, id=f"part {part}") for part in range(5)]


@pytest.mark.parametrize("payloads", [pytest.param(PAYLOADS[::20], id="few"), *PARTS])
def test_no_text_acts_in_any_place(app: FastAPI, store: Store, tmp_path: Path, payloads: tuple[str, ...]):
    loads = 0
    with answering(app) as address, watched(tmp_path / "profile", address) as (page, seen):
        for number, text in enumerate(payloads):
            by = owner(store, text, number)
            page.context.add_cookies([{"name": COOKIE, "value": by.token, "url": address}])
            for path, places in pages(store, text, number, by).items():
                page.goto(address + path)
                shown = page.evaluate("document.documentElement.textContent")
                assert {place for place in places if f"={place}" not in shown} == set(), path
                harmless(page, seen, path)
                loads += 1
            page.goto(f"{address}/campaigns/{service.campaigns(store)[-1].id}")
            refilled(page, seen, address, text)
    print(f"{len(payloads)} texts, {loads} pages: {len(seen.dialogs)} dialogs, {len(seen.outgoing)} requests elsewhere")


def test_the_same_texts_act_on_a_page_that_takes_them_for_its_own(app: FastAPI, tmp_path: Path):
    """So that the test above can fail: without escaping and without a policy, nearly all do something."""
    quiet, raw = list[str](), list[str]()

    def as_it_is(route: Route) -> None:
        route.fulfill(body=f"<!doctype html><main>{raw[-1]}</main>", content_type="text/html")

    with answering(app) as address, watched(tmp_path / "profile", address) as (page, seen):
        page.context.route(f"{CONTROL}**", as_it_is)
        for text in RAW:
            raw.append(text)
            before = len(seen.dialogs) + len(seen.outgoing)
            fresh = page.context.new_page()
            fresh.goto(CONTROL)
            fresh.wait_for_timeout(30)
            fresh.close()
            if len(seen.dialogs) + len(seen.outgoing) == before:
                quiet.append(text)
    assert len(quiet) <= 4, quiet
