"""Bradley and Terry's strengths: by hand, against an independent library, and against planted ones."""

from __future__ import annotations

import math

import choix
import numpy as np
import pytest

from burnish.stats.board import Match, board


def played(strengths: dict[str, float], rounds: int, seed: int, sway: float = 0.0) -> list[Match]:
    """Matches whose winner is drawn from the model, each answer with a random length."""
    rng, names, found = np.random.default_rng(seed), list(strengths), list[Match]()
    for number in range(rounds):
        a, b = rng.choice(len(names), 2, replace=False)
        longer = float(rng.normal(strengths[names[a]] - strengths[names[b]], 1))  # stronger models talk more
        edge = strengths[names[a]] - strengths[names[b]] + sway * longer
        won = float(rng.random() < 1 / (1 + math.exp(-edge)))
        found.append(Match(a=names[a], b=names[b], score=won, cluster=number, covariates=(longer,) if sway else ()))
    return found


def test_two_models_by_hand():
    """30 to 10 is log 3, half of it on either side of the mean, but for the prior's hundredth of a match."""
    matches = [Match(a="x", b="y", score=1.0, cluster=n) for n in range(30)]
    matches += [Match(a="y", b="x", score=1.0, cluster=30 + n) for n in range(10)]
    found = board(matches)
    assert list(found.strengths) == ["x", "y"]
    assert found.strengths["x"].value == pytest.approx(math.log(3) / 2, abs=1e-3)
    assert found.strengths["y"].value == -found.strengths["x"].value
    # its standard error is that of a logit of 30 in 40, halved: sqrt(1/30 + 1/10) / 2 = 0.183
    assert found.strengths["x"].mde == pytest.approx(2.802 * 0.183, rel=0.12)


def test_it_agrees_with_an_independent_library():
    matches = played({"a": 1.0, "b": 0.2, "c": -0.3, "d": -0.9}, 400, seed=0)
    names = "abcd"
    pairs = [(m.a, m.b) if m.score else (m.b, m.a) for m in matches]
    theirs = choix.opt_pairwise(4, [(names.index(win), names.index(lose)) for win, lose in pairs])
    ours = board(matches).strengths
    assert [ours[name].value for name in names] == pytest.approx(theirs - theirs.mean(), abs=2e-3)


def test_a_tie_is_half_a_win_for_each():
    ties = [Match(a="x", b="y", score=0.5, cluster=n) for n in range(20)]
    halves = [Match(a="x", b="y", score=float(n % 2), cluster=n) for n in range(20)]
    for matches in (ties, halves):
        assert board(matches).strengths["x"].value == pytest.approx(0, abs=1e-6)


def test_who_wins_all_stays_finite():
    found = board([Match(a="x", b="y", score=1.0, cluster=n) for n in range(50)])
    assert 2 < found.strengths["x"].value < 10


def test_the_interval_covers_planted_strengths():
    truth = {"a": 0.8, "b": 0.0, "c": -0.8}
    held = [
        estimate.low <= truth[name] <= estimate.high
        for seed in range(6)
        for name, estimate in board(played(truth, 150, seed)).strengths.items()
    ]
    assert sum(held) >= 15  # of 18, of which 95% are 17


def test_length_is_told_apart_from_strength():
    """Judges who like length, and a stronger model that talks more: only with the covariate is its strength right."""
    truth = {"a": 0.5, "b": -0.5}
    matches = played(truth, 1500, seed=1, sway=1.0)
    found = board(matches)
    assert found.sway[0].low < 1.0 < found.sway[0].high
    assert found.strengths["a"].low < 0.5 < found.strengths["a"].high
    blind = [Match(a=m.a, b=m.b, score=m.score, cluster=m.cluster) for m in matches]
    assert board(blind).strengths["a"].low > 0.6
