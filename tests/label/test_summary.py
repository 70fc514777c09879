"""The figures of a campaign, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from burnish.label import service
from burnish.label.summary import summary
from burnish.store import elsewhere, queries
from burnish.store.session import Store


def judge(store: Store, name: str, ranks: dict[str, tuple[int, ...] | None]) -> None:
    """Ranks in the answers' own order; None skips."""
    person = service.join(store, name, "person")
    for prompt_id, own in ranks.items():
        task = service.next_task(store, 1, person, prompt_id=prompt_id)
        assert task
        if own is None:
            service.skip(store, task=task.id, submission=f"{name} {prompt_id}", reason="unsure", seconds=4.0)
        else:
            shown = [own[place] for place in task.order]
            service.submit(store, task=task.id, submission=f"{name} {prompt_id}", ranks=shown, seconds=4.0)


def advise(store: Store, ranks: dict[str, tuple[int, ...]]) -> None:
    with store.transaction() as session:
        model = queries.add_annotator(
            session, "model m", "model", counts=False, about={"model": "m", "principles": "p"}
        )
        ids = {item.prompt.id: item.id for item in queries.items(session, 1)}
        for prompt_id, own in ranks.items():
            elsewhere.record(
                session, item=ids[prompt_id], annotator=model, submission=prompt_id, ranks=own, chances=[0.7]
            )


def test_who_has_done_what_and_how_they_agree(store: Store, fill: Callable[..., int]):
    fill(store, items=3, overlap=2)
    judge(store, "Amina", {"p0": (1, 2), "p1": (1, 2), "p2": None})
    judge(store, "Bob", {"p0": (1, 2), "p1": (2, 1)})
    found = summary(store, "Round of 2")
    assert [(each.name, each.judged, each.skipped, each.seconds) for each in found.done] == [
        ("Amina", 2, 1, 4.0),
        ("Bob", 2, 0, 4.0),
    ]
    assert found.agreeing
    assert (found.agreeing.value, found.agreeing.n) == (0.5, 2)
    assert found.counts.left == 2
    assert found.as_json()["alpha"]["n"] == 2


def test_whether_the_place_decides(store: Store, fill: Callable[..., int]):
    fill(store, items=8)
    person = service.join(store, "Amina", "person")
    for number in range(8):
        task = service.next_task(store, 1, person)
        assert task
        service.submit(store, task=task.id, submission=f"s{number}", ranks=[2, 1] if number == 0 else [1, 2])
    found = summary(store, "Round of 2").first
    assert found
    assert found.value == pytest.approx(7 / 8)


def test_a_model_beside_people(store: Store, fill: Callable[..., int]):
    fill(store, items=4, overlap=1)
    judge(store, "Amina", {"p0": (1, 2), "p1": (1, 2), "p2": (2, 1)})
    advise(store, {"p0": (1, 2), "p1": (1, 1), "p2": (1, 2), "p3": (1, 2)})  # right, a tie, wrong, nobody to compare
    found = summary(store, "Round of 2")
    (model,) = found.models
    assert (model.name, model.items, model.about["principles"]) == ("model m", 3, "p")
    assert model.agreeing
    assert model.agreeing.value == pytest.approx(0.5)
    assert found.counts.judged == 3
    assert found.counts.left == 1, "a model that stands beside takes no seat"
    assert [(each.name, each.counts) for each in found.done] == [("model m", False), ("Amina", True)]


def test_nothing_is_told_of_nothing(store: Store, fill: Callable[..., int]):
    fill(store)
    found = summary(store, "Round of 2")
    assert (found.agreeing, found.alpha, found.first, found.models, found.done) == (None, None, None, (), ())
