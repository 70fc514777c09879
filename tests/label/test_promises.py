"""What README.md says of links, roles and backups, by the commands that stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fastapi.testclient import TestClient
from typer.testing import CliRunner

from burnish.cli import app as commands
from burnish.label import service
from burnish.label.app import create_app
from burnish.store.session import Store, open_store

from .conftest import PASSWORD, Browser

README = (Path(__file__).parents[2] / "README.md").read_text()


def told(line: str, **places: str) -> str:
    """What a command that README.md has in its text prints, with these in place of the ones there."""
    assert f"`burnish {line}`" in README
    words = [places.get(word, word) for word in line.split()]
    ran = CliRunner().invoke(commands, words)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_a_link_of_the_command_line_lets_in_who_reads_these_languages(store: Store):
    said = told("label invite runs/people --role annotator --languages fr,ar", **{"runs/people": store.place})
    link = re.fullmatch(r"http://127\.0\.0\.1:8600(/join\?once=\S+)\n", said)
    assert link
    with TestClient(create_app(store), base_url="http://127.0.0.1:8600") as client:
        browser = Browser(client=client)
        browser.open(link.group(1))
        assert browser.send(name="Amina", password=PASSWORD).status_code == 200
    ((amina, _),) = service.people(store)
    assert (amina.role, amina.languages) == ("annotator", ("ar", "fr"))


def test_a_copy_is_a_database_that_the_pages_take(
    store: Store, enter: Callable[..., Browser], fill: Callable[..., int], tmp_path: Path
):
    campaign, browser = fill(store), enter("Amina")
    browser.open(f"/campaigns/{campaign}")
    browser.send(act="judge", choice="first")
    out = tmp_path / "copies" / "copy.db"
    said = told("label backup runs/people --out copy.db", **{"runs/people": store.place, "copy.db": str(out)})
    assert "whole; the last of" in said
    assert out.stat().st_mode & 0o077 == 0
    with (
        closing(open_store(out)) as copy,
        TestClient(create_app(copy), base_url="http://127.0.0.1:8600") as client,
    ):
        entered = client.post("/sign-in", data={"name": "Amina", "password": PASSWORD})
        assert "Sign out" in entered.text
        assert service.progress(copy, campaign).judged == 1
