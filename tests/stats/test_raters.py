"""Dawid and Skene's model, on their own data and on planted errors."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.stats.raters import dawid_skene

PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""
"""45 patients' fitness for anaesthesia, judged by five observers; three digits of each are the first one's, who judged
three times (Dawid and Skene 1979, table 1)."""
OBSERVERS = (1, 1, 1, 2, 3, 4, 5)


def test_the_paper_s_own_example():
    labels = [
        (n, who, digit) for n, row in enumerate(PATIENTS.split()) for who, digit in zip(OBSERVERS, row, strict=True)
    ]
    found = dawid_skene(labels)
    assert found.classes == ("1", "2", "3", "4")
    assert found.prior == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)
    first = [[0.89, 0.11, 0.00, 0.00], [0.07, 0.88, 0.05, 0.00], [0.00, 0.34, 0.66, 0.00], [0.00, 0.00, 0.56, 0.44]]
    assert found.people[1] == pytest.approx(np.array(first), abs=0.006)


def test_planted_reliabilities_are_found_again_and_beat_the_majority():
    """Two who are nearly always right against three who toss a biased coin: the majority follows the three."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 800)
    right = {"a": 0.95, "b": 0.95, "c": 0.55, "d": 0.55, "e": 0.55}
    said = {who: np.where(rng.random(800) < chance, truth, 1 - truth) for who, chance in right.items()}
    found = dawid_skene((n, who, int(values[n])) for who, values in said.items() for n in range(800))
    for who, chance in right.items():
        assert found.accuracy(who) == pytest.approx(chance, abs=0.05)
    likely = np.array([found.items[n].argmax() for n in range(800)])
    majority = np.array(list(said.values())).sum(0) > 2
    assert (likely == truth).mean() > (majority == truth).mean() + 0.04


def test_one_voice_is_taken_at_its_word():
    found = dawid_skene([(1, "a", "x"), (2, "a", "y"), (3, "a", "x")])
    assert found.prior == pytest.approx([2 / 3, 1 / 3])
    assert found.accuracy("a") == pytest.approx(1.0)
    assert found.items[2] == pytest.approx([0, 1])


def test_who_never_saw_a_class_has_no_row_for_it():
    found = dawid_skene([(1, "a", 0), (2, "a", 1), (1, "b", 0), (3, "a", 0)])
    assert found.people["b"][1].tolist() == [0, 0]
    assert found.accuracy("b") == pytest.approx(1.0)
