"""collect: {by: people}: the run waits, people judge through the service, and the same command continues."""

from __future__ import annotations

from pathlib import Path

from tiny import burnish, project, said

from burnish.label import service
from burnish.store.session import open_store


def test_a_run_waits_for_people_and_goes_on(tmp_path: Path) -> None:
    folder = project(tmp_path / "tiny")
    people = ("--until", "collect", "--set", "collect.by=people")
    command = ("run", folder / "recipe.yaml", "--out", folder / "run", *people)
    waiting = burnish(*command)
    assert waiting.returncode == 6, waiting.stderr
    assert f"burnish label serve {folder / 'run'}" in waiting.stderr
    assert "32 of 32 judgements are still to be made" in waiting.stderr
    judge_all(folder / "run" / "preferences.db", ["ines", "jon"])
    done = burnish(*command, "--json")
    assert done.returncode == 0, done.stderr
    facts = said(done)["stages"]["collect"]["facts"]
    assert (facts["judgements"], facts["annotators"], facts["by"]) == (32, 2, "people")


def judge_all(database: Path, people: list[str]) -> None:
    store = open_store(database)
    (campaign,) = service.campaigns(store)
    for name in people:
        person = service.join(store, name, "person")
        while task := service.next_task(store, campaign.id, person):
            ranks = range(1, len(task.answers) + 1)
            service.submit(store, task=task.id, submission=f"{name}-{task.id}", ranks=list(ranks), seconds=1.0)
    store.close()
