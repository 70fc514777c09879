"""α, κ and AC1 against published examples, hand calculation and each other."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import iaa_kit
import numpy as np
import pytest
from nltk.metrics.agreement import AnnotationTask
from nltk.metrics.distance import binary_distance, interval_distance

from burnish.stats.agreement import cohen_kappa
from burnish.stats.reliability import ac1, alpha, fleiss_kappa

GAP = None
PUBLISHED = [
    [1, 1, GAP, 1],
    [2, 2, 3, 2],
    [3, 3, 3, 3],
    [3, 3, 3, 3],
    [2, 2, 2, 2],
    [1, 2, 3, 4],
    [4, 4, 4, 4],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [GAP, 5, 5, 5],
    [GAP, GAP, 1, 1],
    [GAP, GAP, 3, GAP],
]
"""Twelve units by four observers: Krippendorff 2011, section C; Gwet 2014 uses them too."""
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
"""How many of 14 raters put each of ten subjects into each of five classes; κ = 0.210."""


@pytest.mark.parametrize(("distance", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(distance: str, value: float):
    found = alpha(PUBLISHED, distance)
    assert found
    assert found.value == pytest.approx(value, abs=5e-4)
    assert found.low < found.value < found.high
    assert found.n == 11  # one unit has one value, and says nothing of agreement


def test_kappa_and_ac1_of_the_published_example():
    """Gwet 2014 (4th edition) prints 0.7612 and 0.7754 for these."""
    kappa, first = fleiss_kappa(PUBLISHED), ac1(PUBLISHED)
    assert kappa
    assert kappa.value == pytest.approx(0.7612, abs=5e-5)
    assert first
    assert first.value == pytest.approx(0.7754, abs=5e-5)


def test_fleiss_own_kind_of_example():
    units = [[value for value, count in enumerate(row) for _ in range(count)] for row in FLEISS]
    found = fleiss_kappa(units)
    assert found
    assert found.value == pytest.approx(0.210, abs=5e-4)


def drawn(seed: int, people: int) -> list[list[int]]:
    """Forty units with values from 1 to 4, on which people agree more than by chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 5, 40)
    return [[int(t if rng.random() < 0.7 else rng.integers(1, 5)) for _ in range(people)] for t in truth]


def ordinal_distance(units: list[list[int | None]]) -> Callable[[int, int], float]:
    """Krippendorff's δ² of two ranks: the square of how many values lie from one to the other, half of those at either
    end, among the values of units where two met."""
    met = [value for unit in units if len(values := [each for each in unit if each]) > 1 for value in values]

    def distance(one: int, other: int) -> float:
        low, high = sorted((one, other))
        return (sum(low <= value <= high for value in met) - (met.count(low) + met.count(high)) / 2) ** 2

    return distance


@pytest.mark.parametrize("seed", range(5))
def test_they_agree_with_an_independent_library(seed: int):
    """NLTK has α with gaps, and for whole tables Fleiss' κ (as multi-π) and Cohen's."""
    whole, rng = drawn(seed, 3), np.random.default_rng(seed)
    gaps = [[GAP if rng.random() < 0.2 else value for value in unit] for unit in whole]
    distances = {"nominal": binary_distance, "interval": interval_distance, "ordinal": ordinal_distance(gaps)}
    for distance, theirs in distances.items():
        ours = alpha(gaps, distance)
        assert ours
        assert ours.value == pytest.approx(task_of(gaps, theirs).alpha(), abs=1e-9)
    kappa = fleiss_kappa(whole)
    assert kappa
    assert kappa.value == pytest.approx(task_of(whole, binary_distance).pi(), abs=1e-9)
    first, second = [unit[0] for unit in whole], [unit[1] for unit in whole]
    assert cohen_kappa(first, second) == pytest.approx(task_of(whole, binary_distance).kappa_pairwise("0", "1"))


@pytest.mark.parametrize("seed", range(5))
def test_ac1_agrees_with_independent_libraries(seed: int):
    """Of two people with iaa-kit's. Of more with NLTK: it has no AC1, but κ = (a - e) / (1 - e) gives away the chance e
    that two values of a whole table are one and the same, and AC1's is (1 - e) / (values - 1)."""
    couple = drawn(seed, 2)
    found = ac1(couple)
    assert found
    assert found.value == pytest.approx(iaa_kit.ac1(*zip(*couple, strict=True)), abs=1e-12)
    whole = drawn(seed, 4)
    task = task_of(whole, binary_distance)
    agreement, kappa = task.avg_Ao(), task.pi()
    same = (agreement - kappa) / (1 - kappa)
    chance = (1 - same) / (len({value for unit in whole for value in unit}) - 1)
    found = ac1(whole)
    assert found
    assert found.value == pytest.approx((agreement - chance) / (1 - chance), abs=1e-9)


