"""The watch: when it ends a run, which weights it keeps, and what it measures, on problems small enough to know."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tabular import Exact, Payout, Table, answers, feed
from torch import Tensor

from burnish.losses.policy import full_kl
from burnish.rewards.combination import Weighted
from burnish.train.advantages import KlInReward, PerAnswer
from burnish.train.averages import Averages
from burnish.train.checkpoint import Checkpoints
from burnish.train.loop import FitConfig, fit
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.policy_gradient import PolicyGradient
from burnish.train.watch import Decision, Ending, Reading, Rule, Watch, Watched, decide, readings_of

RULE = Rule(kl_budget=10.0, window=2, patience=2)


def scored(*scores: float | None, kl: float = 1.0) -> list[Reading]:
    return [Reading(kl=kl, score=score) for score in scores]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.0,), Decision(kept=0)),
        ((0.0, 1.0, 2.0), Decision(kept=2)),
        # means of two: 0.5, 1.5, 1.5 (not better), 1.0
        ((0.0, 1.0, 2.0, 1.0), Decision(kept=2)),
        ((0.0, 1.0, 2.0, 1.0, 1.0), Decision(kept=2, ending=Ending.SCORE)),
        # 0.5, 1.5, 1.5, 2.0: a new best in time
        ((0.0, 1.0, 2.0, 1.0, 3.0), Decision(kept=4)),
        # what comes after the end is never asked about: it did not happen
        ((0.0, 1.0, 2.0, 1.0, 1.0, 9.0, 9.0), Decision(kept=2, ending=Ending.SCORE)),
        ((None,) * 9, Decision(kept=8)),
    ],
)
def test_a_run_ends_when_the_mean_has_had_no_new_best_for_as_long_as_patience_has(
    scores: tuple[float | None, ...], expected: Decision
) -> None:
    assert decide(scored(*scores), RULE) == expected


def test_a_reading_above_the_budget_ends_the_run_and_is_not_kept() -> None:
    spent = [*scored(0.0, 1.0, 2.0), Reading(kl=10.1, score=9.0)]
    assert decide(spent, RULE) == Decision(kept=2, ending=Ending.BUDGET)
    assert decide([*scored(None, None), Reading(kl=10.1)], RULE) == Decision(kept=1, ending=Ending.BUDGET)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((10, 20, 20, 10, 14), Decision(kept=4)),
        # means of two: 15 at first, then 20, and 30, which is twice as long and no more
        ((10, 20, 20, 40, 90), Decision(kept=3, ending=Ending.LENGTH)),
        ((10, 20, 20, 41), Decision(kept=2, ending=Ending.LENGTH)),
        ((10, 20, 10, 5, 5), Decision(kept=3, ending=Ending.LENGTH)),
        ((90,), Decision(kept=0)),
        ((None, 10, 20, None, 41), Decision(kept=3, ending=Ending.LENGTH)),
    ],
)
def test_a_length_out_of_bounds_ends_the_run_and_is_not_kept(
    lengths: tuple[float | None, ...], expected: Decision
) -> None:
    bounded = replace(RULE, length=(0.5, 2.0))
    readings = [Reading(kl=1.0, score=float(place), length=length) for place, length in enumerate(lengths)]
    assert decide(readings, bounded) == expected
    assert decide(readings, RULE).ending is None


def test_an_iteration_that_measured_no_kl_is_as_far_as_the_one_before() -> None:
    rows = [{"objective/full_kl": 0.5, "reward/held_out": 1.0, "val/length": 7.0}, {"reward/held_out": 2.0}]
    assert readings_of(rows) == [Reading(kl=0.5, score=1.0, length=7.0), Reading(kl=0.5, score=2.0)]


def test_without_a_watcher_the_score_is_what_paying_models_are_sure_of() -> None:
    rows = [{"objective/full_kl": 0.5, "reward/model": 2.0, "reward/model/spread": 0.75, "reward/sure": 1.25}]
    assert readings_of(rows) == [Reading(kl=0.5, score=1.25)]
    assert readings_of([{**rows[0], "reward/held_out": 3.0}]) == [Reading(kl=0.5, score=3.0)]
    alone = {"objective/full_kl": 0.5, "reward/model": 2.0}
    assert readings_of([alone]) == [Reading(kl=0.5, score=None)], "a model's own score says nothing"


def test_the_kl_of_a_whole_distribution_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]), torch.tensor([[0.25, 0.25, 0.5], [0.2, 0.3, 0.5]])
    found = full_kl(p.log() + 3.0, q.log() - 1.0)  # logits need not be normalised
    assert found.tolist() == pytest.approx([0.5 * 0.6931472 - 0.25 * 0.6931472, 0.0], abs=1e-6)


TREE = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.5, 0.2, 0.3]])
MOVED = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3], [0.25, 0.25, 0.5]])


def test_summed_over_sampled_prefixes_it_is_the_kl_of_whole_answers(tmp_path: Path) -> None:
    """Answers of two tokens in exact proportion: the probabilities of MOVED are multiples of 1/400."""
    table = Table(MOVED)
    said = answers(3, 2)
    made = feed(
        table,
        tmp_path,
        PerAnswer(kl=KlInReward(0.1)),
        sampler=Exact(table, 2),
        reward=Payout(dict.fromkeys(said, 0.0)),
        reference=TREE,
        watched=True,
    )
    p, q = table.likelihoods(said).detach(), Table(TREE).likelihoods(said).detach()
    expected = float((p * (p / q).log()).sum())
    metrics = made.next(0).metrics
    assert metrics["objective/full_kl"] == pytest.approx(expected, abs=1e-5)
    assert metrics["objective/kl"] == pytest.approx(expected, abs=1e-5)  # of a sample without luck k1 is as good
    assert metrics["val/repeated_4"] == 0.0
    assert metrics["val/distinct_2"] == 9 / 400


def test_answers_that_teach_nothing_are_as_far_away_as_those_that_do(tmp_path: Path) -> None:
    """One prompt's answers are all worth the same, so that no minibatch holds them; the other prompt's differ."""
    found = {}
    for tied in (False, True):
        table = Table(MOVED)
        said = answers(3, 2)
        worth = [dict.fromkeys(said, 0.0) if tied else {each: float(each[0]) for each in said}]
        made = feed(
            table,
            tmp_path / str(tied),
            PerAnswer(),
            sampler=Exact(table, 2),
            reward=Payout(*worth),
            reference=TREE,
            watched=True,
        )
        work = made.next(0)
        found[tied] = work.metrics["objective/full_kl"]
        assert (not work.batches) == tied
    assert found[True] == pytest.approx(found[False], abs=1e-6)


REFERENCE = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).expand(5, 4)
PAID = Payout({(0,): 0.0, (1,): 1.0, (2,): 0.5, (3,): 2.0})
SEEN = Payout({(0,): 0.0, (1,): 1.0, (2,): 0.5, (3,): 0.3}, "held_out")
"""Agrees on all but the answer that is paid best: what the policy learns is better at first, and then worse."""


def run(
    folder: Path, *, steps: int, rule: Rule, stops: bool = True, save_every: int = 0, within: int = 10**9
) -> Traced:
    """A bandit that is watched, and killed after `within` updates."""
    table = Table(REFERENCE)
    reward = Weighted(((1.0, PAID), (0.0, SEEN)))
    made = feed(
        table, folder, PerAnswer(), sampler=Exact(table), reward=reward, reference=REFERENCE, watched=True, epochs=2
    )
    optimizer = Optimizer(table, OptimConfig(lr=0.1, steps=steps, schedule="constant"))
    averages = Averages(optimizer)
    watch = Watch(rule, averages, every=2, stops=stops)
    traced = Traced(table, within)
    fit(
        table,
        Watched(made, watch),
        PolicyGradient("dr_grpo", budget=1),
        optimizer,
        FitConfig(steps=steps, seed=0, save_every=save_every),
        log=traced,
        checkpoints=Checkpoints(folder / "checkpoints"),
        averages=averages,
        validation=watch,
    )
    return traced


class Killed(Exception):
    pass


class Traced:
    """The weights after each update, by step, and what was logged."""

    def __init__(self, table: Table, within: int) -> None:
        self.table = table
        self.within = within
        self.weights: dict[int, Tensor] = {-1: table.logits_SV.detach().clone()}
        self.rows: dict[int, dict[str, float]] = {}

    def log(self, *, step: int, seconds: float, tokens: int, loss: float, **metrics: float) -> None:
        self.weights[step] = self.table.logits_SV.detach().clone()
        self.rows[step] = metrics
        if len(self.rows) > self.within:
            raise Killed

    def rewind(self, step: int) -> None:
        pass


HASTY = Rule(kl_budget=10.0, window=2, patience=3)


def test_the_run_ends_after_the_peak_and_keeps_the_weights_that_were_read_at_it(tmp_path: Path) -> None:
    found = run(tmp_path, steps=80, rule=HASTY)
    read = readings_of(row for row in found.rows.values() if "objective/scores" in row)
    scores = [each.score for each in read]
    means = [(a + b) / 2 for a, b in pairwise(scores)]
    best = means.index(max(means)) + 1
    assert 1 < best == len(scores) - 4, "three means in a row below the best, and no more"
    assert len(found.rows) == 2 * len(scores) < 80
    assert torch.equal(found.table.logits_SV.detach(), found.weights[2 * best - 1])
    assert found.rows[2 * best + 1]["watch/kept"] == best


def test_the_rule_tried_afterwards_on_a_run_that_went_on_says_the_same(tmp_path: Path) -> None:
    ended = run(tmp_path / "ended", steps=80, rule=HASTY)
    whole = run(tmp_path / "whole", steps=80, rule=HASTY, stops=False)
    assert len(whole.rows) == 80
    assert torch.equal(whole.table.logits_SV.detach(), whole.weights[79])
    decision = decide(readings_of(row for row in whole.rows.values() if "objective/scores" in row), HASTY)
    assert torch.equal(ended.table.logits_SV.detach(), whole.weights[2 * decision.kept - 1])


def test_a_run_that_still_rises_at_its_end_keeps_the_last_weights(tmp_path: Path) -> None:
    found = run(tmp_path, steps=6, rule=HASTY)
    assert torch.equal(found.table.logits_SV.detach(), found.weights[5])


def test_the_budget_ends_a_run_and_the_weights_before_it_are_kept(tmp_path: Path) -> None:
    found = run(tmp_path, steps=80, rule=Rule(kl_budget=0.05, window=2, patience=50))
    kls = [row["objective/full_kl"] for row in found.rows.values() if "objective/full_kl" in row]
    assert [kl > 0.05 for kl in kls] == [False] * (len(kls) - 1) + [True]
    assert torch.equal(found.table.logits_SV.detach(), found.weights[2 * (len(kls) - 2) - 1])


@pytest.mark.parametrize("within", [5, 12, 19])
def test_a_watched_run_that_was_killed_ends_with_the_same_bits(tmp_path: Path, within: int) -> None:
    straight = run(tmp_path / "straight", steps=80, rule=HASTY)
    assert within < len(straight.rows)
    with pytest.raises(Killed):
        run(tmp_path / "killed", steps=80, rule=HASTY, save_every=4, within=within)
    resumed = run(tmp_path / "killed", steps=80, rule=HASTY, save_every=4)
    assert max(resumed.rows) == max(straight.rows)
    assert torch.equal(resumed.table.logits_SV, straight.table.logits_SV)


def test_a_run_that_the_rule_had_ended_does_not_go_on(tmp_path: Path) -> None:
    """Killed after its last checkpoint, while the model was being sealed."""
    straight = run(tmp_path, steps=80, rule=HASTY, save_every=2)
    resumed = run(tmp_path, steps=80, rule=HASTY, save_every=2)
    assert resumed.rows == {}
    assert torch.equal(resumed.table.logits_SV, straight.table.logits_SV)
