"""The pages over HTTP, as a browser without JavaScript uses them, and as an attacker does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text as sql

from burnish.errors import MachineError
from burnish.label import routes, service
from burnish.store import people, queries, tasks
from burnish.store.details import Asks
from burnish.store.session import Store
from burnish.types import Message, Prompt

from .conftest import Browser

Fill = Callable[..., int]
Enter = Callable[..., Browser]


def found(store: Store, task: int):
    with store.reading() as read:
        return tasks.find(read, task)


def judgements(store: Store, campaign: int):
    with store.reading() as read:
        return queries.judgements(read, campaign)


def shown(page: str) -> list[str]:
    return re.findall(r'dir="auto">(answer[^<]*)<', page)


@pytest.mark.parametrize(("choice", "best"), [("first", [0]), ("second", [1]), ("tie", [0, 1])])
def test_a_choice_is_stored_for_the_answer_that_was_shown_there(
    store: Store, fill: Fill, enter: Enter, choice: str, best: list[int]
):
    campaign, browser = fill(store, items=8), enter("Amina")
    preferred: dict[str, set[str]] = {}
    page = browser.open(f"/campaigns/{campaign}")
    for _ in range(8):
        texts = shown(page)
        item = texts[0].split()[-1]
        preferred[f"p{item}"] = {texts[place] for place in best}
        page = browser.send(act="judge", choice=choice).text
    assert "Thank you" in page
    for said in judgements(store, campaign):
        number = said.prompt_id[1:]
        assert said.ranks
        found = {f"answer {place} to {number}" for place, rank in enumerate(said.ranks) if rank == 1}
        assert found == preferred[said.prompt_id]


def test_a_ranking_is_stored_in_the_answers_own_order(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, k=4), enter("Amina")
    texts = shown(browser.open(f"/campaigns/{campaign}"))
    assert len(texts) == 4
    wanted = {"answer 0 to 0": 2, "answer 1 to 0": 1, "answer 2 to 0": 2, "answer 3 to 0": 3}
    places = {f"rank-{place}": str(wanted[text]) for place, text in enumerate(texts, start=1)}
    browser.send(act="judge", **places)
    (said,) = judgements(store, campaign)
    assert said.ranks == (2, 1, 2, 3)


def test_an_unfinished_ranking_comes_back_as_it_was_filled(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, k=3), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    answer = browser.send(act="judge", **{"rank-1": "3", "rank-3": "1"})
    assert answer.status_code == 422
    assert "Give a place to answer 2." in answer.text
    assert re.findall(r'name="(rank-\d)" value="(\d)" required checked', answer.text) == [
        ("rank-1", "3"),
        ("rank-3", "1"),
    ]
    assert judgements(store, campaign) == []


def test_skipping_needs_no_choice(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    assert browser.send(act="skip", reason="language").status_code == 200
    (said,) = judgements(store, campaign)
    assert (said.skip, said.ranks) == ("language", None)


def test_progress_is_shown(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    page = browser.send(act="judge", choice="tie").text
    assert "Saved." in page
    assert "<b>1</b> of 3" in page
    assert "2 to go" in page


def test_a_double_click_is_one_judgement(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    form = browser.page
    for _ in range(2):
        browser.page = form
        assert browser.send(act="judge", choice="first").status_code == 200
    assert len(judgements(store, campaign)) == 1


def test_an_old_page_sent_with_another_answer_is_explained(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    form = browser.page
    browser.send(act="judge", choice="first")
    for submission in ({}, {"submission": "another tab"}):
        browser.page = form
        late = browser.send(act="judge", choice="second", **submission)
        assert late.status_code == 409
        assert "is kept" in late.text
        assert f'href="/campaigns/{campaign}"' in late.text
    assert len(judgements(store, campaign)) == 1


def test_the_last_answer_is_shown_again_and_a_second_thought_takes_its_place(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, k=3), enter("Amina")
    first = browser.open(f"/campaigns/{campaign}")
    assert "Undo" not in first
    waiting = browser.send(act="judge", **{"rank-1": "2", "rank-2": "1", "rank-3": "2"}).text
    (undo,) = re.findall(r'id="undo" href="([^"]+)"', waiting)
    again = browser.open(undo)
    assert shown(again) == shown(first)
    assert re.findall(r'name="rank-\d" value="(\d)" required checked', again) == ["2", "1", "2"]
    assert 'id="undo"' not in again
    assert shown(browser.send(act="judge", **{"rank-1": "1", "rank-2": "1", "rank-3": "2"}).text) == shown(waiting)
    (said,) = judgements(store, campaign)
    order = found(store, said.task).order
    assert said.ranks == tuple((1, 1, 2)[order.index(position)] for position in range(3))
    assert said.supersedes
    assert service.progress(store, campaign).judged == 1


def test_a_skip_is_shown_again_and_undone_from_the_end(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, items=1), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    done = browser.send(act="skip", reason="language").text
    again = browser.open(re.findall(r'href="([^"]+)">Undo the last', done)[0])
    assert '<option value="language" selected>' in again
    assert '<details id="skip" open>' in again
    browser.send(act="judge", choice="tie")
    assert [said.ranks for said in judgements(store, campaign)] == [(1, 1)]


def test_only_ones_own_answers_are_shown_again(store: Store, fill: Fill, enter: Enter):
    campaign, amina, bob = fill(store), enter("Amina"), enter("Bob")
    amina.open(f"/campaigns/{campaign}")
    task = re.findall(r"/tasks/(\d+)", amina.page.text)[0]
    address = f"/campaigns/{campaign}/tasks/{task}"
    assert amina.client.get(address, follow_redirects=False).headers["location"] == f"/campaigns/{campaign}"
    amina.send(act="judge", choice="first")
    assert amina.client.get(address).status_code == 200
    assert bob.client.get(address).status_code == 404
    assert amina.client.get(f"/campaigns/{campaign + 1}/tasks/{task}").status_code == 404


def test_an_answer_is_written_better(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, asks=Asks(edits=True)), enter("Amina")
    page = browser.open(f"/campaigns/{campaign}")
    texts = shown(page)
    assert re.findall(r"<textarea[^>]*>\n(answer[^<]*)</textarea>", page) == texts
    browser.send(act="judge", choice="first", **{"edit-1": texts[0] + "\r\nand kinder", "edit-2": texts[1]})
    (said,) = judgements(store, campaign)
    order = found(store, said.task).order
    assert [said.details.edits[position] for position in order] == [texts[0] + "\nand kinder", None]
    again = browser.open(f"/campaigns/{campaign}/tasks/{said.task}")
    assert "and kinder</textarea>" in again


def test_flags_and_a_reason_come_with_an_answer(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, asks=Asks(rationale=True)), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    flag = {"flag-2-personal_data": "personal_data", "harm-2": "harmful:hate"}
    answer = browser.send(act="judge", choice="first", **flag)
    assert answer.status_code == 422
    assert "Say why" in answer.text
    assert '<option value="harmful:hate" selected>' in answer.text
    assert 'personal_data" checked' in answer.text
    browser.send(act="judge", choice="first", rationale="It is <b>kind</b>.", **flag)
    (said,) = judgements(store, campaign)
    place = found(store, said.task).order[1]
    assert said.details.flags[place] == ("harmful:hate", "personal_data")
    assert said.details.rationale == "It is <b>kind</b>."
    assert "It is &lt;b&gt;kind" in browser.open(f"/campaigns/{campaign}/tasks/{said.task}")


def test_a_lease_that_ran_out_is_explained(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, items=1), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    bob = service.join(store, "Bob", "person")
    later = datetime.now(UTC) + timedelta(minutes=16)
    assert service.next_task(store, campaign, bob, now=later)
    with store.transaction() as write:  # Amina's lease, as if 16 minutes had passed
        write.execute(sql("update assignment set leased_until = '2020-01-01' where annotator_id <> :bob"), {"bob": bob})
    answer = browser.send(act="judge", choice="first")
    assert answer.status_code == 409
    assert "others have judged it" in answer.text


def test_nothing_tells_which_model_wrote_an_answer(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store), enter("Amina")
    assert "secret-model" not in browser.open(f"/campaigns/{campaign}")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</textarea><svg onload=alert(1)>",
        "{{ 7 * 7 }}{% raw %}",
        "[x](javascript:alert(1))",
        "' onmouseover='alert(1)",
    ],
)
def test_markup_is_shown_as_text_everywhere(store: Store, enter: Enter, text: str):
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="x", name=text, question=text, kind="pairwise", overlap=1)
        prompt = Prompt(id="x", messages=(Message(role="user", content=text),), meta={"language": text})
        queries.add_item(write, campaign, prompt, [(text, "a"), (text + "2", "b")])
    browser = enter(text[:60])
    for path in ("/", f"/campaigns/{campaign}"):
        page = browser.open(path)
        for raw in ("<script>alert", "<img src=x", "<svg onload", "' onmouseover='", ">49<"):
            assert raw not in page
        assert "alert(1)" in page or "7 * 7" in page


def test_every_response_carries_the_headers(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store), enter("Amina")
    for path in ("/", f"/campaigns/{campaign}", "/nowhere", "/static/style.css", "/static/keys.js"):
        browser.open(path)
        headers = browser.page.headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_pages_hold_no_inline_script_or_style(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store, k=4), enter("Amina")
    for path in ("/", f"/campaigns/{campaign}", "/nowhere"):
        page = browser.open(path)
        assert not re.search(r'<script(?![^>]*(\bsrc=|type="application/json"))|<style|\sstyle=|\son\w+=', page)


def test_a_form_of_another_site_or_session_is_refused(store: Store, fill: Fill, enter: Enter):
    campaign, browser, other = fill(store), enter("Amina"), enter("Bob")
    browser.open(f"/campaigns/{campaign}")
    form, client = browser.page, browser.client
    theirs = re.findall(r'name="csrf" value="([^"]+)"', other.open("/"))[0]
    for csrf in ("", "guess", theirs):
        browser.page = form
        assert browser.send(act="judge", choice="first", csrf=csrf).status_code == 403
    action, mine = f"/campaigns/{campaign}/tasks/1", re.findall(r'name="csrf" value="([^"]+)"', form.text)[0]
    data = {"csrf": mine, "submission": "s", "act": "judge", "choice": "first"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        assert client.post(action, data=data, headers={"origin": origin}).status_code == 403
    assert client.post("/sign-out", data={}).status_code == 403
    assert judgements(store, campaign) == []
    assert client.post(action, data=data, headers={"origin": "http://127.0.0.1:8600"}).status_code == 200


def test_other_peoples_tasks_and_strange_ids_are_not_found(store: Store, fill: Fill, enter: Enter):
    campaign, amina, bob = fill(store), enter("Amina"), enter("Bob")
    amina.open(f"/campaigns/{campaign}")
    bob.open(f"/campaigns/{campaign}")
    csrf = re.findall(r'name="csrf" value="([^"]+)"', bob.page.text)[0]
    data = {"csrf": csrf, "submission": "s", "act": "judge", "choice": "first"}
    for path in ("/campaigns/1/tasks/1", "/campaigns/1/tasks/99", "/campaigns/2/tasks/2", "/campaigns/1/tasks/-1"):
        assert bob.client.post(path, data=data).status_code == 404
    for id in ("0", "-1", "99", "1e3", str(2**63), str(2**70), "%00", "1;drop table item"):
        answer = bob.client.get(f"/campaigns/{id}")
        assert answer.status_code == 404
        assert "Nothing here" in answer.text
    assert bob.client.get("/static/../app.py").status_code == 404
    assert bob.client.get("/static/%2e%2e/app.py").status_code == 404
    assert judgements(store, campaign) == []


def test_signed_out_people_see_no_task(store: Store, fill: Fill, enter: Enter):
    campaign, browser = fill(store), enter("Amina")
    browser.open("/")
    cookies = dict(browser.client.cookies)
    csrf = re.findall(r'name="csrf" value="([^"]+)"', browser.page.text)[0]
    signed_out = browser.client.post("/sign-out", data={"csrf": csrf})
    assert signed_out.status_code == 401  # signed out, and back at the door
    browser.client.cookies.update(cookies)  # a cookie that was kept is worth nothing
    assert browser.client.get(f"/campaigns/{campaign}").status_code == 401
    assert browser.client.post(f"/campaigns/{campaign}/tasks/1", data={}).status_code == 401


def test_foreign_hosts_and_long_bodies_are_refused(enter: Enter):
    client = enter("Amina").client
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.post("/sign-in", data={"name": "x" * 1_100_000}).status_code == 413
    assert client.post("/sign-in", content=iter([b"name=", b"x"])).status_code == 413  # of unknown length
    assert client.put("/", content=b"").status_code == 405


def test_a_locked_database_is_said_and_loses_nothing(
    store: Store, fill: Fill, enter: Enter, monkeypatch: pytest.MonkeyPatch
):
    campaign, browser = fill(store), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    form = browser.page

    def refuse(*_: object, **__: object) -> None:
        raise MachineError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(routes.service, "submit", refuse)
        answer = browser.send(act="judge", choice="first")
    assert answer.status_code == 503
    assert "disk is full" in answer.text
    browser.page = form
    assert browser.send(act="judge", choice="first").status_code == 200
    assert len(judgements(store, campaign)) == 1


@pytest.mark.parametrize("path", ["/", "/progress", "/people"])
def test_a_page_about_a_database_that_is_away_does_not_ask_it(enter: Enter, path: str, monkeypatch: pytest.MonkeyPatch):
    browser, asked = enter("Olga", "owner"), 0

    def away(*_: object) -> None:
        nonlocal asked
        asked += 1
        raise MachineError("the database does not answer")

    monkeypatch.setattr(people, "visitor", away)
    assert "does not answer" in browser.open(path)
    assert browser.page.status_code == 503
    assert asked == 1


def test_a_page_asks_once_who_is_there(enter: Enter, monkeypatch: pytest.MonkeyPatch):
    browser, asked, visitor = enter("Olga", "owner"), 0, people.visitor

    def counted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        return visitor(*given)

    monkeypatch.setattr(people, "visitor", counted)
    for path in ("/", "/people"):
        asked = 0
        browser.open(path)
        assert asked == 1


def test_importing_the_app_is_quick_and_brings_no_torch():
    """Beside what it is made of, of which it takes a part."""
    code = (
        "import sys, time; began = time.process_time(); "
        "import alembic.command, argon2, fastapi, jinja2, sqlalchemy.orm, uvicorn; "
        "theirs = time.process_time() - began; "
        "import burnish.label.app; ours = time.process_time() - began - theirs; "
        "print(ours / theirs, *sorted({'torch', 'transformers', 'datasets', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    ratio, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert heavy == []
    assert float(ratio) < 1.5
