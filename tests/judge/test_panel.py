from __future__ import annotations

import random
from itertools import combinations

import pytest
from pydantic import ValidationError

from burnish.judge.panel import Member, Panel, PanelSettings
from burnish.stats.agreement import pairwise_agreement

from .answers import prompt

ASKED = prompt("How many days to return it?", asks=("return_window",))
ANSWERS = [
    "You have 45 days to send it back to us, with pleasure.",
    "You have 30 days to return it, so there is no hurry at all.",
    "A colleague will look at that and will write to you about it.",
]


def panel(rubric, **member) -> tuple[Panel, Member]:
    only = Member(name="ana", **{"noise": 0.0, "lapse": 0.0, **member})
    return Panel(rubric, [only]), only


def test_without_noise_the_gold_rule_speaks(rubric):
    judges, ana = panel(rubric)
    assert judges.rank(ana, ASKED, ANSWERS, seed=0).ranks == (3, 1, 2)


def test_what_looks_the_same_is_a_tie(rubric):
    judges, ana = panel(rubric)
    assert judges.rank(ana, ASKED, [ANSWERS[1], ANSWERS[0], ANSWERS[1]], seed=0).ranks == (1, 2, 1)


def test_draws_depend_on_seed_name_and_prompt_only(rubric):
    judges, ana = panel(rubric, noise=0.5)
    same = [judges.rank(ana, ASKED, ANSWERS, seed=1) for _ in range(3)]
    assert same[0] == same[1] == same[2]
    assert len({judges.rank(ana, ASKED, ANSWERS, seed=seed).ranks for seed in range(20)}) > 1
    bert = ana.model_copy(update={"name": "bert"})
    assert any(
        judges.rank(bert, ASKED, ANSWERS, seed=s).ranks != judges.rank(ana, ASKED, ANSWERS, seed=s).ranks
        for s in range(20)
    )


@pytest.mark.parametrize(
    ("leaning", "favoured", "plain"),
    [
        (
            {"longer": 0.05},
            "The monthly box is a fine thing, and it is full of plants, all of them green and good.",
            "It is fine.",
        ),
        (
            {"polite": 0.5},
            "Thank you for the question about the return of it.",
            "That was the question about the return of it.",
        ),
        (
            {"handover": 0.5},
            "A colleague has the answer to that question for you.",
            "A cyclist has the answer to that question for you.",
        ),
    ],
)
def test_leanings_turn_an_order(rubric, leaning: dict, favoured: str, plain: str):
    neutral, ana = panel(rubric)
    biased, bea = panel(rubric, **leaning)
    answers = [plain, favoured]
    one = neutral._leaning(ana, favoured, 1) - neutral._leaning(ana, plain, 0)
    other = biased._leaning(bea, favoured, 1) - biased._leaning(bea, plain, 0)
    assert one == 0
    assert other > 0
    assert biased.rank(bea, ASKED, answers, seed=0).ranks[1] == 1


def test_first_shown_is_liked(rubric):
    judges, ana = panel(rubric, first=0.1)
    assert judges.rank(ana, ASKED, [ANSWERS[1], ANSWERS[1]], seed=0).ranks == (1, 2)


def test_lapses_are_random_orders(rubric):
    judges, ana = panel(rubric, lapse=1.0)
    orders = [judges.rank(ana, ASKED, ANSWERS, seed=seed).ranks for seed in range(300)]
    assert all(sorted(order) == [1, 2, 3] for order in orders)
    assert 70 <= sum(order[0] == 1 for order in orders) <= 130


def test_time_grows_with_reading(rubric):
    judges, ana = panel(rubric)
    short = sum(judges.rank(ana, ASKED, ["Yes."], seed=s).seconds for s in range(50))
    long = sum(judges.rank(ana, ASKED, ["Yes and so on. " * 10], seed=s).seconds for s in range(50))
    assert long > short + 50 * 5


def mixed_questions(answered) -> list:
    """Four answers a prompt, as a half-trained model gives them: good, half, another's, declining."""
    rng = random.Random(7)
    others = [answer for _, answer in answered]
    return [
        (p, rng.sample([good, " ".join(good.split()[: rng.randrange(3, 30)]), *rng.sample(others, 3)], 4))
        for p, good in answered[::4]
    ]


def test_default_members_agree_as_people_do(rubric, answered):
    judges = Panel(rubric, PanelSettings().members, PanelSettings().tie_within)
    items = [
        [judges.rank(member, p, answers, seed=0).ranks for member in judges.members]
        for p, answers in mixed_questions(answered)
    ]
    agreement = pairwise_agreement(items)
    assert agreement is not None
    print(agreement)
    assert 0.72 <= agreement.value <= 0.82


def test_members_differ_from_each_other(rubric, answered):
    judges = Panel(rubric, PanelSettings().members)
    by_member = [
        [judges.rank(member, p, answers, seed=0).ranks for p, answers in mixed_questions(answered)[:40]]
        for member in judges.members
    ]
    assert all(one != other for one, other in combinations(by_member, 2))


def test_settings_are_strict():
    settings = PanelSettings.model_validate({"members": [{"name": "x", "noise": 0.2}], "tie_within": 0.0})
    assert settings.members[0].noise == 0.2
    for bad in ({"member": []}, {"members": []}, {"members": [{"name": "x", "lapse": 2.0}]}, {"tie_within": -1}):
        with pytest.raises(ValidationError):
            PanelSettings.model_validate(bad)


def test_names_of_members_differ():
    with pytest.raises(ValidationError, match="two members are called x"):
        PanelSettings.model_validate({"members": [{"name": "x"}, {"name": "x"}]})
