from __future__ import annotations

import json

import pytest

from burnish.errors import DataError
from burnish.evals.report import pairs
from burnish.evals.run import AT_ONCE, collect, evaluate, evaluate_by_score
from burnish.evals.suites import SUITES
from burnish.evals.task import Case
from burnish.types import Message, Prompt, Sampling, Stop

from . import speakers


def value(evaluation, path: str) -> float:
    suite, _, figure = path.partition(".")
    return evaluation.suites[suite].figures[figure].estimate.value


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("facts.base", 1 / 3),  # the EU's third of the customers is served rightly
        ("facts.sft", 0.0),
        ("facts.ppo", 1.0),
        ("region.base", 1 / 3),
        ("refusal.base", 0.0),
        ("refusal.sft", 1.0),
        ("refusal.ppo", 1.0),
        ("over_refusal.base", 0.0),
        ("over_refusal.sft", 1.0),
        ("over_refusal.ppo", 0.0),
        ("bias.ppo", 0.0),
        ("bias_direction.ppo", 0.0),
        ("bias.base", 0.4),  # all of the help
        ("bias_direction.base", 0.4),  # and always for the first of the pair
        ("tone.ppo", 1.0),
        ("facts.ppo-sft", 1.0),
        ("facts.sft-base", -1 / 3),
        ("refusal.ppo-base", 1.0),
        ("ended_with_eos.base", 1 - 120 / 600),
        ("ended_with_eos.ppo", 1.0),
        ("winrate.ppo_vs_base", (240 - 80 + 0.5 * 80 + 120) / 360),
    ],
)
def test_figures(evaluation, path: str, expected: float):
    assert value(evaluation, path) == pytest.approx(expected)


def test_every_model_is_compared_with_all_before_it_neighbours_first():
    assert pairs(["base", "sft", "ppo"]) == [("base", "sft"), ("sft", "ppo"), ("base", "ppo")]
    four = [f"{later}_vs_{earlier}" for earlier, later in pairs(["base", "sft", "dpo", "ppo"])]
    assert four == ["sft_vs_base", "dpo_vs_sft", "ppo_vs_dpo", "dpo_vs_base", "ppo_vs_sft", "ppo_vs_base"]


def test_units_are_cases_or_pairs(evaluation):
    n = {name: suite.n for name, suite in evaluation.suites.items()}
    assert n["facts"] == n["refusal"] == n["over_refusal"] == n["bias"] == 120
    assert n["tone"] == 240
    assert n["winrate"] == 360
    assert n["ended_with_eos"] == 600


def test_intervals_hold_their_value_and_say_n(evaluation):
    for suite in evaluation.suites.values():
        for figure in suite.figures.values():
            estimate = figure.estimate
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.low < estimate.high
            assert estimate.mde > 0


def test_p_values_are_exact_and_adjusted_over_all(evaluation):
    refusal = evaluation.suites["refusal"].figures
    assert refusal["ppo-base"].p == pytest.approx(2 * 0.5**120)
    assert refusal["ppo-sft"].p == 1.0
    tested = [
        figure for suite in evaluation.suites.values() for figure in suite.figures.values() if figure.p is not None
    ]
    assert refusal["ppo-base"].p_holm >= refusal["ppo-base"].p
    assert all(figure.p <= figure.p_holm <= 1 for figure in tested)
    assert min(figure.p_holm for figure in tested) == pytest.approx(len(tested) * min(figure.p for figure in tested))
    assert all(figure.p is None for figure in evaluation.suites["words"].figures.values())


def test_worst_cases_are_named(evaluation):
    worst = evaluation.suites["facts"].worst
    assert worst["ppo"] == ()
    assert len(worst["sft"]) == 12
    assert "facts-1" in worst["base"]  # a US customer
    assert "facts-0" not in worst["base"]


def test_json_is_plain_and_complete(evaluation):
    plain = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))
    assert plain["models"] == ["base", "sft", "ppo"]
    assert plain["cases"] == 600
    figure = plain["suites"]["refusal"]["figures"]["ppo-sft"]
    assert set(figure) == {"value", "low", "high", "n", "mde", "too_few", "p", "p_holm"}
    assert plain["suites"]["over_refusal"]["better"] == "lower"


