"""The panel's judgements: planned, overlapping, and the same whatever was killed in between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from contexts import context_of

from burnish.errors import WaitingError
from burnish.judge.panel import PanelSettings
from burnish.label import service
from burnish.pipeline import judging
from burnish.pipeline.recipe import Collect, Recipe, Sft
from burnish.pipeline.stage import Context
from burnish.store import queries
from burnish.store.session import Store, open_store
from burnish.types import Message, Prompt

SHOP = Path(__file__).parents[2] / "recipes" / "support" / "shop.yaml"
SYSTEM = Message(role="system", content="Juniper & Moss support. Region: EU.")
META = {"region": "EU", "language": "en", "intent": "return_window", "kind": "answer", "asks": ["return_window"]}
ANSWERS = ("You have 30 days to return it, and the label is free.", "Bananas are yellow and so am I.")


def context(folder: Path, *, by: str = "panel", patient: bool = False) -> Context:
    collect = Collect(prompts="unused", rubric=str(SHOP), by=by, overlap=2, k=2)  # pyright: ignore[reportArgumentType]
    recipe = Recipe(name="t", model="m", sft=Sft(data="unused"), collect=collect)
    return context_of(recipe, folder, folder=folder / "collect", patient=patient)


def campaign(store: Store, prompts: int) -> int:
    with store.transaction() as session:
        made = queries.create_campaign(session, key="k" * 64, name="t", question="Which?", kind="pairwise", overlap=2)
        for number in range(prompts):
            asked = Message(role="user", content=f"How long may I keep fern {number} before I send it back?")
            prompt = Prompt(id=f"p{number}", messages=(SYSTEM, asked), meta=META)
            queries.add_item(session, made, prompt, [(text, "sft") for text in ANSWERS])
    return made


def judged(store: Store, made: int) -> dict[tuple[str, str], tuple[str, tuple[int, ...] | None]]:
    with store.reading() as session:
        found = queries.judgements(session, made)
    return {(said.prompt_id, said.annotator): (said.id, said.ranks) for said in found}


def test_the_plan_shares_the_work_and_mixes_the_people() -> None:
    members = PanelSettings().members
    pairs = list(judging.plan([f"p{n:03}" for n in range(100)], members, 3))
    assert len(pairs) == len({(prompt, member.name) for prompt, member in pairs}) == 300
    load = Counter(member.name for _, member in pairs)
    assert max(load.values()) - min(load.values()) <= 1
    together = Counter(
        tuple(sorted((a.name, b.name))) for p, a in pairs for q, b in pairs if p == q and a.name < b.name
    )
    assert len(together) == 10, "every two of five judge something together"


def test_the_panel_judges_every_prompt_as_often_as_asked(tmp_path: Path) -> None:
    store = open_store(tmp_path / "preferences.db")
    made = campaign(store, 10)
    here = context(tmp_path)
    assert here.recipe.collect is not None
    judging.judge(store, made, here, here.recipe.collect)
    said = judged(store, made)
    assert Counter(prompt for prompt, _ in said) == Counter({f"p{n}": 2 for n in range(10)})
    good = sum(ranks == (1, 2) for _, ranks in said.values())
    assert good >= 15, "the gold rule shines through"
    store.close()


def test_a_panel_that_was_stopped_neither_loses_nor_doubles_a_judgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_store(tmp_path / "whole.db")
    made = campaign(whole, 6)
    here = context(tmp_path)
    assert here.recipe.collect is not None
    judging.judge(whole, made, here, here.recipe.collect)

    stopped = open_store(tmp_path / "stopped.db")
    other = campaign(stopped, 6)
    submit, left = service.submit, [5]

    def sometimes(*arguments: object, **named: object) -> object:
        """Half of the stops come after the commit, half before."""
        left[0] -= 1
        if left[0] == 2:
            raise KeyboardInterrupt
        found = submit(*arguments, **named)
        if left[0] == 0:
            left[0] = 5
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(service, "submit", sometimes)
    for _ in range(20):
        try:
            judging.judge(stopped, other, here, here.recipe.collect)
            break
        except KeyboardInterrupt:
            continue
    assert judged(stopped, other) == judged(whole, made)
    whole.close()
    stopped.close()


def test_outside_a_terminal_people_are_not_waited_for(tmp_path: Path) -> None:
    store = open_store(tmp_path / "preferences.db")
    made = campaign(store, 2)
    here = context(tmp_path, by="people")
    assert here.recipe.collect is not None
    with pytest.raises(WaitingError, match="burnish label serve") as caught:
        judging.judge(store, made, here, here.recipe.collect)
    assert caught.value.exit_code == 6
    store.close()


def test_in_a_terminal_the_run_goes_on_when_people_have_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "preferences.db")
    made = campaign(store, 2)
    people = [service.join(store, name, "person") for name in ("ines", "jon")]

    def one_judges(_seconds: float) -> None:
        for person in people:
            task = service.next_task(store, made, person)
            if task:
                service.submit(store, task=task.id, submission=f"{person}-{task.id}", ranks=[1, 2], seconds=1)
                return

    monkeypatch.setattr(judging.time, "sleep", one_judges)
    here = context(tmp_path, by="people", patient=True)
    assert here.recipe.collect is not None
    judging.judge(store, made, here, here.recipe.collect)
    assert len(judged(store, made)) == 4
    store.close()
