"""The page about people."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.testclient import TestClient

from burnish.label import service
from burnish.store import queries
from burnish.store.session import Store

from .conftest import PASSWORD, Browser

Enter = Callable[..., Browser]


def post(browser: Browser, path: str, **fields: str) -> str:
    csrf = re.findall(r'name="csrf" value="([^"]+)"', browser.open("/people"))[0]
    browser.page = browser.client.post(path, data={"csrf": csrf, **fields})
    return browser.page.text


def number(store: Store, name: str) -> int:
    return next(person.id for person, _ in service.people(store) if person.name == name)


def test_a_manager_invites_someone_and_sees_them(app: FastAPI, store: Store, enter: Enter):
    manager = enter("Mona", "manager")
    page = post(manager, "/people/invite", role="annotator", languages="fr-CA, AR")
    link = re.findall(r'value="(http://[^"]+)"', page)[0]
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        guest = Browser(client=client)
        guest.open(link)
        guest.send(name="Amina", password=PASSWORD)
    page = manager.open("/people")
    assert "Amina" in page
    assert "reads ar, fr" in page
    assert link not in page


def test_what_cannot_be_meant_is_said(store: Store, enter: Enter):
    manager = enter("Mona", "manager")
    assert "not the tag of a language" in post(manager, "/people/invite", role="annotator", languages="Klingon")
    assert "only an owner" in post(manager, "/people/invite", role="owner").lower()
    assert "choose a role" in post(manager, "/people/invite", role="king").lower()
    assert "is not here" in post(manager, "/people/99", act="remove").lower()
    assert "can be done to a person" in post(manager, f"/people/{number(store, 'Mona')}", act="promote")


def test_work_is_held_and_withdrawn_and_taken_back(store: Store, enter: Enter, fill: Callable[..., int]):
    campaign = fill(store, items=2)
    manager, amina = enter("Mona", "manager"), enter("Amina")
    amina.open(f"/campaigns/{campaign}")
    amina.send(act="judge", choice="first")
    who = number(store, "Amina")
    assert service.progress(store, campaign).judged == 1
    assert "on hold" in post(manager, f"/people/{who}", act="standing", standing="held")
    assert service.progress(store, campaign).judged == 1
    assert amina.client.get("/").status_code == 401
    amina.client.post("/sign-in", data={"name": "Amina", "password": PASSWORD})
    assert "Your work is on hold" in amina.open("/")
    assert "withdrawn" in post(manager, f"/people/{who}", act="standing", standing="withdrawn")
    assert service.progress(store, campaign).judged == 0
    post(manager, f"/people/{who}", act="standing", standing="active")
    assert service.progress(store, campaign).judged == 1


def test_a_person_is_removed_and_their_judgements_stay(store: Store, enter: Enter, fill: Callable[..., int]):
    campaign = fill(store, items=2)
    owner, amina = enter("Olga", "owner"), enter("Amina")
    amina.open(f"/campaigns/{campaign}")
    amina.send(act="judge", choice="first")
    page = post(owner, f"/people/{number(store, 'Amina')}", act="remove")
    assert "Amina" not in page
    assert "removed 2" in page
    assert service.progress(store, campaign).judged == 1
    assert amina.client.post("/sign-in", data={"name": "Amina", "password": PASSWORD}).status_code == 401


def test_who_is_on_hold_looks_after_nobody(store: Store, enter: Enter):
    owner, manager = enter("Olga", "owner"), enter("Mona", "manager")
    assert "People" in manager.open("/progress")
    post(owner, f"/people/{number(store, 'Mona')}", act="standing", standing="held")
    manager.client.post("/sign-in", data={"name": "Mona", "password": PASSWORD})
    assert "People" not in manager.open("/progress")
    assert manager.client.get("/people").status_code == 403


def test_a_link_for_someone_who_is_here_ends_when_they_are_given_a_role(app: FastAPI, store: Store, enter: Enter):
    """Or a manager would come in as the owner that Anna is by now."""
    owner, manager = enter("Olga", "owner"), enter("Mona", "manager")
    enter("Anna")
    page = post(manager, f"/people/{number(store, 'Anna')}/link")
    link = re.findall(r'value="(http://[^"]+)"', page)[0]
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        assert client.get(link).status_code == 200
        post(owner, f"/people/{number(store, 'Anna')}", act="role", role="owner")
        assert client.get(link).status_code == 401


def test_a_model_is_shown_as_one_with_its_principles(store: Store, enter: Enter):
    with store.transaction() as session:
        about = {"model": "m", "principles": "It is <true>."}
        queries.add_annotator(session, "model m", "model", counts=False, about=about)
    page = enter("Mona", "manager").open("/people")
    assert "It is &lt;true&gt;." in page
    assert "beside people, counts nowhere" in page
