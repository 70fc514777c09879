"""What leaves the station as a file: exports, and what is kept about a person."""

from __future__ import annotations

import html
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.label import service
from burnish.label.export import export
from burnish.store.session import Store

from .conftest import Browser
from .test_rights import csrf_of

Enter = Callable[..., Browser]
Fill = Callable[..., int]


@pytest.fixture
def judged(store: Store, enter: Enter, fill: Fill) -> int:
    campaign, bob = fill(store, items=4), enter("Bob Lindqvist")
    for _ in range(3):
        bob.open(f"/campaigns/{campaign}")
        bob.send(act="judge", choice="first")
    return campaign


def post(browser: Browser, path: str, **fields: str):
    csrf = csrf_of(browser.open("/"))
    return browser.client.post(path, data={"csrf": csrf, **fields}, follow_redirects=False)


def logged(store: Store, verb: str) -> list[tuple[str, str]]:
    lines, _ = service.log(store, actor="", verb=verb, before=None)
    return [(line.actor, line.target) for line in lines]


@pytest.mark.parametrize("form", ["preference", "unpaired", "rankings", "snapshot", "parquet"])
def test_a_zip_has_the_files_of_the_command(
    store: Store, enter: Enter, judged: int, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "aside").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "aside"))
    amina = enter("Amina", "owner")
    assert f"<option>{form}</option>" in amina.open("/exports")
    answer = post(amina, f"/exports/{judged}", form=form, held_out="25", seed="1", licence="CC0-1.0")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="campaign-{judged}-{form}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        found = {Path(name).name: packed.read(name) for name in packed.namelist() if not name.endswith("/")}
    export(store, "pairwise", form, tmp_path / "out", held_out=0.25, seed=1, licence="CC0-1.0")
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert b"CC0-1.0" in found["README.md"]
    assert b"Lindqvist" not in b"".join(found.values())
    assert list((tmp_path / "aside").iterdir()) == [], "what was made aside is removed"
    (handle,) = [person.handle for person, _ in service.people(store) if person.name == "Amina"]
    assert logged(store, "campaign.export") == [("system", "pairwise"), (handle, "pairwise")]


def rows_shown(page: str) -> list[str]:
    found = re.findall(r'<div class="text written"[^>]*>(.*?)</div>', page, re.DOTALL)
    return [html.unescape(row) for row in found]


def test_the_first_rows_are_those_of_the_file(store: Store, enter: Enter, judged: int, tmp_path: Path):
    amina = enter("Amina", "owner")
    assert f'href="/exports/{judged}"' in amina.open("/exports")
    lines = len(service.log(store, actor="", verb="", before=None)[0])
    page = amina.open(f"/exports/{judged}")
    assert len(service.log(store, actor="", verb="", before=None)[0]) == lines
    shown = [json.loads(row) for row in rows_shown(page)]
    for form in ("preference", "unpaired", "rankings", "snapshot"):
        assert f"<code>{form}</code>" in page
        export(store, "pairwise", form, tmp_path / form)
        written = [json.loads(line) for line in (tmp_path / form / "train.jsonl").read_text().splitlines()]
        assert len(written) >= 3
        assert [row in shown for row in written] == [place < 3 for place in range(len(written))]


def test_long_and_hostile_texts_are_cut_and_inert(store: Store, enter: Enter, fill: Fill):
    texts = ("<script>alert(1)</script>" + "x" * 5000, "\u202ebackwards")
    campaign, bob = fill(store, items=30, texts=texts), enter("Bob")
    for _ in range(25):
        bob.open(f"/campaigns/{campaign}")
        bob.send(act="judge", choice="tie")
    page = enter("Amina", "owner").open(f"/exports/{campaign}")
    assert "<script>alert" not in page
    assert "U+202E" in page
    assert "\u202e" not in page
    assert len(page) < 60_000
    assert "give no row of this form" in page, "of ties there are no preferences"
    assert max(len(row) for row in rows_shown(page)) <= 4001


def test_single_answers_have_their_own_forms(store: Store, enter: Enter, fill: Fill, tmp_path: Path):
    campaign = fill(store, k=1, items=3, overlap=2, kind="good_bad")
    amina = enter("Amina", "owner")
    assert "Nothing was judged yet" in amina.open(f"/exports/{campaign}")
    for name, choices in (("Bob", ("good", "good", "bad")), ("Chao", ("good", "bad", "bad"))):
        browser = enter(name)
        for choice in choices:
            browser.open(f"/campaigns/{campaign}")
            browser.send(act="judge", choice=choice)
    offered = re.findall(r"<option>(\w+)</option>", amina.open("/exports"))
    assert offered == ["unpaired", "snapshot"]
    shown = [json.loads(row) for row in rows_shown(amina.open(f"/exports/{campaign}"))]
    assert [row["label"] for row in shown] == [True, False] * 2
    answer = post(amina, f"/exports/{campaign}", form="unpaired", held_out="0", seed="0")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        found = {Path(name).name: packed.read(name).decode() for name in packed.namelist()}
    assert [json.loads(line)["label"] for line in found["train.jsonl"].splitlines()] == [True, False]
    assert "66.7%" in found["README.md"], "of three items people agree about two, though one has no row"
    refused = post(amina, f"/exports/{campaign}", form="preference", held_out="0", seed="0")
    assert (refused.status_code, "Choose one of unpaired, snapshot." in refused.text) == (422, True)


def test_what_cannot_be_exported_is_said(store: Store, enter: Enter, fill: Fill, judged: int):
    amina, empty = enter("Amina", "owner"), fill(store, k=3)
    assert f'action="/exports/{empty}"' not in amina.open("/exports"), "nothing was judged there"
    asked = {"form": "preference", "held_out": "0", "seed": "0"}
    for path, fields, says in (
        (f"/exports/{empty}", asked, "nothing"),
        (f"/exports/{judged}", asked | {"form": "<i>"}, "no such form"),
        (f"/exports/{judged}", asked | {"held_out": "100"}, "from 0 to 99"),
        (f"/exports/{judged}", asked | {"licence": "x" * 101}, "more than 100"),
    ):
        answer = post(amina, path, **fields)
        assert answer.status_code == 422
        assert re.search(says, answer.text, re.IGNORECASE), answer.text
    assert logged(store, "campaign.export") == []


def test_a_person_has_what_is_kept_about_them(store: Store, enter: Enter, judged: int):
    amina, bob = enter("Amina", "owner"), enter("Chao")
    people = {person.name: person for person, _ in service.people(store)}
    theirs = post(amina, f"/people/{people['Bob Lindqvist'].id}/data")
    found = json.loads(theirs.text)
    assert found["account"]["name"] == "Bob Lindqvist"
    assert len([task for task in found["tasks"] if task["judgements"]]) == 3
    assert "attachment" in theirs.headers["content-disposition"]
    assert "All that is kept about me" in bob.open("/")
    assert json.loads(post(bob, "/me/data").text)["account"]["name"] == "Chao"
    assert post(bob, f"/people/{people['Amina'].id}/data").status_code == 403
    by = {name: person.handle for name, person in people.items()}
    assert logged(store, "annotator.data") == [(by["Chao"], by["Chao"]), (by["Amina"], by["Bob Lindqvist"])]
