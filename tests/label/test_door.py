"""Links, passwords, visits and names."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from burnish.errors import StoreError
from burnish.label import door, service
from burnish.label.door import clean_name
from burnish.label.passwords import LOCKED, TRIES, Guesses, fits, hashed
from burnish.store import people
from burnish.store.session import Store

from .conftest import PASSWORD, Browser

Enter = Callable[..., Browser]
HERE = "http://127.0.0.1:8600"


def test_a_link_lets_one_person_in(app: FastAPI, store: Store):
    link = f"/join?once={service.invite(store, 'annotator')}"
    with TestClient(app, base_url=HERE) as client, TestClient(app, base_url=HERE) as stranger:
        browser = Browser(client=client)
        browser.open(link)
        assert "Amina" in browser.send(name="  Amina ", password=PASSWORD).text
        cookie = browser.page.history[0].headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "secure" not in cookie
        for path in (link, "/", "/join?once=", "/join?once=guess"):
            assert stranger.get(path).status_code == 401
        assert stranger.post("/join", data={"once": "guess", "name": "Eve", "password": PASSWORD}).status_code == 401


def test_over_https_the_cookie_stays_there(app: FastAPI, store: Store):
    with TestClient(app, base_url="https://localhost") as client:
        browser = Browser(client=client)
        browser.open(f"/join?once={service.invite(store, 'annotator')}")
        browser.send(name="Amina", password=PASSWORD)
        assert "secure" in browser.page.history[0].headers["set-cookie"].lower()


def test_what_cannot_be_used_does_not_use_up_the_link(store: Store, app: FastAPI):
    service.join(store, "Panel member 1", "simulated")
    with TestClient(app, base_url=HERE) as client:
        browser = Browser(client=client)
        browser.open(f"/join?once={service.invite(store, 'annotator')}")
        for name, password, words in (
            ("Panel member 1", PASSWORD, "somebody here already"),
            ("", PASSWORD, "a name is needed"),
            ("x" * 99, PASSWORD, "at most 60"),
            ("Amina", "short", "10 to 200 characters"),
        ):
            refused = browser.send(name=name, password=password)
            assert refused.status_code == 422
            assert words in refused.text.replace("&#34;", '"').lower()
            marked = re.findall(r'<input id="(\w+)"[^>]*aria-invalid="true"[^>]* autofocus>', refused.text)
            assert marked == (["password"] if password == "short" else ["name"]), "what is wrong is where the cursor is"
        assert browser.send(name="Amina", password=PASSWORD).status_code == 200


def test_a_password_opens_and_a_wrong_one_does_not_say_which_names_there_are(app: FastAPI, enter: Enter):
    enter("Amina")
    with TestClient(app, base_url=HERE) as client:
        said = [
            client.post("/sign-in", data={"name": name, "password": "a guess at it"}) for name in ("Amina", "Nobody")
        ]
        assert [answer.status_code for answer in said] == [401, 401]
        assert said[0].text.replace("Amina", "") == said[1].text.replace("Nobody", "")
        assert client.post("/sign-in", data={"name": " Amina", "password": PASSWORD}).status_code == 200


def test_signing_in_gives_a_new_visit_and_ends_the_old_one(app: FastAPI, enter: Enter):
    """A cookie that somebody planted before the sign-in is worth nothing after it (session fixation)."""
    first = dict(enter("Amina").client.cookies)
    with TestClient(app, base_url=HERE, cookies=first) as client, TestClient(app, base_url=HERE) as thief:
        assert client.post("/sign-in", data={"name": "Amina", "password": PASSWORD}).status_code == 200
        thief.cookies.update(first)
        assert thief.get("/").status_code == 401
    with TestClient(app, base_url=HERE, cookies={"burnish_session": "planted"}) as client:
        entered = client.post("/sign-in", data={"name": "Amina", "password": PASSWORD})
        assert "planted" not in entered.history[0].headers["set-cookie"]


def test_a_visit_outlives_a_restart_and_twelve_hours_end_it(store: Store, enter: Enter):
    token = dict(enter("Amina").client.cookies)["burnish_session"]
    with store.reading() as read:
        assert people.visitor(read, token)
        assert people.visitor(read, token, datetime.now(UTC) + timedelta(hours=13)) is None


def test_a_link_for_someone_who_is_here_sets_the_password_and_ends_their_visits(
    store: Store, app: FastAPI, enter: Enter
):
    browser = enter("Amina")
    ((amina, _),) = service.people(store)
    with TestClient(app, base_url=HERE) as client:
        again = Browser(client=client)
        again.open(f"/join?once={service.invite_again(store, amina.id)}")
        assert "Amina" in again.send(password="another horse").text
        assert browser.client.get("/").status_code == 401
        assert client.post("/sign-in", data={"name": "Amina", "password": PASSWORD}).status_code == 401
    assert [person.id for person, _ in service.people(store)] == [amina.id]


def sign_in(app: FastAPI, name: str, password: str, address: str) -> str:
    """The page that somebody at this address is shown."""
    with TestClient(app, base_url=HERE, client=(address, 50000)) as client:
        return client.post("/sign-in", data={"name": name, "password": password}).text


def test_too_many_guesses_lock_a_name_however_it_is_written_and_this_machine_for_nobody(app: FastAPI, enter: Enter):
    enter("José Garcia")
    enter("Bob")
    for number in range(TRIES):
        spelled = "  ".join(["Jose\u0301", "Garcia"]) + " " * number
        assert "five minutes" not in sign_in(app, spelled, "guess guess", "127.0.0.1")
    assert "five minutes" in sign_in(app, "José Garcia", PASSWORD, "127.0.0.1")
    assert "five minutes" in sign_in(app, "José Garcia", PASSWORD, "10.0.0.9")
    assert "Sign out" in sign_in(app, "Bob", PASSWORD, "127.0.0.1")


def test_too_many_guesses_lock_an_address_for_every_name(app: FastAPI, enter: Enter):
    enter("Amina")
    for number in range(TRIES):
        assert "five minutes" not in sign_in(app, f"Nobody {number}", "guess guess", "10.0.0.9")
    assert "five minutes" in sign_in(app, "Amina", PASSWORD, "10.0.0.9")
    assert "Sign out" in sign_in(app, "Amina", PASSWORD, "10.0.0.8")


def test_guesses_that_come_at_once_are_counted_before_they_are_looked_at(
    app: FastAPI, enter: Enter, monkeypatch: pytest.MonkeyPatch
):
    enter("Amina")
    looked: list[str] = []
    all_are_here = threading.Event()

    def slow(password: str, _kept: str | None) -> bool:
        looked.append(password)
        all_are_here.wait(30)
        return False

    def guess(number: int) -> None:
        with pytest.raises(StoreError) as refused:
            app.state.desk.door.sign_in("Amina", f"guess {number}", "127.0.0.1")
        if "too many" in str(refused.value):
            all_are_here.set()

    monkeypatch.setattr(door, "fits", slow)
    with ThreadPoolExecutor(3 * TRIES) as crowd:
        list(crowd.map(guess, range(3 * TRIES)))
    assert len(looked) == TRIES


def test_a_password_that_is_changed_while_it_is_looked_at_opens_nothing(
    app: FastAPI, store: Store, enter: Enter, monkeypatch: pytest.MonkeyPatch
):
    enter("Amina")
    ((amina, _),) = service.people(store)
    link = service.invite_again(store, amina.id)

    def slow(password: str, kept: str | None) -> bool:
        app.state.desk.door.join(link, "", "another horse")
        return fits(password, kept)

    monkeypatch.setattr(door, "fits", slow)
    with pytest.raises(StoreError, match="do not belong together"):
        app.state.desk.door.sign_in("Amina", PASSWORD, "127.0.0.1")


def test_guesses_are_forgotten_after_five_minutes_and_a_right_one_is_taken_back():
    now = [0.0]
    guesses = Guesses(clock=lambda: now[0])
    for number in range(TRIES - 1):
        now[0] = float(number)
        assert guesses.begin("Amina", "there")
    for _ in range(3):  # however often somebody comes in by their own password
        assert guesses.begin("Bob", "there")
        guesses.right("Bob", "there")
    assert guesses.begin("Bob", "there")
    assert not guesses.begin("Bob", "there")
    assert guesses.begin("Amina", "elsewhere")
    assert not guesses.begin("Amina", "elsewhere")
    assert guesses.begin("Bob", "elsewhere")
    now[0] = LOCKED + TRIES
    assert guesses.begin("Amina", "there")
    assert guesses._times == {"Amina": [now[0]], "there": [now[0]]}


def test_a_password_is_kept_as_a_salted_hash():
    first, second = hashed(PASSWORD), hashed(PASSWORD)
    assert first != second
    assert first.startswith("$argon2id$")
    assert PASSWORD not in first
    assert fits(PASSWORD, first)
    assert not fits(PASSWORD + "!", first)
    assert not fits(PASSWORD, None)


def test_neither_link_nor_cookie_lies_in_the_database(store: Store, enter: Enter):
    cookie = dict(enter("Amina").client.cookies)["burnish_session"]
    link = service.invite(store, "annotator")
    with store.bare() as session:
        kept = "\n".join(session.connection().connection.driver_connection.iterdump())
    assert "Amina" in kept
    assert cookie not in kept
    assert link not in kept
    assert PASSWORD not in kept


def test_names_that_look_alike_are_the_same():
    assert clean_name("  Jose\u0301  Garcia ") == clean_name("Jos\u00e9 Garcia") == "José Garcia"


@pytest.mark.parametrize("name", ["", " \t", "x" * 61, "a\x00b", "a\u202eb"])
def test_names_that_cannot_be(name: str):
    with pytest.raises(StoreError, match="name"):
        clean_name(name)
