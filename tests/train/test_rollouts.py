"""The feed of on-policy methods on problems small enough to know what it must hand out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tabular import Exact, Payout, Said, Scripted, Table, feed, said

from burnish.data.order import draw, seeds_of
from burnish.losses.returns import gae, whiten
from burnish.train.advantages import KlInReward, PerAnswer, PerToken
from burnish.train.feeds import Work
from burnish.train.objectives import Ppo
from burnish.train.policy_gradient import PolicyGradient
from burnish.types import Sampling, Stop

REFERENCE = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).expand(5, 4)  # the same after every token, the prompt is token 4
SCORES = {(0,): 0.0, (1,): 1.0, (2,): 0.5, (3,): 2.0}
BANDIT = Payout(SCORES)


def ppo(coef: float = 0.7, **changes: float | bool) -> PerToken:
    return PerToken(kl=KlInReward(coef), **{"whiten": False, **changes})


def test_the_first_minibatch_has_ratio_one_and_no_kl(tmp_path: Path) -> None:
    table = Table(REFERENCE)
    work = feed(table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE).next(0)
    assert work.metrics["objective/kl"] == 0.0
    assert work.metrics["objective/scores"] == work.metrics["reward/payout"] == pytest.approx(0.6, abs=0.005)
    assert work.metrics["val/eos_share"] == 1.0
    result = Ppo(cliprange=0.2, cliprange_value=0.2, vf_coef=0.1).loss(table, work.batches[0])
    assert result.metrics["val/ratio"][0] == result.metrics["val/ratio"][1]


def two_answers(table: Table) -> Scripted:
    """Of known length, the second cut by the budget."""
    whole, cut = said(table, (1, 2, 3), (2, 2))
    return Scripted([whole, Said(cut.ids, cut.logprobs, Stop.LENGTH)])


PAID = Payout({(1, 2, 3): 2.0, (2, 2): 1.0})


def test_rewards_kl_gae_and_whitening_as_by_hand(tmp_path: Path) -> None:
    table = Table(torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(5, 4))
    table.values_S.data.fill_(0.5)
    advantages = ppo(0.1, lam=0.9, gamma=0.8, whiten=True)
    made = feed(
        table,
        tmp_path,
        advantages,
        sampler=two_answers(table),
        reward=PAID,
        reference=REFERENCE,
        missing_eos_penalty=1.5,
    )
    batch = made.next(0).batches[0]
    kl = [math.log(p / q) for p, q in [(0.2, 0.3), (0.3, 0.2), (0.4, 0.1), (0.3, 0.2), (0.3, 0.2)]]
    assert batch.extra["kl_N"].tolist() == pytest.approx(kl, abs=1e-6)
    assert batch.extra["scores_B"].tolist() == pytest.approx([2.0, -0.5])
    first = torch.tensor([-0.1 * k for k in kl[:3]]) + torch.tensor([0.0, 0.0, 2.0])
    second = torch.tensor([-0.1 * k for k in kl[3:]]) + torch.tensor([0.0, -0.5])
    parts = [gae(rewards, torch.full_like(rewards, 0.5), 0.8, 0.9) for rewards in (first, second)]
    assert batch.extra["advantages_N"].tolist() == pytest.approx(whiten(torch.cat([a for a, _ in parts])).tolist())
    assert batch.extra["returns_N"].tolist() == pytest.approx(torch.cat([r for _, r in parts]).tolist())
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["kl"] for line in lines] == pytest.approx([sum(kl[:3]), sum(kl[3:])], abs=1e-5)
    assert [line["parts"] for line in lines] == [{"payout": 2.0}, {"payout": 1.0}]
    assert [line["score"] for line in lines] == [2.0, -0.5]


def test_rewards_are_whitened_about_their_mean(tmp_path: Path) -> None:
    """Token rewards (0, 0, 2, 0, 1): mean 0.6, biased variance 0.64. With λ = 1 and V = 0 advantages are their sums."""
    table = Table(REFERENCE)
    advantages = ppo(0.1, lam=1.0, whiten_rewards=True)
    made = feed(table, tmp_path, advantages, sampler=two_answers(table), reward=PAID, reference=REFERENCE)
    rewards = [0.6 + (r - 0.6) / 0.8 for r in (0, 0, 2, 0, 1)]
    expected = [sum(rewards[:3]), sum(rewards[1:3]), rewards[2], sum(rewards[3:]), rewards[4]]
    assert made.next(0).batches[0].extra["advantages_N"].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_controller_steers_and_its_place_is_in_the_checkpoint(tmp_path: Path) -> None:
    """KL of the two answers above is (1.387 + 0.811)/2 nats, the target half a nat: β grows by 20% · 2/10."""
    table = Table(torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(5, 4))

    def made() -> tuple[KlInReward, object]:
        kl = KlInReward(0.1, target=0.5, horizon=10)
        advantages = PerToken(kl=kl, whiten=False)
        return kl, feed(table, tmp_path, advantages, sampler=two_answers(table), reward=PAID, reference=REFERENCE)

    kl, first = made()
    work = first.next(0)
    assert work.metrics["objective/kl_coef"] == 0.1
    assert kl.coef == pytest.approx(0.1 * 1.04)
    values, tensors = first.state()
    again, second = made()
    second.load(json.loads(json.dumps(values)), tensors)
    assert again.coef == kl.coef
    assert second.next(1).metrics["objective/kl_coef"] == kl.coef


@pytest.mark.parametrize(
    ("kl", "expected"), [(6.0, 0.15), (6.6, 0.15 * 1.0064), (60.0, 0.15 * 1.0128), (0.0, 0.15 * 0.9872)]
)
def test_the_controller_by_hand(kl: float, expected: float) -> None:
    """Ziegler et al.: target 6 nats, horizon 10,000 episodes, 640 of them; the error is clipped to 20%."""
    found = KlInReward(0.15, target=6.0)
    found.observe(kl, 640)
    assert found.coef == pytest.approx(expected)
    fixed = KlInReward(0.15)
    fixed.observe(60.0, 640)
    assert fixed.coef == 0.15


def test_groups_without_an_advantage_are_counted_and_not_passed(tmp_path: Path) -> None:
    """Two prompts, the second with one score for all its answers: its 2 answers and 2 tokens are still divided by."""
    table = Table(REFERENCE)
    sampler = Scripted(said(table, (0,), (3,)), said(table, (1,), (1,)))
    made = feed(table, tmp_path, PerAnswer(), sampler=sampler, reward=BANDIT, reference=None, prompts=2)
    work = made.next(0)
    [batch] = work.batches
    assert (len(batch.rows), batch.last_B.numel()) == (1, 2)
    assert batch.extra["advantages_N"].tolist() == [-1.0, 1.0]
    counts = {v: PolicyGradient(v, budget=8).counts(batch)["policy"] for v in ("grpo", "dapo", "dr_grpo")}
    assert counts == {"grpo": 4.0, "dapo": 4.0, "dr_grpo": 32.0}
    assert work.metrics["val/groups_without_advantage"] == 1
    assert work.metrics["objective/scores"] == pytest.approx((0 + 2 + 1 + 1) / 4)
    everything = feed(
        table,
        tmp_path,
        PerAnswer(),
        sampler=sampler,
        reward=BANDIT,
        reference=REFERENCE,
        prompts=2,
        learns_without_advantage=True,
    )
    assert everything.next(0).batches[0].last_B.numel() == 4  # a KL in the loss has something to learn of them


def test_the_entropy_is_told_where_no_pass_measures_it(tmp_path: Path) -> None:
    """Two prompts, of which the second teaches nothing and counts as well: -ln 0.4, -ln 0.1 and twice -ln 0.3, a mean
    of four answers. A critic's pass measures all of the distribution: 1.28 nats, whatever was said."""
    table = Table(REFERENCE)
    sampler = Scripted(said(table, (0,), (3,)), said(table, (1,), (1,)))
    given = {"sampler": sampler, "reward": BANDIT, "prompts": 2}
    work = feed(table, tmp_path, PerAnswer(), reference=None, **given).next(0)
    assert work.metrics["objective/entropy"] == pytest.approx(-math.log(0.4 * 0.1 * 0.3 * 0.3) / 4)
    work = feed(table, tmp_path, ppo(), reference=REFERENCE, **given).next(0)
    assert work.metrics["objective/entropy"] == pytest.approx(-sum(p * math.log(p) for p in (0.4, 0.3, 0.2, 0.1)))


