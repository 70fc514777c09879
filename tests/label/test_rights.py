"""Who may do what: every route of the application, against every role."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from burnish.store.session import Store
from burnish.store.views import ROLES, Role

from .conftest import Browser

PUBLIC: frozenset[str] = frozenset({"nobody", *ROLES})
SIGNED_IN = frozenset(ROLES)
JUDGES = frozenset({"owner", "manager", "adjudicator", "annotator"})
OVERSEERS = frozenset({"owner", "manager", "adjudicator", "viewer"})
ADJUDICATORS = frozenset({"owner", "manager", "adjudicator"})
MANAGERS = frozenset({"owner", "manager"})
MATRIX: dict[tuple[str, str], frozenset[str]] = {
    ("GET", "/"): PUBLIC,
    ("GET", "/join"): PUBLIC,
    ("POST", "/join"): PUBLIC,
    ("POST", "/sign-in"): PUBLIC,
    ("POST", "/language"): PUBLIC,
    ("POST", "/sign-out"): SIGNED_IN,
    ("GET", "/campaigns/{campaign}"): JUDGES,
    ("GET", "/campaigns/{campaign}/tasks/{task}"): JUDGES,
    ("POST", "/campaigns/{campaign}/tasks/{task}"): JUDGES,
    ("GET", "/campaigns/{campaign}/tasks/{task}/lesson"): JUDGES,
    ("POST", "/campaigns/{campaign}/conversation"): JUDGES,
    ("POST", "/campaigns/{campaign}/conversation/end"): JUDGES,
    ("GET", "/campaigns/{campaign}/conversation/writing"): JUDGES,
    ("GET", "/progress"): OVERSEERS,
    ("GET", "/progress/{campaign}"): OVERSEERS,
    ("GET", "/progress/{campaign}/models"): OVERSEERS,
    ("GET", "/progress/{campaign}/assistance"): OVERSEERS,
    ("POST", "/progress/{campaign}/assistance"): MANAGERS,
    ("GET", "/progress/{campaign}/people"): MANAGERS,
    ("POST", "/progress/{campaign}/people"): MANAGERS,
    ("GET", "/progress/{campaign}/settings"): MANAGERS,
    ("POST", "/progress/{campaign}/settings"): MANAGERS,
    ("GET", "/exports"): MANAGERS,
    ("GET", "/exports/{campaign}"): MANAGERS,
    ("POST", "/exports/{campaign}"): MANAGERS,
    ("POST", "/people/{person}/data"): MANAGERS,
    ("POST", "/me/data"): SIGNED_IN,
    ("GET", "/campaigns/{campaign}/disagreements"): ADJUDICATORS,
    ("GET", "/campaigns/{campaign}/disagreements/{item}"): ADJUDICATORS,
    ("POST", "/campaigns/{campaign}/disagreements/{item}"): ADJUDICATORS,
    ("GET", "/log"): MANAGERS,
    ("GET", "/people"): MANAGERS,
    ("POST", "/people/invite"): MANAGERS,
    ("POST", "/people/{person}"): MANAGERS,
    ("POST", "/people/{person}/link"): MANAGERS,
}
"""Roles that a route is open to. What one of them may do to whom is tested with the store's people."""


def routes(app: FastAPI) -> set[tuple[str, str]]:
    found = [route for route in app.routes if isinstance(route, APIRoute)]
    found += [inner for route in app.routes for inner in getattr(getattr(route, "original_router", None), "routes", [])]
    return {(method, route.path) for route in found for method in route.methods}


def csrf_of(page: str) -> str:
    return re.findall(r'name="csrf" value="([^"]+)"', page)[0]


def ask(client: TestClient, method: str, path: str, csrf: str = "", **headers: str) -> int:
    address = re.sub(r"\{\w+\}", "999999", path)
    data = {"csrf": csrf} if method == "POST" else None
    return client.request(method, address, data=data, headers=headers, follow_redirects=False).status_code


def test_every_route_has_its_row(app: FastAPI):
    assert routes(app) == set(MATRIX)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_its_routes_and_no_other(enter: Callable[..., Browser], role: Role):
    browser = enter("Someone", role)
    csrf = csrf_of(browser.open("/"))
    for (method, path), roles in sorted(MATRIX.items(), key=lambda each: each[0][1] == "/sign-out"):  # that one last
        status = ask(browser.client, method, path, csrf)
        if role in roles:  # 401 is what a door without a link or a password says to everybody, and no other page
            assert status not in ({403, 405, 500} | (set() if "nobody" in roles else {401})), f"{role} {method} {path}"
        else:
            assert status == 403, f"{role} {method} {path}"


def test_someone_who_is_not_signed_in_meets_the_door(app: FastAPI):
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        for (method, path), roles in MATRIX.items():
            status = ask(client, method, path)
            assert status == 401 or ("nobody" in roles and status < 400), f"{method} {path}"


def test_every_form_needs_its_own_visits_token_and_our_own_page(store: Store, enter: Callable[..., Browser]):
    mine, theirs = enter("Amina", "owner"), enter("Bob", "owner")
    csrf, other = csrf_of(mine.open("/")), csrf_of(theirs.open("/"))
    for (method, path), roles in MATRIX.items():
        if method == "POST" and "nobody" not in roles:
            for wrong in ("", "guess", other):
                assert ask(mine.client, method, path, wrong) == 403, path
        if method == "POST":
            for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
                assert ask(mine.client, method, path, csrf, origin=origin) == 403, path
