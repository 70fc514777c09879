"""The board of models: places from duels, and the page."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from burnish.label import service
from burnish.label.board import standings
from burnish.store import queries
from burnish.store.duels import Duel
from burnish.store.session import Store
from burnish.types import Message, Prompt

from .conftest import Browser


def duels(a: str, b: str, won: int, lost: int, *, first: int = 0, lengths: tuple[int, int] = (9, 9)) -> list[Duel]:
    """So many items that a won, then so many that it lost."""
    return [
        Duel(item=first + number, a=a, b=b, won=int(number < won), tied=0, lost=int(number >= won), lengths=lengths)
        for number in range(won + lost)
    ]


def test_a_model_that_wins_three_of_four_is_placed_above():
    (board,) = standings(duels("x", "y", 150, 50))
    assert [line.model for line in board.lines] == ["x", "y"]
    assert [line.places for line in board.lines] == [(1, 1), (2, 2)]
    assert [(line.won, line.tied, line.lost) for line in board.lines] == [(150, 0, 50), (50, 0, 150)]
    # log-odds of 3 between the two, half of it above the average
    assert board.lines[0].chance.value == pytest.approx(1 / (1 + math.exp(-math.log(3) / 2)), abs=1e-3)
    assert board.undecided == ()
    assert board.longer is None


def test_models_that_are_not_told_apart_share_places():
    (board,) = standings(duels("x", "y", 5, 5) + duels("x", "z", 40, 1, first=20) + duels("y", "z", 40, 1, first=90))
    assert {line.model: line.places for line in board.lines} == {"x": (1, 2), "y": (1, 2), "z": (3, 3)}
    assert [set(each) for each in board.undecided] == [{"x", "y"}]


def test_models_that_never_met_stand_on_boards_of_their_own():
    boards = standings(duels("a", "b", 3, 1) + duels("c", "d", 3, 1, first=9) + duels("d", "e", 3, 1, first=20))
    assert [{line.model for line in board.lines} for board in boards] == [{"c", "d", "e"}, {"a", "b"}]
    assert standings([]) == []


def test_with_equal_lengths_a_model_that_wins_by_length_alone_is_no_better():
    found = duels("x", "y", 80, 20, lengths=(199, 99)) + duels("x", "y", 20, 80, first=200, lengths=(99, 199))
    found += duels("x", "y", 80, 20, first=400, lengths=(199, 99))  # x is mostly the longer one
    (plain,), (alike,) = standings(found), standings(found, same_length=True)
    assert plain.lines[0].model == "x"
    assert plain.undecided == ()
    assert len(alike.undecided) == 1
    assert alike.longer
    assert alike.longer.value == pytest.approx(0.8, abs=0.01)
    assert alike.longer.low > 0.7


def test_the_page_says_what_it_rests_on(store: Store, enter: Callable[..., Browser]):
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="pairwise", overlap=1)
        for number in range(6):
            meta = {"language": ("en", "fr")[number % 2]}
            prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content="?"),), meta=meta)
            queries.add_item(write, campaign, prompt, [("answer a", "base <1>"), ("answer b", "tuned")])
    viewer = enter("Vera", "viewer")
    page = viewer.open(f"/progress/{campaign}/models")
    assert "Nothing was judged yet" in page
    who = service.join(store, "Amina", "person")
    for number in range(6):
        task = service.next_task(store, campaign, who)
        assert task
        ranks = [2 if text == "answer a" else 1 for text in task.answers]
        service.submit(store, task=task.id, submission=str(number), ranks=ranks)
    page = viewer.open(f"/progress/{campaign}/models")
    assert page.index("tuned") < page.index("base &lt;1&gt;")
    assert "Judgements: 6. Items: 6." in page
    assert "answer a" not in page
    page = viewer.open(f"/progress/{campaign}/models?language=fr&alike=1")
    assert "Judgements: 3. Items: 3." in page
    assert "twice as long" in page
    assert viewer.client.get(f"/progress/{campaign}/models?alike=maybe").status_code == 404


def test_answers_of_one_model_make_no_board(store: Store, fill: Callable[..., int], enter: Callable[..., Browser]):
    """As a recipe's collect stage makes them: all by one model."""
    campaign, amina = fill(store), enter("Amina", "owner")
    amina.open(f"/campaigns/{campaign}")
    amina.send(act="judge", choice="tie")
    page = amina.open(f"/progress/{campaign}/models")
    assert "All answers here are by one model, <bdi>secret-model</bdi>, so that there is nothing to compare" in page
    assert "No two answers" not in page
    assert "<table" not in page


def test_models_that_answered_other_prompts_each_make_no_board(store: Store, enter: Callable[..., Browser]):
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind="pairwise", overlap=1)
        for number, model in enumerate(("base", "tuned")):
            prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content="?"),))
            queries.add_item(write, campaign, prompt, [("a", model), ("b", model)])
    amina = enter("Amina", "owner")
    for _ in range(2):
        amina.open(f"/campaigns/{campaign}")
        amina.send(act="judge", choice="first")
    page = amina.open(f"/progress/{campaign}/models")
    assert "No two answers of one prompt are by different models here. A comparison needs" in page
    assert "All answers here" not in page
