"""Choosing a campaign's next items: by judgements so far, by an ensemble, by chance; and the curve of what it saves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from burnish.chat.tokenizer import Tokenizer
from burnish.errors import ConfigError, DataError, StoreError
from burnish.label import service
from burnish.label.campaigns import ask, take_in
from burnish.label.summary import summary
from burnish.models.load import load_trainable, save_trainable
from burnish.models.tiny import write_tiny
from burnish.pipeline.frozen import asked_side, principal, read_features
from burnish.pipeline.label_curve import WAYS, Plan, World, curve, simulated, table
from burnish.pipeline.suggest import Wanted, comparisons, suggest, told
from burnish.records import durable
from burnish.records.entries import Entry, Vote
from burnish.store import queries
from burnish.store.session import Store, open_store
from burnish.types import Message, Prompt, Silent


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "preferences.db")
    yield opened
    opened.close()


def entry(number: int, *votes: Vote) -> Entry:
    prompt = Prompt(id=f"p{number:02}", messages=(Message(role="user", content=f"Question {number}"),))
    texts = (f"Yes, {'very ' * (number % 5)}much.", f"No {number}.")
    return Entry(where="here", prompt=prompt, completions=texts, votes=votes)


def selections(store: Store) -> dict[str, dict[str, object]]:
    with store.reading() as session:
        metas = {item.prompt.id: item.prompt.meta for item in queries.items(session, 1)}
    return {name: meta["selection"] for name, meta in metas.items() if "selection" in meta}


def test_before_anybody_judged_all_is_by_chance(store: Store):
    ask(store, "one", [entry(n) for n in range(20)], question="?", overlap=1)
    found = suggest(store, "one", Wanted(budget=5), reward=None, model="nowhere", progress=Silent())
    assert (found["by"], found["by_measure"], found["by_chance"]) == ("chance", 0, 5)
    assert "nobody has judged" in told(found)
    assert {each["probability"] for each in selections(store).values()} == {0.25}
    person = service.join(store, "Amina", "person")
    first: list[str] = []
    for number in range(5):
        task = service.next_task(store, 1, person)
        assert task
        first.append(task.prompt.id)
        service.submit(store, task=task.id, submission=f"s{number}", ranks=[1, 2])
    assert first == found["prompts"]


def test_by_what_was_judged_so_far(store: Store, tiny: Path):
    ask(store, "one", [entry(n) for n in range(20)], question="?", overlap=1)
    take_in(store, "one", [entry(n, Vote(who="a", ranks=(1, 2))) for n in range(6)])
    found = suggest(store, "one", Wanted(budget=5), reward=None, model=str(tiny), progress=Silent())
    assert (found["learned_from"], found["of"], found["by_measure"], found["by_chance"]) == (6, 14, 4, 1)
    assert not set(found["prompts"]) & {f"p{n:02}" for n in range(6)}
    chances = sorted(each["probability"] for each in selections(store).values())
    assert chances == [0.1, 1, 1, 1, 1]


def ensemble(folder: Path, tiny: Path, members: int) -> Path:
    tokenizer = Tokenizer.load(tiny)
    with durable.folder(folder) as aside:
        for number in range(members):
            torch.manual_seed(number)
            place = aside / f"member-{number + 1:02d}" if number else aside
            place.mkdir(exist_ok=True)
            module = load_trainable(tiny, dtype=torch.float32, lm=False, score=True)
            save_trainable(module, place, tokenizer, dtype=torch.float32)
            durable.write_json(place / "normalisation.json", {"mean": 0.0, "std": 1.0})
    return folder


def test_by_an_ensemble(store: Store, tiny: Path, tmp_path: Path):
    ask(store, "one", [entry(n) for n in range(8)], question="?", overlap=1)
    wanted = Wanted(budget=4, floor=0.0, by="disagreement")
    reward = ensemble(tmp_path / "reward", tiny, 3)
    found = suggest(store, "one", wanted, reward=reward, model="nowhere", progress=Silent())
    assert found["by_measure"] == 4
    again = suggest(store, "one", wanted, reward=reward, model="nowhere", progress=Silent())
    assert sorted(again["prompts"]) == sorted(found["prompts"])


def test_a_single_member_disputes_nothing(store: Store, tiny: Path, tmp_path: Path):
    ask(store, "one", [entry(0)], question="?", overlap=1)
    with pytest.raises(ConfigError, match="one member"):
        suggest(store, "one", Wanted(budget=1), reward=ensemble(tmp_path / "r", tiny, 1), model="", progress=Silent())


def test_where_all_is_judged_nothing_is_left_to_choose(store: Store):
    take_in(store, "one", [entry(0, Vote(who="a", ranks=(1, 2)))])
    with pytest.raises(StoreError, match="judged or skipped"):
        suggest(store, "one", Wanted(budget=1), reward=None, model="", progress=Silent())


def test_agreement_is_weighted_back_to_all_items(store: Store):
    """Two chosen for certain on which people differ, one by chance in ten on which they agree: of all items 10/12."""
    votes = {0: ((1, 2), (2, 1)), 1: ((1, 2), (2, 1)), 2: ((1, 2), (1, 2))}
    entries = []
    for number, (one, other) in votes.items():
        made = entry(number, Vote(who="a", ranks=one), Vote(who="b", ranks=other))
        chance = {"selection": {"probability": 1.0 if number < 2 else 0.1, "by": "value", "of": 12}}
        prompt = Prompt(id=made.prompt.id, messages=made.prompt.messages, meta=chance)
        entries.append(Entry(where="here", prompt=prompt, completions=made.completions, votes=made.votes))
    take_in(store, "one", entries)
    found = summary(store, "one")
    assert found.agreeing
    assert found.agreeing.value == pytest.approx(1 / 3)
    assert found.agreeing_of_all
    assert found.agreeing_of_all.value == pytest.approx(10 / 12)


def test_every_two_answers_are_a_comparison():
    rows = [np.array([[1.0], [3.0], [6.0]])]
    difference, won = comparisons(rows, [(1, 2, 2)])
    assert difference.ravel().tolist() == [-2.0, -5.0, -3.0]
    assert won.tolist() == [1.0, 1.0, 0.5]


def test_features_are_of_the_answer_and_of_nothing_beside_it(tiny: Path):
    from burnish.chat.render import Renderer

    module = load_trainable(tiny, dtype=torch.float32, lm=False, score=True)
    renderer = Renderer(Tokenizer.load(tiny))
    prompts = [entry(n).prompt for n in range(3)]
    answers = [entry(n).completions for n in range(3)]
    together = read_features(module, asked_side(renderer, prompts, answers), Silent())
    alone = read_features(module, asked_side(renderer, prompts[1:2], [answers[1][1:]]), Silent())
    assert together[1].shape[0] == 2
    assert together[1][1] == pytest.approx(alone[0][0], abs=1e-4)


def test_principal_components_have_one_scale():
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((2, 5)) * [100, 10, 1, 0.1, 0] for _ in range(50)]
    found = np.concatenate(principal(rows, 3))
    assert found.shape == (100, 3)
    assert found.mean(0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert found.var(0) == pytest.approx([1 / 3] * 3)


def world(pairs: int, seed: int = 0) -> World:
    """Features of which one decides."""
    rng = np.random.default_rng(seed)
    difference = rng.standard_normal((pairs, 8))
    difference[:, 0] = np.abs(difference[:, 0])
    return World(difference_NF=difference, prompts=[f"p{n}" for n in range(pairs)])


PLAN = Plan(seeds=2, most=80, error=0.0)


def test_labels_teach_and_all_ways_begin_alike(tmp_path: Path):
    found = simulated(world(400), PLAN, 1, tmp_path)
    assert tuple(found) == WAYS
    assert len({accuracies[0] for accuracies in found.values()}) == 1
    assert all(accuracies[-1] > accuracies[0] for accuracies in found.values())
    assert found == simulated(world(400), PLAN, 1, tmp_path)


def test_where_the_model_is_right_choosing_saves_labels(tmp_path: Path):
    """As many features as the linear model has, a truth that is linear in them, and a person who never errs."""
    gained: list[float] = []
    for seed in range(1, 9):
        rng = np.random.default_rng(seed)
        difference, truth = rng.standard_normal((858, 64)) * (2 / 64) ** 0.5, rng.standard_normal(64) * 3
        better = difference * np.sign(difference @ truth)[:, None]
        world = World(difference_NF=better, prompts=[f"p{n}" for n in range(858)])
        found = simulated(world, Plan(most=120, error=0.0), seed, tmp_path)
        gained.append(float(np.mean(found["information"]) - np.mean(found["chance"])))
    assert np.mean(gained) > 0.004


def test_labels_that_are_noise_teach_nothing(tmp_path: Path):
    plan = Plan(seeds=2, most=80, error=0.5)
    last = [simulated(world(400), plan, seed, tmp_path)["chance"][-1] for seed in range(1, 9)]
    assert np.mean(last) == pytest.approx(0.5, abs=0.12)


def test_too_few_pairs_are_told(tmp_path: Path):
    with pytest.raises(DataError, match="pairs to ask about"):
        simulated(world(100), PLAN, 1, tmp_path / "rows.jsonl")


def test_a_curve_from_a_file_and_its_features_are_kept(tiny: Path, tmp_path: Path):
    rows = [
        {"prompt": f"Question {n}", "chosen": f"Yes, {'very ' * (n % 7)}much.", "rejected": f"No {n}."}
        for n in range(120)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = Plan(seeds=2, most=40, error=0.0)
    found = curve(data, str(tiny), plan, tmp_path / "kept", Silent())
    assert found["labels"] == [20, 40]
    assert [len(each) for each in found["accuracy"].values()] == [2] * 3
    assert [len(each) for each in found["less_chance"].values()] == [1] * 2
    (kept,) = (tmp_path / "kept").iterdir()
    before = kept.stat().st_mtime_ns
    assert curve(data, str(tiny), plan, tmp_path / "kept", Silent()) == found
    assert kept.stat().st_mtime_ns == before
    rows = table(found)
    assert [row[0] for row in rows] == ["labels", 20, 40]
    assert len({len(row) for row in rows}) == 1
