"""What docs/guide/people.md says of links, roles and backups, by the commands that stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from burnish.cli import app as commands
from burnish.label import service
from burnish.label.app import create_app
from burnish.store import conversations
from burnish.store.session import Store, open_store

from .conftest import PASSWORD, Browser
from .hidden_models import hidden

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "people.md").read_text()


def told(line: str, **places: str) -> str:
    """What a command that the guide has in its text prints, with these in place of the ones there."""
    assert f"`burnish {line}`" in GUIDE
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


def test_the_commands_of_a_live_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those that stand in the guide, with addresses that there are; the pages themselves are tested elsewhere."""
    monkeypatch.chdir(tmp_path)
    section = GUIDE.partition("## Talking with two models")[2].partition("\n## ")[0]
    chat, serve, written = section.partition("```\n")[2].partition("```")[0].splitlines()
    assert serve == "burnish label serve"
    with hidden("ape", "bee") as models:
        for name, model in models.items():
            chat = re.sub(rf"http://\S+#{name}", model.address, chat)
        for _ in range(2):
            ran = CliRunner().invoke(commands, chat.split()[1:])
            assert ran.exit_code == 0, ran.output
        assert ran.stdout.splitlines()[0] == "arena: ape, bee; 0 openings"
        with closing(open_store(tmp_path / "preferences.db")) as store:
            (campaign,) = service.campaigns(store)
            (who,) = [service.join(store, "Amina", "person")]
            service.say(store, campaign.id, who, submission="s", message="Hello", state="", language="")
            talk = service.conversation(store, campaign.id, who)
            assert talk
            with store.transaction() as write:
                conversations.answer(write, talk.last, ["one", "other"])
            task = service.next_task(store, campaign.id, who)
            assert task
            service.submit(store, task=task.id, submission="t", ranks=[1, 2])
        ran = CliRunner().invoke(commands, written.replace(" --held-out 0.1", "").split()[1:])
        assert ran.exit_code == 0, ran.output
    assert len((tmp_path / "data" / "arena" / "train.jsonl").read_text().splitlines()) == 1