def task_of(units: list[list[int | None]], distance: Callable[[int, int], float]) -> AnnotationTask:
    """Units of at least two values in that library's form."""
    said = [(unit, [each for each in enumerate(values) if each[1] is not GAP]) for unit, values in enumerate(units)]
    return AnnotationTask(
        [(str(who), unit, value) for unit, all_ in said if len(all_) > 1 for who, value in all_], distance
    )


def test_two_people_by_hand():
    """20 both yes, 15 both no, 5 and 10 mixed: agreement 35/50. AC1's chance is 2·p(1 - p) with p = 55/100."""
    units = [[1, 1]] * 20 + [[1, 0]] * 5 + [[0, 1]] * 10 + [[0, 0]] * 15
    first = ac1(units)
    assert first
    assert first.value == pytest.approx((0.7 - 2 * 0.55 * 0.45) / (1 - 2 * 0.55 * 0.45))
    # α's chance draws two of the 100 values without replacement: 1 - (30/100) / (2·55·45/(100·99))
    nominal = alpha(units, "nominal")
    assert nominal
    assert nominal.value == pytest.approx(1 - 0.3 / (2 * 55 * 45 / 9900))
    # Cohen's chance knows who said yes how often, Fleiss' does not; here .5·.6 + .5·.4 against .55² + .45².
    assert cohen_kappa(*zip(*units, strict=True)) == pytest.approx(0.4)
    fleiss = fleiss_kappa(units)
    assert fleiss
    assert fleiss.value == pytest.approx((0.7 - 0.505) / 0.495)


def test_where_nearly_all_say_the_same_kappa_falls_and_ac1_does_not():
    """The paradox that AC1 is for (Feinstein and Cicchetti 1990)."""
    units = [[1, 1]] * 96 + [[1, 0]] * 2 + [[0, 1]] * 2
    kappa, first = fleiss_kappa(units), ac1(units)
    assert kappa
    assert kappa.value < 0
    assert first
    assert first.value > 0.95


def test_there_is_no_agreement_of_one_person_or_of_one_value():
    for coefficient in (alpha, fleiss_kappa, ac1):
        assert coefficient([[1], [2], [None, 3]]) is None
    assert alpha([[1, 1], [1, 1]]) is None
    assert alpha([]) is None


def test_noise_agrees_by_chance_and_copies_agree_wholly():
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 4, (400, 3)).tolist()
    for coefficient in (alpha, fleiss_kappa, ac1):
        found = coefficient(noise)
        assert found
        assert found.low < 0 < found.high or abs(found.value) < 0.05
        same = coefficient([[row[0]] * 3 for row in noise])
        assert same
        assert same.value == pytest.approx(1.0)


def test_pairs_of_one_item_are_drawn_together():
    """Each item copied ten times says no more: the interval is that of the items, and ten times narrower without."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 60)
    items = [[int(t), int(t ^ (rng.random() < 0.2))] for t in truth]
    copied = [unit for unit in items for _ in range(10)]
    plain, whole = alpha(items, "nominal"), alpha(copied, "nominal", clusters=[n // 10 for n in range(600)])
    loose = alpha(copied, "nominal")
    assert plain
    assert whole
    assert loose
    assert whole.n == 60
    assert whole.high - whole.low == pytest.approx(plain.high - plain.low, rel=0.05)
    assert loose.high - loose.low < 0.45 * (whole.high - whole.low)


def test_many_pairs_of_an_item_take_no_more_memory_than_one():
    """A thousand items with nine answers: 36,000 units, of which 2,000 draws would take half a gigabyte."""
    rng = np.random.default_rng(3)
    units, clusters = rng.integers(-1, 2, (36_000, 3)).tolist(), [n // 36 for n in range(36_000)]
    tracemalloc.start()
    for coefficient in (alpha, fleiss_kappa, ac1):
        assert coefficient(units, clusters=clusters)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100e6


@pytest.mark.proof
def test_the_interval_holds_the_truth_as_often_as_it_says():
    """200 samples of people who are right with chance 0.8: α = 1 - 0.32/0.5 = 0.36 where both classes are as common."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 150)
        people = [truth ^ (rng.random(150) < 0.2) for _ in range(2)]
        found = alpha(np.stack(people, 1).tolist(), "nominal", seed=seed)
        assert found
        held += found.low <= 0.36 <= found.high
    assert 180 <= held <= 198


def test_it_does_not_matter_who_said_it():
    rng = np.random.default_rng(2)
    units = rng.integers(1, 4, (40, 3)).tolist()
    for coefficient in (alpha, fleiss_kappa, ac1):
        orders = [coefficient([[unit[i] for i in order] for unit in units]) for order in ((0, 1, 2), (2, 0, 1))]
        assert orders[0] == orders[1]
