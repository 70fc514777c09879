"""Arithmetic of ranks, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from burnish.errors import StoreError
from burnish.store.ranks import agreed, dense, own_order


def test_dense_closes_gaps_and_keeps_ties():
    assert dense((2, 7, 2, 9)) == (1, 2, 1, 3)


def test_ranks_in_the_shown_order_become_ranks_in_the_answers_own_order():
    # Shown: answer 2 first, then 0, then 1. The person says: first shown best, last shown second, middle worst.
    assert own_order((1, 3, 2), (2, 0, 1)) == (3, 2, 1)


@pytest.mark.parametrize("ranks", [(1,), (1, 2, 3), (0, 1), (-1, 2), (1.0, 2), (True, 2), ("1", 2)])
def test_ranks_that_do_not_fit_are_refused(ranks: tuple[object, ...]):
    with pytest.raises(StoreError, match="ranks"):
        own_order(ranks, (0, 1))


def test_mean_rank_order():
    # Sums of places: 1+1+3 = 5, 2+3+1 = 6, 3+2+2 = 7.
    assert agreed([(1, 2, 3), (1, 3, 2), (3, 1, 2)]) == (1, 2, 3)


def test_exact_ties_stay_ties():
    assert agreed([(1, 2), (2, 1)]) == (1, 1)
    assert agreed([(1, 2, 3), (2, 1, 3)]) == (1, 1, 2)


def test_ties_within_a_vote_take_mid_ranks():
    # Mid-ranks (1.5, 1.5, 3) and (2, 3, 1) sum to 3.5, 4.5, 4; the plain ranks to 3, 4, 3, which would be a tie.
    assert agreed([(1, 1, 2), (2, 3, 1)]) == (1, 3, 2)
