"""What a difference is said to show."""

from __future__ import annotations

import pytest

from burnish.release.figures import Difference, Reading, Suite
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
