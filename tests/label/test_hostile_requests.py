"""Requests that nobody's page would send, drawn from the application's own description: none of them is our fault.

A form's fields stand in no signature, so that the description lacks them; here they are added to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings

from burnish.label import service
from burnish.label.app import create_app
from burnish.label.campaigns import converse
from burnish.label.forms import HARMS, SKIPS
from burnish.store.live import Live
from burnish.store.session import Store, open_store
from burnish.store.views import ASSISTANCE, ROLES, STANDINGS

from .conftest import PASSWORD, Browser
from .test_overview import judged
from .test_rights import csrf_of

TEXT = {"type": "string"}
PLACE = {"anyOf": [{"enum": ["1", "2", "3"]}, TEXT]}


def one_of(*values: str) -> dict[str, Any]:
    return {"anyOf": [{"enum": list(values)}, TEXT]}


FORMS: dict[str, dict[str, Any]] = {
    "/join": {"name": TEXT, "password": TEXT},
    "/sign-in": {"name": TEXT, "password": TEXT},
    "/sign-out": {},
    "/language": {"language": one_of("es", "de"), "here": one_of("/", "/progress")},
    "/campaigns/{campaign}/tasks/{task}": {
        "submission": one_of("one", "two"),
        "act": one_of("judge", "skip"),
        "again": one_of("1"),
        "second": one_of("1"),
        "choice": one_of("first", "second", "tie", "both_bad"),
        "reason": one_of(*SKIPS),
        "rationale": TEXT,
        "harm-1": one_of(*HARMS),
        "edit-1": TEXT,
    },
    "/campaigns/{campaign}/conversation": {
        "submission": one_of("five", "six"),
        "message": TEXT,
        "state": one_of("", "1/0/0", "1/0/1"),
        "language": one_of("fr"),
    },
    "/campaigns/{campaign}/conversation/end": {"conversation": one_of("1", "2")},
    "/campaigns/{campaign}/disagreements/{item}": {
        "submission": one_of("three", "four"),
        "over": TEXT,
        "note": TEXT,
        "rank-1": PLACE,
        "rank-2": PLACE,
    },
    "/progress/{campaign}/assistance": {"given": one_of(*ASSISTANCE), "share": one_of("0", "100")},
    "/progress/{campaign}/people": {"training": one_of("0", "1"), "pass": one_of("0", "100")},
    "/progress/{campaign}/settings": {"overlap": one_of("1", "2"), "closed": one_of("1"), "guideline": TEXT},
    "/exports/{campaign}": {
        "form": one_of("preference", "unpaired", "rankings", "snapshot", "parquet"),
        "held_out": one_of("0", "50"),
        "seed": one_of("0"),
        "licence": TEXT,
    },
    "/people/{person}/data": {},
    "/me/data": {},
    "/people/invite": {"role": one_of(*ROLES), "languages": one_of("fr, ar")},
    "/people/{person}": {
        "act": one_of("role", "standing", "remove"),
        "role": one_of(*ROLES),
        "standing": one_of(*STANDINGS),
    },
    "/people/{person}/link": {},
}
"""The fields of every form, by its address."""
HERE = {"campaign": [1, 2], "task": [1, 2, 3, 4], "item": [1, 2], "person": [1, 2]}
"""Ids that there are; the third person is who asks."""


@pytest.fixture(params=["sqlite", "postgresql"])
def busy(request: pytest.FixtureRequest, tmp_path) -> Iterator[Store]:
    """A campaign that two people judged: the first item against each other."""
    sqlite = request.param == "sqlite"
    opened = open_store(tmp_path / "preferences.db" if sqlite else request.getfixturevalue("postgres")())
    yield opened
    opened.close()


def described(app: FastAPI, csrf: str, link: str) -> dict[str, Any]:
    """The application's own description, with the forms' fields, some ids that there are, and a link that is good."""
    found = app.openapi()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"] = {"anyOf": [{"enum": HERE[parameter["name"]]}, parameter["schema"]]}
            if method == "post":
                fields = {**FORMS[path], "csrf": {"enum": [csrf]}, "once": one_of(link)}
                schema = {"type": "object", "properties": fields, "required": ["csrf"]}
                content = {"application/x-www-form-urlencoded": {"schema": schema}}
                operation["requestBody"] = {"required": True, "content": content}
    return found


def test_a_nul_is_refused_in_words(busy: Store):
    """PostgreSQL keeps no such character, so that no database here does."""
    judged(busy, {"Amina": [(1, 2)], "Bob": [(2, 1)]})
    app = create_app(busy)
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        browser = Browser(client=client)
        browser.open(f"/join?once={service.invite(busy, 'owner')}")
        csrf = csrf_of(browser.send(name="Olga", password=PASSWORD).text)
        settled = {"submission": "s", "rank-1": "1", "rank-2": "2"}
        asked = [
            client.post("/campaigns/1/disagreements/1", data={"csrf": csrf, **settled, "note": "a\0b"}),
            client.post("/campaigns/1/disagreements/1", data={"csrf": csrf, **settled, "submission": "a\0b"}),
            client.post("/progress/1/settings", data={"csrf": csrf, "overlap": "2", "guideline": "a\0b"}),
            client.post("/sign-in", data={"name": "a\0b", "password": PASSWORD}),
            client.get("/log?actor=a%00b"),
            client.get("/progress/1/models?language=%00"),
        ]
    for answer in asked:
        assert (answer.status_code, "has the character U+0000" in answer.text) == (422, True), answer.text
    assert service.settled(busy, 1) == []
    assert service.campaigns(busy)[0].guideline == ""


@pytest.mark.parametrize("examples", [3, pytest.param(100, marks=pytest.mark.proof)])
def test_whatever_is_asked_the_server_is_not_at_fault(busy: Store, examples: int):
    judged(busy, {"Amina": [(1, 2), (1, 2)], "Bob": [(2, 1), (1, 2)]})
    nobody = {name: f"http://127.0.0.1:9/v1#{name}" for name in ("a", "b")}
    converse(busy, "live", Live(models=nobody, openings=("Hail!",)), question="?")
    app = create_app(busy)
    statuses: dict[int, int] = {}
    with TestClient(app, base_url="http://127.0.0.1:8600", raise_server_exceptions=False) as client:
        browser = Browser(client=client)
        browser.open(f"/join?once={service.invite(busy, 'owner')}")
        csrf = csrf_of(browser.send(name="Olga", password=PASSWORD).text)
        cookies = dict(client.cookies)
        found = schemathesis.openapi.from_dict(
            described(app, csrf, service.invite(busy, "annotator"))
        ).get_all_operations()
        for operation in sorted((each.ok() for each in found), key=lambda each: each.path == "/sign-out"):

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy())
            def ask(case: schemathesis.Case) -> None:
                client.cookies = cookies  # whatever the answer before set
                asked = case.as_transport_kwargs(base_url="http://127.0.0.1:8600")
                del asked["cookies"]
                answer = client.request(**asked, follow_redirects=False)
                statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
                assert answer.status_code < 500, (case.as_curl_command(), answer.text)

            ask()
    print(
        f"{busy.url.get_backend_name()}: {sum(statuses.values())} requests, by answer {dict(sorted(statuses.items()))}"
    )