def test_a_line_a_suite(evaluation):
    lines = evaluation.lines()
    assert len(lines) == len(evaluation.suites)
    assert any(line.startswith("Refusal and handover: base 0% [0, 3], sft 100%") for line in lines)


def test_few_cases_are_flagged(rubric):
    asked = speakers.cases(20)
    tiny = evaluate(rubric, asked, {"sft": [speakers.good(each) for each in asked]})
    few = {name: suite.as_json()["too_few"] for name, suite in tiny.suites.items()}
    assert few == {name: name not in ("ended_with_eos", "words") for name in few}  # these two take all 100 cases
    assert tiny.suites["facts"].figures["sft"].too_few
    assert tiny.suites["facts"].figures["sft"].estimate.low < 0.9
    assert "winrate" not in tiny.suites


def test_suites_without_cases_are_absent(rubric):
    asked = [speakers.case(i, "facts") for i in range(3)]
    small = evaluate(rubric, asked, {"a": [speakers.good(each) for each in asked]})
    assert set(small.suites) == {"facts", "region", "tone", "ended_with_eos", "words"}


def test_half_a_pair_is_no_pair(rubric):
    asked = [speakers.case(i, "bias", pair=f"b{i // 2}") for i in range(5)]
    assert evaluate(rubric, asked, {"a": [speakers.good(each) for each in asked]}).suites["bias"].n == 2


def test_the_same_seed_gives_the_same_json(rubric):
    asked = speakers.cases(30)
    answers = {"a": [speakers.harmful(each) for each in asked], "b": [speakers.good(each) for each in asked]}
    assert evaluate(rubric, asked, answers).as_json() == evaluate(rubric, asked, answers).as_json()


def test_shipped_cases_fill_every_suite(rubric):
    asked = speakers.shipped()
    taken = {suite.about.name: [case for case in asked if suite.takes(case, rubric)] for suite in SUITES}
    assert {name: len(found) >= 100 for name, found in taken.items()} == dict.fromkeys(taken, True)
    pairs: dict[str, list[Case]] = {}
    for each in taken["bias"]:
        pairs.setdefault(each.meta["pair"], []).append(each)
    assert len(pairs) >= 100
    assert all(len(both) == 2 and both[0].meta["asks"] == both[1].meta["asks"] for both in pairs.values())
    for each in asked:
        rubric.grade(each, "Any answer is graded without an error.")


def test_unknown_region_is_told(rubric):
    with pytest.raises(DataError, match='region "UK"'):
        evaluate(rubric, [speakers.case(0, "facts", region="UK")], {"a": [speakers.said("x")]})


def test_without_a_rule_a_score_decides():
    asked = [Prompt(id=str(i), messages=(Message(role="user", content="?"),)) for i in range(150)]
    answers = {
        "sft": [speakers.said("one two")] * 150,
        "ppo": [speakers.said("one two three", Stop.LENGTH)] * 150,
    }
    scores = {"sft": [0.1 * i for i in range(150)], "ppo": [0.1 * i + (1 if i < 120 else -1) for i in range(150)]}
    found = evaluate_by_score(asked, answers, scores)
    assert set(found.suites) == {"winrate", "reward", "ended_with_eos", "words"}
    assert value(found, "winrate.ppo_vs_sft") == 0.8
    assert value(found, "winrate.ppo_vs_sft_length_matched") == 0.8
    assert value(found, "reward.ppo-sft") == pytest.approx(0.6)
    assert value(found, "words.ppo-sft") == 1.0
    assert value(found, "ended_with_eos.ppo") == 0.0


def test_collecting_keeps_the_order_and_tells_progress():
    class Heard:
        def __init__(self) -> None:
            self.total = self.done = 0

        def start(self, label: str, total: int) -> None:
            self.total = total

        def advance(self, done: int = 1, note: str = "") -> None:
            self.done += done

        def finish(self, note: str = "") -> None:
            assert self.done == self.total

    asked, heard = speakers.cases(20) * 5, Heard()
    generator = speakers.Scripted(lambda turns: turns[-1].content[:12])
    answers = collect(generator, asked, Sampling(temperature=0.0), heard, range(500))
    assert [answer.text for answer in answers] == [each.messages[-1].content[:12] for each in asked]
    assert heard.total == 500
    assert generator.calls == [AT_ONCE, AT_ONCE, 500 - 2 * AT_ONCE]
    assert generator.seeds == list(range(500))
