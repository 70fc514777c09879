"""What a difference is said to show."""

from __future__ import annotations

import pytest

from burnish.release.figures import Difference, Reading, Suite, read_figures
from burnish.types import Estimate


@pytest.mark.parametrize(
    ("low", "high", "p", "reading"),
    [
        (0.01, 0.09, 0.004, "better"),
        (-0.09, -0.01, 0.004, "worse"),
        (-0.01, 0.09, 0.004, "same"),  # the interval holds zero
        (0.01, 0.09, 0.2, "same"),  # p does not survive the number of tests
        (0.01, 0.09, None, "better"),
    ],
)
def test_a_difference_needs_its_interval_and_its_p(low: float, high: float, p: float | None, reading: Reading) -> None:
    suite = Suite(title="Facts", says="", better="higher", unit="share", models={}, too_few=False)
    estimate = Estimate(value=(low + high) / 2, low=low, high=high, n=150, mde=0.05)
    assert Difference(suite=suite, title="", colour="ppo", estimate=estimate, p=p).reading == reading


def test_what_may_be_guessing_shows_nothing_however_narrow_its_interval() -> None:
    value = {"value": 0.05, "low": 0.01, "high": 0.09, "n": 150, "mde": 0.05, "too_few": False}
    about = {"says": "", "better": "higher", "unit": "score", "too_few": False}
    suites = {
        name: {"title": name, **about, "figures": {"sft": value, "ppo": value, "ppo-sft": {**value, "p_holm": 0.001}}}
        for name in ("reward", "words")
    }
    duels = {"winrate": {"says": "", "figures": {"ppo_vs_sft": value}}}
    evaluation = {"models": ["sft", "ppo"], "suites": {**suites, **duels}}
    found = read_figures(evaluation, {"reward", "winrate"})
    assert [(row.suite.title, row.reading) for row in found.differences] == [("reward", "doubted"), ("words", "better")]
    assert [row.doubted for row in found.comparisons] == [True]
    assert not any(row.doubted for row in read_figures(evaluation).comparisons)
