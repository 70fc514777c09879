"""Methods that choose among the policy's own answers: what they hand out, by hand, and the optima that they reach
through the real loop, feed and objective."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import pytest
import torch
from tabular import Exact, Payout, Scripted, Table, feed, said
from torch import Tensor

from burnish.train.choice import Best, Order
from burnish.train.collection import Group, RolloutPrompt
from burnish.train.direct import DirectPreference
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Sft
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.rollouts import RolloutFeed
from burnish.types import Completion, Prompt, Sampling, Stop

UNIFORM = torch.full((5, 4), 0.25)
BANDIT = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).expand(5, 4)
TWO = torch.tensor([[0.8, 0.2]]).expand(3, 2)
PAID = Payout({(0,): 0.0, (1,): 1.0, (2,): 0.5, (3,): 2.0, (0, 1): 1.5})


def group(*paid: float, ids: tuple[int, ...] | None = None) -> Group:
    """One answer a score; `ids` say which are the same text."""
    said_ = [Completion(text=str(k), stop=Stop.EOS, ids=(k,)) for k in ids or range(len(paid))]
    asked = RolloutPrompt(prompt=Prompt(id="q", messages=()), ids=(9,))
    parts = {"part": [10 * each for each in paid]}
    return Group(row="q", asked=asked, answers=said_, scores=list(paid), rewards=list(paid), parts=parts)


@pytest.mark.parametrize(
    ("best", "paid", "chosen"),
    [
        (Best(), (0.0, 2.0, 1.0), (1,)),
        (Best(), (1.0, 2.0, 2.0), (1,)),  # the first of equals
        (Best(per_prompt=2), (0.0, 2.0, 1.0), (1, 2)),
        (Best(per_prompt=None, threshold=1.0), (0.0, 2.0, 1.0), (1, 2)),
        (Best(per_prompt=1, threshold=1.0), (0.0, 1.0, 2.0), (2,)),
        (Best(per_prompt=9), (0.0, 2.0), (0, 1)),
    ],
)
def test_the_best_answers_are_chosen(best: Best, paid: tuple[float, ...], chosen: tuple[int, ...]) -> None:
    found = best.chosen(group(*paid))
    assert [answer.ids for answer in found.answers] == [(k,) for k in chosen]
    assert found.scores == [paid[k] for k in chosen]
    assert found.parts == {"part": [10 * paid[k] for k in chosen]}


def test_the_same_answer_is_learned_once() -> None:
    found = Best(per_prompt=None, threshold=1.0).chosen(group(1.0, 0.0, 1.0, 1.0, ids=(5, 6, 5, 7)))
    assert [answer.ids for answer in found.answers] == [(5,), (7,)]
    assert [answer.ids for answer in Best(per_prompt=2).chosen(group(1.0, 1.0, 0.5, ids=(5, 5, 7))).answers] == [
        (5,),
        (7,),
    ]


@pytest.mark.parametrize(
    ("paid", "ids", "chosen"),
    [
        ((1.0, 1.0, 1.0), (5, 6, 5), 5),  # the first of equals, though it was said again
        ((1.0, 0.9, 0.8), (5, 6, 5), 5),  # the best, though a judge liked it less the second time
    ],
)
def test_an_answer_said_again_keeps_its_first_place(paid: tuple[float, ...], ids: tuple[int, ...], chosen: int) -> None:
    found = Best().chosen(group(*paid, ids=ids))
    assert [answer.ids for answer in found.answers] == [(chosen,)]
    assert found.scores == [1.0]


def test_prompts_without_a_good_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    table, best = Table(UNIFORM), Best(per_prompt=None, threshold=1.0)
    sampler = Scripted(said(table, (0,), (3,), (1,)), said(table, (0,), (2,), (2,)))
    made = feed(table, tmp_path, best, sampler=sampler, reward=PAID, reference=None, prompts=2, chosen=best.chosen)
    work = made.next(0)
    [batch] = work.batches
    assert batch.target_N.tolist() == [3, 1]
    assert Sft().counts(batch) == {"nll": 2.0}
    assert work.metrics["val/chosen"] == 2
    assert work.metrics["objective/chosen_scores"] == 1.5
    assert work.metrics["objective/scores"] == pytest.approx((0 + 2 + 1 + 0 + 0.5 + 0.5) / 6)
    assert work.metrics["val/groups_without_advantage"] == 1
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 6  # all of them are kept to read


def learned(table: Table, made: RolloutFeed, objective: Sft | DirectPreference, steps: int = 400) -> Tensor:
    """The prompt's row after training."""
    optimizer = Optimizer(table, OptimConfig(lr=0.05, steps=steps, schedule="linear"))
    fit(table, made, objective, optimizer, FitConfig(steps=steps, seed=0))
    return table.probabilities()[-1]


def test_a_round_with_a_threshold_cuts_the_policy_off_below_it(tmp_path: Path) -> None:
    """Of (0.4, 0.3, 0.2, 0.1) the second and the last have 1 or more: they become (0, ¾, 0, ¼). The sampled pairs are
    of two tokens, so that no answer is said twice: the last tokens tell them apart, and the first ones are what counts.
    """
    probabilities = torch.cat([torch.full((4, 4), 0.25), torch.tensor([[0.4, 0.3, 0.2, 0.1]])])
    table, best = Table(probabilities), Best(per_prompt=None, threshold=1.0)
    counts = {0: 4, 1: 3, 2: 2, 3: 1}
    answers = [(first, last) for first, count in counts.items() for last in range(count)]
    paid = Payout({each: PAID.scores[each[:1]] for each in answers})
    made = feed(
        table,
        tmp_path,
        best,
        sampler=Scripted(said(table, *answers)),
        reward=paid,
        reference=None,
        epochs=400,
        chosen=best.chosen,
    )
    assert learned(table, made, Sft()).tolist() == pytest.approx([0.0, 0.75, 0.0, 0.25], abs=0.01)


