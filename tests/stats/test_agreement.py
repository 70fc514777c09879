import numpy as np
import pytest

from burnish.stats.agreement import (
    cohen_kappa,
    counted_agreement,
    flip_rate,
    human_ceiling,
    majority_flip_rate,
    pairwise_agreement,
    undisputed,
)
from burnish.types import Estimate


@pytest.mark.parametrize(("agreement", "flip"), [(0.726, 0.164), (0.773, 0.131), (0.63, 0.245)])
def test_flips_behind_published_agreements(agreement: float, flip: float):
    assert flip_rate(agreement) == pytest.approx(flip, abs=5e-4)


def test_half_agreement_or_less_is_noise():
    assert flip_rate(0.5) == flip_rate(0.4) == 0.5
    assert flip_rate(1.0) == 0.0


def test_ceiling_of_single_labels():
    agreement = Estimate(value=0.726, low=0.70, high=0.75, n=500, mde=0.04)
    ceiling = human_ceiling(agreement)
    assert ceiling.value == pytest.approx(0.836, abs=1e-3)
    assert ceiling.low < ceiling.value < ceiling.high
    assert ceiling.mde > 0


def test_majority_of_three_by_hand():
    # 3 e²(1-e) + e³ at e = 0.2: 0.096 + 0.008
    assert majority_flip_rate(0.2, 3) == pytest.approx(0.104)
    # Two people: both wrong, or split and a coin: 0.04 + 0.32 / 2 = e again.
    assert majority_flip_rate(0.2, 2) == pytest.approx(0.2)
    assert majority_flip_rate(0.2, 1) == pytest.approx(0.2)


def test_counting_leaves_ties_out():
    # pairs (a,b) (a,c) (b,c): first person 1 2 2, second 1 2 3: agree on ab and ac; bc is tied for the first.
    assert counted_agreement([(1, 2, 2), (1, 2, 3)]) == (2, 2)
    assert counted_agreement([(1, 2), (2, 1), (1, 2)]) == (1, 3)
    assert counted_agreement([(1, 2)]) == (0, 0)


def test_agreement_over_items():
    items = [[(1, 2), (1, 2)], [(1, 2), (2, 1)], [(2, 1), (2, 1)], [(1, 2)]]
    agreement = pairwise_agreement(items)
    assert agreement is not None
    assert agreement.value == pytest.approx(2 / 3)
    assert agreement.n == 3
    assert 0 <= agreement.low <= agreement.value <= agreement.high <= 1
    assert pairwise_agreement([[(1, 2)]]) is None


def test_simulated_flips_are_found_again():
    rng = np.random.default_rng(0)
    flipped = rng.random((4000, 2)) < 0.16
    items = [[(2, 1) if flip else (1, 2) for flip in row] for row in flipped]
    agreement = pairwise_agreement(items)
    assert agreement is not None
    assert human_ceiling(agreement).value == pytest.approx(0.84, abs=0.015)


def test_kappa_by_hand():
    a = ["y"] * 25 + ["n"] * 25
    b = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    # observed 35/50 = .7; chance .5·.6 + .5·.4 = .5
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa("aa", "aa") == 1.0


def test_undisputed_pairs_are_those_that_everyone_orders_alike() -> None:
    assert undisputed([[1, 2, 3], [1, 3, 2]]) == [(0, 1), (0, 2)]
    assert undisputed([[1, 2], [1, 1]]) == []
    assert undisputed([[2, 1]]) == [(1, 0)]
    assert undisputed([]) == []
