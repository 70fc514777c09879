"""How far a campaign is, and how its people agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import event

from burnish.label import service
from burnish.label.agreement import agreement
from burnish.store import queries
from burnish.store.details import Details
from burnish.store.session import Store
from burnish.store.views import Judgement
from burnish.types import Message, Prompt

from .conftest import Browser


def judged(store: Store, opinions: dict[str, list[tuple[int, ...]]], tags: tuple[str, ...] = ("en",)) -> int:
    """A campaign on whose items people said this, in the answers' own order."""
    rows = next(iter(opinions.values()))
    kind = "pairwise" if len(rows[0]) == 2 else "ranking"
    with store.transaction() as write:
        campaign = queries.create_campaign(
            write, key="k", name="Round 1", question="?", kind=kind, overlap=len(opinions)
        )
        for number, row in enumerate(rows):
            meta = {"language": tags[number % len(tags)]}
            prompt = Prompt(id=f"p{number:03}", messages=(Message(role="user", content="?"),), meta=meta)
            queries.add_item(write, campaign, prompt, [(f"answer {n}", "m") for n in range(len(row))])
    for name, ranks in opinions.items():
        who = service.join(store, name, "person")
        for number, row in enumerate(ranks):
            task = service.next_task(store, campaign, who, prompt_id=f"p{number:03}")
            assert task
            shown = [row[position] for position in task.order]
            service.submit(store, task=task.id, submission=f"{name} {number}", ranks=shown, seconds=float(number))
    return campaign


def test_two_who_agree_and_one_who_says_the_opposite(store: Store):
    order = [(1, 2), (2, 1)] * 10
    campaign = judged(store, {"Amina": order, "Bob": order, "Chen": [(b, a) for a, b in order]}, ("en", "fr-CA"))
    found = service.agreement(store, campaign)
    assert [part.name for part in found.parts] == ["all", "en", "fr"]
    everything = found.parts[0]
    assert everything.items == 20
    assert everything.agreeing
    assert everything.agreeing.value == pytest.approx(1 / 3)  # one of three couples agrees, always
    assert everything.alpha
    # In each of 20 units 2 of 3 agree; pairs within a unit: 2 alike, 4 unlike of 6. Chance: 2·30·30/(60·59).
    assert everything.alpha.value == pytest.approx(1 - (4 / 6) / (2 * 30 * 30 / (60 * 59)))
    assert [couple[:2] for couple in found.couples][-1] == ("Amina", "Bob")
    assert [couple[3] for couple in found.couples] == [-1.0, -1.0, 1.0]
    assert found.raters[0].handle == "Chen"
    assert [round(rater.accuracy, 6) for rater in found.raters] == [0, 1, 1]
    assert found.raters[1].seconds == 9.5


def test_rankings_are_compared_two_by_two(store: Store):
    campaign = judged(store, {"Amina": [(1, 2, 3)] * 4, "Bob": [(1, 3, 2)] * 4})
    (only,) = service.agreement(store, campaign).parts
    assert only.agreeing
    assert only.agreeing.value == pytest.approx(2 / 3)
    assert only.agreeing.n == 4


def test_only_what_is_compared_is_read(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Of a hundred thousand items, a thousand are compared, and no text."""
    campaign = judged(store, {"Amina": [(1, 2)] * 6, "Bob": [(1, 2)] * 3 + [(2, 1)] * 3}, ("en", "fr"))
    asked: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    monkeypatch.setattr("burnish.label.agreement.MOST", 4)
    found = service.agreement(store, campaign)
    assert [(part.name, part.items) for part in found.parts] == [("all", 4), ("en", 2), ("fr", 2)]
    assert found.parts[0].agreeing
    assert found.parts[0].agreeing.value == 0.75  # of p000 to p003 they order three alike
    for statement in asked:
        assert "messages" not in statement
        assert "FROM answer" not in statement
    with store.reading() as read:
        assert queries.judged_together(read, campaign, 2) == {1: "en", 2: "fr"}
        assert {said.prompt_id for said in queries.judgements_of(read, [2, 3])} == {"p001", "p002"}


def test_nobody_overlaps_yet():
    found = agreement({}, [])
    assert (found.raters, found.couples) == ((), ())
    assert found.parts[0].alpha is None


def test_the_pages_show_figures_and_nobodys_single_answers(store: Store, enter: Callable[..., Browser]):
    campaign = judged(store, {"Amina": [(1, 2), (2, 1)] * 5, "Bob": [(1, 2), (1, 2)] * 5})
    viewer = enter("Vera", "viewer")
    page = viewer.open("/progress")
    assert "<b>20</b> of 20 judgements, 0 to go" in page
    page = viewer.open(f"/progress/{campaign}")
    assert "Krippendorff" in page
    assert "0.50 <span" in page  # of 10 pairs they order 5 alike
    assert "answer 0" not in page
    assert viewer.client.get("/progress/99").status_code == 404


def test_single_answers_are_held_against_what_is_just_good_enough():
    def said(who: str, item: int, good: bool) -> Judgement:
        return Judgement(
            id=f"{who}{item}",
            submission="s",
            task=1,
            item=item,
            prompt_id=f"p{item}",
            annotator=who,
            ranks=(1,),
            skip=None,
            seconds=1.0,
            created=datetime(2026, 1, 1, tzinfo=UTC),
            supersedes=None,
            details=Details(good=good),
        )

    judgements = [said("Amina", n, n % 2 == 0) for n in range(8)] + [said("Bob", n, n % 4 == 0) for n in range(8)]
    (everything,) = agreement(dict.fromkeys(range(8)), judgements).parts
    assert everything.agreeing
    assert everything.agreeing.value == pytest.approx(6 / 8)
