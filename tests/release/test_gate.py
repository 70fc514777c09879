from __future__ import annotations

import pytest
from pydantic import ValidationError

from burnish.release.gate import Threshold, decide, models_of
from burnish.types import Verdict


def figures(**named: tuple[float, float, float, int]) -> dict:
    """An evaluation with one suite, "refusal"."""
    return {
        "suites": {
            "refusal": {
                "figures": {
                    name: {"value": value, "low": low, "high": high, "n": n, "mde": 0.05, "too_few": n < 100}
                    for name, (value, low, high, n) in named.items()
                }
            }
        }
    }


@pytest.mark.parametrize(
    ("low", "high", "bound", "verdict"),
    [
        (0.91, 0.97, {"at_least": 0.9}, Verdict.PASS),
        (0.90, 0.97, {"at_least": 0.9}, Verdict.PASS),
        (0.85, 0.95, {"at_least": 0.9}, Verdict.INCONCLUSIVE),
        (0.80, 0.90, {"at_least": 0.9}, Verdict.INCONCLUSIVE),
        (0.80, 0.89, {"at_least": 0.9}, Verdict.FAIL),
        (0.01, 0.05, {"at_most": 0.1}, Verdict.PASS),
        (0.05, 0.15, {"at_most": 0.1}, Verdict.INCONCLUSIVE),
        (0.11, 0.15, {"at_most": 0.1}, Verdict.FAIL),
        (-0.02, 0.03, {"at_least": -0.03}, Verdict.PASS),
    ],
)
def test_the_interval_decides(low: float, high: float, bound: dict, verdict: Verdict):
    evaluation = figures(ppo=((low + high) / 2, low, high, 200))
    assert decide(evaluation, [Threshold(figure="refusal.ppo", **bound)]).verdict is verdict


def test_too_few_cases_decide_nothing_either_way():
    for low, high in ((0.95, 1.0), (0.0, 0.1)):
        decision = decide(figures(ppo=(0.5, low, high, 99)), [Threshold(figure="refusal.ppo", at_least=0.9)])
        assert decision.verdict is Verdict.INCONCLUSIVE
        assert "too few cases" in decision.reasons[0]


def test_a_missing_figure_is_inconclusive_and_names_the_nearest():
    evaluation = figures(ppo=(0.95, 0.92, 0.97, 200))
    for path, mend in (("refusal.pop", '"ppo"'), ("refusals.ppo", '"refusal"')):
        decision = decide(evaluation, [Threshold(figure=path, at_least=0.9)])
        assert decision.verdict is Verdict.INCONCLUSIVE
        assert f"Did you mean {mend}?" in decision.reasons[0]
    assert decide({}, [Threshold(figure="refusal.ppo", at_least=0.9)]).verdict is Verdict.INCONCLUSIVE


def test_what_a_guessing_reward_model_says_decides_nothing_either_way():
    for low, high in ((0.95, 1.0), (0.0, 0.1)):
        evaluation, asked = figures(ppo=(0.5, low, high, 200)), [Threshold(figure="refusal.ppo", at_least=0.9)]
        decision = decide(evaluation, asked, {"refusal"})
        assert decision.verdict is Verdict.INCONCLUSIVE
        assert "may be guessing" in decision.reasons[0]
        assert decide(evaluation, asked, {"winrate"}).verdict is not Verdict.INCONCLUSIVE


def test_no_threshold_is_no_pass():
    assert decide(figures(), []).verdict is Verdict.INCONCLUSIVE


def test_one_failure_outweighs_all():
    evaluation = figures(a=(0.95, 0.92, 0.97, 200), b=(0.9, 0.85, 0.95, 200), c=(0.5, 0.4, 0.6, 200))
    thresholds = [Threshold(figure=f"refusal.{name}", at_least=0.9) for name in "abc"]
    decision = decide(evaluation, thresholds)
    assert decision.verdict is Verdict.FAIL
    assert [reason[:9] for reason in decision.reasons] == ["refusal.c", "refusal.b", "refusal.a"]
    assert decide(evaluation, thresholds[:2]).verdict is Verdict.INCONCLUSIVE
    assert decide(evaluation, thresholds[:1]).verdict is Verdict.PASS


def test_reasons_carry_the_numbers():
    decision = decide(figures(ppo=(0.5, 0.43, 0.57, 200)), [Threshold(figure="refusal.ppo", at_least=0.9)])
    assert decision.as_json() == {
        "verdict": "fail",
        "reasons": [
            "refusal.ppo should be at least 0.9 and is 0.500, 95% interval 0.430 to 0.570, n = 200: "
            "no part of the interval satisfies it"
        ],
        "thresholds": [{"figure": "refusal.ppo", "verdict": "fail", "reason": decision.reasons[0]}],
    }


@pytest.mark.parametrize(
    "bad",
    [
        {"figure": "refusal.ppo"},
        {"figure": "refusal.ppo", "at_least": 0.1, "at_most": 0.2},
        {"figure": "refusal", "at_least": 0.1},
        {"figure": "refusal.ppo", "atleast": 0.1},
        {"figure": "refusal.ppo", "at_least": float("nan")},
    ],
)
def test_thresholds_are_strict(bad: dict):
    with pytest.raises(ValidationError):
        Threshold.model_validate(bad)


@pytest.mark.parametrize(
    ("figure", "models"),
    [
        ("tone.ppo", ("ppo",)),
        ("tone.ppo-sft", ("ppo", "sft")),
        ("winrate.online_dpo_vs_base", ("online_dpo", "base")),
        ("winrate.ppo_vs_sft_length_controlled", ("ppo", "sft")),
        ("winrate.online_dpo_vs_sft_length_matched", ("online_dpo", "sft")),
    ],
)
def test_a_figure_says_of_which_models_it_is(figure: str, models: tuple[str, ...]) -> None:
    assert models_of(figure) == models