def test_episodes_are_counted_over_iterations_and_on_after_a_resume(tmp_path: Path) -> None:
    table = Table(REFERENCE)
    made = feed(table, tmp_path, ppo(), sampler=two_answers(table), reward=PAID, reference=REFERENCE, prompts=3)
    assert [made.next(step).metrics["episode"] for step in range(2)] == [6, 12]
    state = made.state()
    made.load(*state)
    assert made.next(2).metrics["episode"] == 18


def test_an_iteration_without_any_advantage_has_nothing_to_learn(tmp_path: Path) -> None:
    table = Table(REFERENCE)
    sampler = Scripted(said(table, (1,), (1,)))
    work = feed(table, tmp_path, PerAnswer(), sampler=sampler, reward=BANDIT, reference=None, prompts=2).next(0)
    assert (work.batches, work.metrics["val/groups_without_advantage"]) == ([], 2)


class Turns(Scripted):
    """Another group at each call."""

    calls = 0

    def generate(self, prompts: object, sampling: object, n: int = 1, **_: object) -> list[list[Said]]:
        self.calls += 1
        return [list(self.groups[min(self.calls, len(self.groups)) - 1]) for _ in prompts]


@pytest.mark.parametrize(("attempts", "calls", "groups"), [(1, 1, 0), (2, 2, 0), (3, 3, 2), (9, 3, 2)])
def test_dynamic_sampling_fills_the_iteration_or_gives_up(
    tmp_path: Path, attempts: int, calls: int, groups: int
) -> None:
    table = Table(REFERENCE)
    sampler = Turns(said(table, (1,), (1,)), said(table, (2,), (2,)), said(table, (0,), (3,)))
    made = feed(
        table, tmp_path, PerAnswer(), sampler=sampler, reward=BANDIT, reference=None, prompts=2, attempts=attempts
    )
    work = made.next(0)
    assert sampler.calls == calls
    assert sum(len(batch.rows) for batch in work.batches) == groups
    assert work.metrics["val/groups_without_advantage"] == 2 * calls - groups
    assert all("absent_answers_D" not in batch.extra for batch in work.batches)


