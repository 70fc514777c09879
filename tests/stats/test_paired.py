import pytest
from scipy import stats

from burnish.stats.paired import holm, sign_test, win_rate


def test_ties_count_half():
    rate = win_rate([1, 1, 0, -1])
    assert rate.value == 2.5 / 4
    assert rate.n == 4


def test_a_win_in_one_order_only_counts_three_quarters():
    assert win_rate([0.5]).value == 0.75


def test_win_rate_of_200_prompts_detects_ten_points():
    rate = win_rate([1] * 110 + [-1] * 90)
    assert rate.low < 0.5 < rate.high
    assert rate.mde == pytest.approx(0.0985, abs=1e-3)


@pytest.mark.parametrize(("positive", "negative"), [(9, 1), (1, 9), (5, 5), (0, 7), (30, 18)])
def test_sign_test_is_scipys(positive: int, negative: int):
    theirs = stats.binomtest(positive, positive + negative).pvalue
    assert sign_test(positive, negative) == pytest.approx(theirs)


def test_no_differing_case_says_nothing():
    assert sign_test(0, 0) == 1.0


def test_the_sign_test_by_hand():
    # 2 · P(X <= 2 | 10, ½) = 2 · (1 + 10 + 45) / 1024
    assert sign_test(8, 2) == pytest.approx(2 * 56 / 1024)


def test_holm_by_hand():
    # sorted .01 .02 .04 -> .03, .04, .04; order kept
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
