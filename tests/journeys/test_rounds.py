"""Asking and training in rounds: what each round learned from, who answered in it, and that people may judge meanwhile.

A person who prefers the longer answer judges through the service that the pages use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import burnish, said

from burnish.errors import ConfigError, WaitingError
from burnish.label import service
from burnish.models.tiny import write_tiny
from burnish.pipeline import judging
from burnish.pipeline import rounds as loop
from burnish.store.schema import AnswerRow
from burnish.store.session import Store, open_store
from burnish.types import Sampling, Silent

RECIPE = """\
name: looped
model: model
seed: 3
dtype: float32
reward: {members: 2, held_out: 0.3, batch_size: 4, max_length: 1024, micro_tokens: 4096}
ppo: {iterations: 1, prompts_per_iteration: 2, samples_per_prompt: 2, minibatches: 1, max_new_tokens: 6,
  micro_tokens: 4096, lr: 1e-3}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    rows = [{"id": f"q{n}", "prompt": f"question {n}"} for n in range(60)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def store(place: Path) -> Iterator[Store]:
    with closing(open_store(place / "p.db")) as found:
        yield found


def judge(store: Store, most: int, name: str = "ana") -> int:
    """Judge so many of the only campaign's items, if there are as many: how many it were."""
    person, [campaign] = service.join(store, name, "person"), service.campaigns(store)
    for made in range(most):
        task = service.next_task(store, campaign.id, person)
        if task is None:
            return made
        ranks = (1, 2) if len(task.answers[0]) >= len(task.answers[1]) else (2, 1)
        service.submit(store, task=task.id, submission=f"{name}-{task.id}", ranks=ranks, seconds=1.0)
    return most


def plan(place: Path, **more: Any) -> loop.Plan:
    given = {"rounds": 2, "judgements": 24, "sampling": Sampling(temperature=1.0, max_new_tokens=6), **more}
    return loop.Plan(campaign="loop", prompts=place / "prompts.jsonl", **given)


def at(place: Path, store: Store, *, patient: bool, tell: Any = lambda stage, facts: None) -> loop.Place:
    return loop.Place(
        recipe=place / "recipe.yaml",
        overrides=(),
        out=place / "rounds",
        store=store,
        named="p.db",
        progress=Silent(),
        tell=tell,
        patient=patient,
    )


def test_labels_are_asked_for_as_christiano_did(place: Path) -> None:
    """T/(t + T) with T = 2: 1, 2/3, 1/2, 2/5, together 77/30; of 77 judgements 30, 20, 15 and 12."""
    assert plan(place, rounds=4, judgements=77, half_life=2.0).targets() == [30, 50, 65, 77]
    assert plan(place, rounds=4, judgements=8).targets() == [2, 4, 6, 8]
    assert plan(place, rounds=3, judgements=1).targets() == [1, 2, 3]


def test_each_round_learns_from_what_was_said_before_it(place: Path) -> None:
    command = ("rounds", place / "recipe.yaml", "--campaign", "loop", "--prompts", place / "prompts.jsonl")
    options = ("--judgements", "24", "--rounds", "2", "--max-new-tokens", "6", "--db", place / "p.db")
    call = (*command, *options, "--out", place / "rounds", "--json")
    first = burnish(*call)
    assert first.returncode == 6, first.stderr
    assert "12 judgements are still to be made" in first.stdout
    assert "the same command continues" in said(first)["state"]
    with closing(open_store(place / "p.db")) as store:
        [campaign] = service.campaigns(store)
        assert service.progress(store, campaign.id).items <= 24
        assert judge(store, 11) == 11
        assert burnish(*call).returncode == 6
        assert judge(store, 2) == 2
        assert burnish(*call).returncode == 6, "the second round waits for 11 more"
        log = [json.loads(line) for line in (place / "rounds" / "rounds.jsonl").read_text().splitlines()]
        assert [(each["round"], each["judgements"]) for each in log] == [(1, 13)]
        assert log[0]["stages"].keys() == {"reward", "ppo"}
        assert (place / "rounds" / "run" / "report.html").is_file()
        asked = json.loads((place / "rounds" / "round-2" / "asked.json").read_text())
        assert asked["needed"] == 11
        assert asked["first"] == 11
        judge(store, 11)
        last = burnish(*call)
        assert last.returncode == 0, last.stderr
        assert [each["judgements"] for each in said(last)["rounds"]] == [13, 24]
        before = service.progress(store, campaign.id).items
        assert burnish(*call).returncode == 0
        assert service.progress(store, campaign.id).items == before
        with store.reading() as session:
            models = {row.model for row in session.query(AnswerRow)}
    assert models == {"round-0", "round-1"}
    labels = place / "rounds" / "round-1" / "labels" / "train.jsonl"
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    assert len(rows) == 13
    assert all(len(row["judgements"]) == 1 for row in rows)


def test_people_judge_while_it_waits_and_while_it_trains(
    place: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said during the training of a round is in the next one's labels, and not in its own."""
    spoken: list[int] = []
    monkeypatch.setattr(judging, "time", SimpleNamespace(sleep=lambda seconds: judge(store, 1)))

    def tell(stage: str, facts: Mapping[str, Any]) -> None:
        spoken.append(judge(store, 2))

    found = loop.rounds(plan(place), at(place, store, patient=True, tell=tell))
    assert spoken == [2, 2, 2, 2]
    assert [each["judgements"] for each in found] == [12, 24]
    [campaign] = service.campaigns(store)
    assert service.progress(store, campaign.id).judged == 24 + 4


def test_killed_after_it_asked_it_asks_no_others(place: Path, store: Store) -> None:
    """The judgements are in the database, and that they were asked for was not written down."""
    items: list[int] = []
    for _ in range(2):
        with pytest.raises(WaitingError):
            loop.rounds(plan(place), at(place, store, patient=False))
        [campaign] = service.campaigns(store)
        items.append(service.progress(store, campaign.id).items)
        (place / "rounds" / "round-1" / "asked.json").unlink()
    assert items[0] == items[1] > 0


def test_where_nothing_is_left_to_ask_it_trains_from_what_there_is(
    place: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "prompts.jsonl").write_text("".join((place / "prompts.jsonl").read_text().splitlines(True)[:14]))
    monkeypatch.setattr(judging, "time", SimpleNamespace(sleep=lambda seconds: judge(store, 1)))
    found = loop.rounds(plan(place, judgements=40), at(place, store, patient=True))
    assert found[0]["judgements"] <= found[1]["judgements"] <= 14
    assert len(found) == 2


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (RECIPE.replace("reward:", "sft: {epochs: 1}\nreward:"), "no judgements before the first round"),
        (RECIPE.partition("ppo:")[0], "judgements in the place of its rankings"),
        ("name: a\nmodel: model\nsft: {data: prompts.jsonl}\n", "judgements in the place of its rankings"),
    ],
)
def test_a_recipe_that_cannot_be_looped_is_refused_before_anything(
    place: Path, store: Store, recipe: str, says: str
) -> None:
    (place / "recipe.yaml").write_text(recipe)
    with pytest.raises(ConfigError, match=says):
        loop.rounds(plan(place), at(place, store, patient=False))
    assert not service.campaigns(store)