def test_overlong_answers_pay_on_a_line(tmp_path: Path) -> None:
    """Budget 4, of which the last 2 cost: lengths 2, 3, 4 pay 0, ½, 1."""
    table = Table(REFERENCE)
    ids = [(1,) * length for length in (2, 3, 4)]
    made = feed(
        table,
        tmp_path,
        PerAnswer(),
        sampler=Scripted(said(table, *ids)),
        reward=Payout(dict.fromkeys(ids, 1.0)),
        reference=None,
        sampling=Sampling(max_new_tokens=4),
        overlong_tokens=2,
    )
    assert made.next(0).batches[0].extra["scores_B"].tolist() == pytest.approx([1.0, 0.5, 0.0])


class BySeed:
    """Says of every prompt how many other seeds prompts were given before its own."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.seeds: list[int] = []

    def generate(
        self, prompts: Sequence[object], sampling: object, n: int = 1, *, seeds: Sequence[int], **_: object
    ) -> list[list[Said]]:
        self.seeds = list(dict.fromkeys([*self.seeds, *seeds]))
        return [said(self.table, *[(self.seeds.index(seed),)] * n) for seed in seeds]


def test_a_prompt_that_comes_again_in_an_iteration_is_answered_anew(tmp_path: Path) -> None:
    """Two prompts of the same text, four an iteration: with the same seed a sampler would say the same four times."""
    table = Table(REFERENCE)
    sampler = BySeed(table)
    made = feed(
        table,
        tmp_path,
        ppo(),
        sampler=sampler,
        reward=BANDIT,
        reference=REFERENCE,
        prompts=2,
        prompts_per_iteration=4,
        samples_per_prompt=2,
    )
    made.next(0)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == ["q0"] * 4 + ["q1"] * 4
    assert [line["text"] for line in lines] == ["0", "0", "1", "1", "2", "2", "3", "3"]
    assert sampler.seeds[0] == draw(0, "rollout", 0)  # what comes once is as if nothing came again


def test_each_iteration_asks_the_next_prompts_with_a_seed_of_its_own(tmp_path: Path) -> None:
    table = Table(REFERENCE)
    sampler = BySeed(table)
    given = {"prompts": 4, "prompts_per_iteration": 2, "samples_per_prompt": 1}
    made = feed(table, tmp_path, ppo(), sampler=sampler, reward=BANDIT, reference=REFERENCE, **given)
    made.next(0)
    made.next(1)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == ["q0", "q1", "q2", "q3"]
    assert sampler.seeds == [each for turn in (0, 1) for each in seeds_of(draw(0, "rollout", turn), "qq")]


def test_every_epoch_passes_all_minibatches(tmp_path: Path) -> None:
    table = Table(REFERENCE)
    given = {"prompts": 3, "minibatches": 3, "epochs": 2, "samples_per_prompt": 4}
    made = feed(table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE, **given)
    steps = [made.next(step).batches for step in range(6)]
    assert len({batch.rows for batches in steps[:3] for batch in batches}) == 3
    assert [id(batches[0]) for batches in steps[:3]] == [id(batches[0]) for batches in steps[3:]]


def test_every_minibatch_is_there_where_prompts_do_not_divide_evenly(tmp_path: Path) -> None:
    table = Table(REFERENCE)
    made = feed(
        table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE, prompts=5, minibatches=4
    )
    sizes = [sum(len(batch.rows) for batch in made.next(step).batches) for step in range(4)]
    assert sizes == [1, 1, 1, 2]


def test_a_resumed_feed_hands_out_the_same_minibatches(tmp_path: Path) -> None:
    table = Table(REFERENCE)

    def made(**changes: object) -> object:
        return feed(table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE, **changes)

    straight = made(epochs=2, samples_per_prompt=50)
    straight.next(0)
    values, tensors = straight.state()
    expected: Work = straight.next(1)
    resumed = made(epochs=2, samples_per_prompt=50)
    resumed.load(json.loads(json.dumps(values)), {name: tensor.clone() for name, tensor in tensors.items()})
    found = resumed.next(1)
    for a, b in zip(found.batches, expected.batches, strict=True):
        assert a.rows == b.rows
        assert all(torch.equal(a.tensors()[name], tensor) for name, tensor in b.tensors().items())


def test_every_answer_is_kept_to_read_and_once_after_a_resume(tmp_path: Path) -> None:
    table = Table(REFERENCE)
    made = feed(table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE, samples_per_prompt=10)
    made.next(0)
    state = made.state()
    made.next(1)  # lost by the kill
    made.load(*state)
    made.next(1)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0] * 10 + [1] * 10
    assert {"id", "prompt", "text", "stop", "score", "parts", "kl"} <= lines[0].keys()


def test_every_answer_says_how_many_updates_its_weights_had_had(tmp_path: Path) -> None:
    """Two passes of two minibatches are four updates an iteration; a resumed feed counts on."""
    table = Table(REFERENCE)
    given = {"prompts": 2, "epochs": 2, "minibatches": 2, "samples_per_prompt": 3}
    made = feed(table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE, **given)
    for step in range(8):
        made.next(step)
    state = made.state()
    made = feed(table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE, **given)
    made.load(*state)
    made.next(8)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["updates"] for line in lines] == [0] * 6 + [4] * 6 + [8] * 6


def test_the_log_of_answers_is_not_read_at_a_checkpoint_and_counted_at_a_resume(tmp_path: Path) -> None:
    """It grows with the run. A machine that lost power may have lost its last lines."""
    table, samples = Table(REFERENCE), tmp_path / "samples.jsonl"
    made = feed(table, tmp_path, ppo(), sampler=Exact(table), reward=BANDIT, reference=REFERENCE, samples_per_prompt=10)
    made.next(0)
    lines = samples.read_bytes().splitlines(keepends=True)
    samples.unlink()
    values, tensors = made.state()
    assert values["samples"] == 10
    samples.write_bytes(b"".join(lines[:4]))
    made.load(values, tensors)
    made.next(1)
    assert made.state()[0]["samples"] == len(samples.read_bytes().splitlines()) == 14
