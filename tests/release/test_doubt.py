"""When a run's reward models may be guessing: what is said of it, and which figures show nothing then."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.release.doubt import doubtful, doubts

SURE = {"value": 0.74, "low": 0.69, "high": 0.79, "n": 50, "mde": 0.07}
GUESSES = {"value": 0.55, "low": 0.5, "high": 0.6, "n": 50, "mde": 0.07}
WORSE = {"value": 0.4, "low": 0.35, "high": 0.45, "n": 50, "mde": 0.07}
OWN = {"model": {"combine": "mean"}, "weight": 1.0}
OTHER = {"model": {"combine": "mean", "folder": "elsewhere"}, "weight": 1.0}


def evidence(accuracy: Any, watcher: Any = None, **settings: dict[str, Any]) -> dict[str, Any]:
    stages: dict[str, Any] = {name: {"settings": found, "facts": {}} for name, found in settings.items()}
    stages["reward"] = {"settings": {}, "facts": {"accuracy": accuracy, "watcher": watcher}}
    return {"stages": stages}


def test_models_that_know_something_raise_no_doubt() -> None:
    found = evidence(SURE, SURE, ppo={}, evaluate={})
    assert (doubts(found), doubtful(found)) == ([], set())
    assert doubts({"stages": {}}) == [], "no reward model, no doubt"


def test_each_model_that_may_be_guessing_is_named_with_its_figures() -> None:
    [pays] = doubts(evidence(GUESSES, SURE, ppo={"rewards": None}, grpo={"rewards": [OWN]}))
    assert pays.replace("\N{NO-BREAK SPACE}", " ").startswith(
        "The reward model that pays PPO and GRPO puts 55.0% (95% interval 50.0% to 60.0%, n = 50) of the pairs"
    )
    assert "Nothing is concluded from what the run's reward models say of policies." in pays
    [watches] = doubts(evidence(SURE, WORSE, ppo={}))
    assert watches.startswith("The reward model that watches puts 40.0%")
    assert len(doubts(evidence(GUESSES, GUESSES))) == 2


@pytest.mark.parametrize("rewards", [[OTHER], [{**OWN, "weight": 0.0}], [{"exact": {}, "weight": 1.0}]])
def test_a_policy_that_others_pay_is_not_named(rewards: list[dict[str, Any]]) -> None:
    [found] = doubts(evidence(GUESSES, ppo={"rewards": rewards}, distill={}))
    assert found.startswith("The reward model puts 55.0%")


BY_MODEL = {"reward", "winrate", "held_out_reward"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, BY_MODEL),
        ({"rubric": "shop.yaml"}, {"held_out_reward"}),
        ({"rewards": [{"exact": {}, "weight": 1.0}]}, {"held_out_reward"}),
        ({"rewards": [OTHER]}, {"held_out_reward"}),
        ({"rewards": [OWN]}, BY_MODEL | {"model"}),
        ({"rewards": [{**OWN, "name": "rm", "weight": 0.0}]}, {"held_out_reward", "rm"}),
        ({"rewards": [{**OWN, "name": "rm"}], "rubric": "shop.yaml"}, {"held_out_reward", "rm"}),
    ],
)
def test_what_they_measured_shows_nothing_and_what_others_measured_does(
    settings: dict[str, Any], expected: set[str]
) -> None:
    assert doubtful(evidence(GUESSES, SURE, evaluate=settings)) == expected
    assert doubtful(evidence(SURE, GUESSES, evaluate=settings)) == expected, "either model's doubt falls on both"