def test_a_round_of_the_best_of_n_learns_the_policy_of_best_of_n(tmp_path: Path) -> None:
    """Every pair of a uniform policy's four answers: the k-th best wins (2k - 1)/16 of them."""
    table, best = Table(UNIFORM), Best()
    pairs = [said(table, (a,), (b,)) for a, b in product(range(4), repeat=2)]
    made = feed(
        table,
        tmp_path,
        best,
        sampler=Scripted(*pairs),
        reward=PAID,
        reference=None,
        prompts=16,
        epochs=400,
        samples_per_prompt=2,
        chosen=best.chosen,
    )
    assert learned(table, made, Sft()).tolist() == pytest.approx([1 / 16, 5 / 16, 3 / 16, 7 / 16], abs=0.01)


def test_scores_become_ranks_prompt_by_prompt(tmp_path: Path) -> None:
    table = Table(BANDIT)
    sampler = Scripted(
        said(table, (0,), (3,), (1,), (3,)), said(table, (1,), (1,), (1,), (1,)), said(table, (2,), (0,))
    )
    made = feed(table, tmp_path, Order(), sampler=sampler, reward=PAID, reference=BANDIT, prompts=3)
    work = made.next(0)
    [batch] = work.batches
    of = {row: batch.extra["ranks_B"][batch.prompt_B == k].tolist() for k, row in enumerate(batch.rows)}
    assert sorted(of.values()) == [[1, 2], [4, 1, 3, 1]]
    assert work.metrics["val/groups_without_advantage"] == 1
    assert work.metrics["objective/kl"] == pytest.approx(0.0, abs=1e-6)


def test_the_kl_is_of_prompts_without_an_order_too(tmp_path: Path) -> None:
    """All say 1 to the second prompt, which teaches nothing: log(0.3/0.25) nats away, as each of the first's."""
    table = Table(torch.tensor([[0.4, 0.3, 0.2, 0.1]]).repeat(5, 1))
    sampler = Scripted(said(table, (0,), (3,)), said(table, (1,), (1,)))
    uniform = torch.full((5, 4), 0.25)
    metrics = feed(table, tmp_path, Order(), sampler=sampler, reward=PAID, reference=uniform, prompts=2).next(0).metrics
    assert metrics["val/groups_without_advantage"] == 1
    assert metrics["objective/kl"] == pytest.approx(math.log(0.4 * 0.1 * 0.3 * 0.3 * 4**4) / 4)


def test_answers_sampled_hotter_are_learned_as_they_are(tmp_path: Path) -> None:
    """At temperature 1; how far they are from the reference is not measured then."""
    table = Table(BANDIT)
    sampler = Scripted(said(table, (0,), (3,)))
    made = feed(
        table, tmp_path, Order(), sampler=sampler, reward=PAID, reference=BANDIT, sampling=Sampling(temperature=1.3)
    )
    work = made.next(0)
    assert work.batches[0].temperature == 1.0
    assert "objective/kl" not in work.metrics


def test_the_first_step_costs_ln_2(tmp_path: Path) -> None:
    table = Table(BANDIT)
    made = feed(table, tmp_path, Order(), sampler=Scripted(said(table, (0,), (3,))), reward=PAID, reference=BANDIT)
    found = DirectPreference("dpo", beta=0.3).loss(table, made.next(0).batches[0])
    assert float(found.sums["preference"].detach()) == pytest.approx(math.log(2))


def test_fresh_preferences_reach_ipos_optimum(tmp_path: Path) -> None:
    """Of two answers IPO wants log π/ref of the better one ahead by 1/(2τ), however often each is sampled: the odds of
    (0.8, 0.2) change from 1/4 to e^(1/(2τ))/4 for the second, which is paid more."""
    table, tau = Table(TWO), 0.4
    made = feed(table, tmp_path, Order(), sampler=Exact(table), reward=PAID, reference=TWO, samples_per_prompt=20)
    found = learned(table, made, DirectPreference("ipo", beta=tau), steps=150)
    assert float(found[1] / found[0]) == pytest.approx(math.exp(1 / (2 * tau)) / 4, rel=0.02)


@pytest.mark.parametrize("choice", [Best(), Order()], ids=["best", "order"])
def test_a_resumed_feed_hands_out_the_same(tmp_path: Path, choice: Best | Order) -> None:
    table = Table(BANDIT)

    def made() -> RolloutFeed:
        return feed(
            table,
            tmp_path,
            choice,
            sampler=Exact(table),
            reward=PAID,
            reference=BANDIT,
            prompts=4,
            samples_per_prompt=12,
            epochs=2,
            minibatches=2,
            sampling=Sampling(temperature=1.3),
            chosen=choice.chosen if isinstance(choice, Best) else None,
        )

    straight = made()
    straight.next(0)
    values, tensors = straight.state()
    resumed = made()
    resumed.load(json.loads(json.dumps(values)), {name: tensor.clone() for name, tensor in tensors.items()})
    for step in (1, 2, 3):
        for a, b in zip(straight.next(step).batches, resumed.next(step).batches, strict=True):
            assert (a.rows, a.temperature) == (b.rows, b.temperature)
            assert all(torch.equal(a.tensors()[name], tensor) for name, tensor in b.tensors().items())
