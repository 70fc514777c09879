"""What an iteration asks, how its answers end, and which of them count: on tables, and once of a model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tabular import Payout, Said, Scripted, Table, feed, said

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw
from burnish.models.load import load_trainable
from burnish.models.tiny import write_tiny
from burnish.rollout.engine import Engine
from burnish.train.advantages import KlInReward, PerAnswer
from burnish.train.choice import Finished
from burnish.train.collection import RolloutConfig, RolloutPrompt
from burnish.train.policy_gradient import PolicyGradient
from burnish.train.rollouts import RolloutFeed
from burnish.types import Completion, Prompt, Rated, Sampling, Stop

REFERENCE = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).expand(5, 4)  # the same after every token, the prompt is token 4
SCORES = {(0,): 0.0, (1,): 1.0, (2,): 0.5, (3,): 2.0}
BANDIT = Payout(SCORES)


class Asked(Scripted):
    """Says the same to all, and remembers which prompts were asked, call by call."""

    def __init__(self, *groups: Sequence[Said]) -> None:
        super().__init__(*groups)
        self.calls: list[list[tuple[int, ...]]] = []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: object, n: int = 1, **_: object) -> list[list[Said]]:
        self.calls.append([tuple(each) for each in prompts])
        return [list(self.groups[min(len(self.calls), len(self.groups)) - 1]) for _ in prompts]


def asked_by(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return list(dict.fromkeys(line["id"] for line in lines))


def test_dynamic_sampling_leaves_no_prompt_out_of_a_pass(tmp_path: Path) -> None:
    """Eight prompts, two an iteration, four attempts. The second iteration asks twice: after three the pass is over."""
    table = Table(REFERENCE)
    good, idle = said(table, (0,), (3,)), said(table, (1,), (1,))
    given = {"reference": None, "reward": BANDIT, "prompts": 8, "prompts_per_iteration": 2, "attempts": 4}
    made = feed(table, tmp_path, PerAnswer(), sampler=Asked(good, idle, good), **given)
    for step in range(3):
        made.next(step)
    assert len(asked_by(tmp_path)) == 8
    assert sorted(asked_by(tmp_path)) == [f"q{k}" for k in range(8)]


def test_a_resumed_feed_asks_the_prompts_that_would_have_come(tmp_path: Path) -> None:
    """After an iteration that asked twice, and again after one that asked once."""
    table = Table(REFERENCE)
    good, idle = said(table, (0,), (3,)), said(table, (1,), (1,))
    given = {"reference": None, "reward": BANDIT, "prompts": 8, "prompts_per_iteration": 2, "attempts": 4}
    straight = feed(table, tmp_path, PerAnswer(), sampler=Asked(idle, good), **given)
    straight.next(0)
    values, tensors = straight.state()
    straight.next(1)
    wanted = (tmp_path / "samples.jsonl").read_bytes()
    resumed = feed(table, tmp_path, PerAnswer(), sampler=Asked(good), **given)
    resumed.load(json.loads(json.dumps(values)), tensors)
    resumed.next(1)
    assert (tmp_path / "samples.jsonl").read_bytes() == wanted
    assert len(asked_by(tmp_path)) == 6


@pytest.mark.parametrize(("attempts", "calls"), [(1, 1), (3, 3)])
def test_dynamic_sampling_looks_at_what_is_right_and_not_at_penalties(
    tmp_path: Path, attempts: int, calls: int
) -> None:
    """Both answers are wrong, one of them was cut besides: by score they differ, which is learned from where nobody
    asks for groups that are partly right."""
    table = Table(REFERENCE)
    whole, cut = said(table, (0,), (0, 0))
    sampler = Asked([whole, Said(cut.ids, cut.logprobs, Stop.LENGTH)])
    given = {"reference": None, "reward": Payout({(0,): 0.0, (0, 0): 0.0}), "missing_eos_penalty": 1.0}
    work = feed(table, tmp_path, PerAnswer(), sampler=sampler, attempts=attempts, **given).next(0)
    assert len(sampler.calls) == calls
    assert sum(len(batch.rows) for batch in work.batches) == (attempts == 1)
    assert work.metrics["val/groups_without_advantage"] == (0 if attempts == 1 else 3)


class Read:
    """What a reward was given."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        self.given = list(completions)
        return Rated(scores=[float(len(each.text)) for each in completions])


def test_an_answer_that_a_stop_string_ended_is_learned_as_said_and_paid_as_delivered(tmp_path: Path) -> None:
    """Three tokens are said; what stands before the stop string, two, is paid, as text and as ids, which a rule that
    counts tokens reads. No penalty: it ended by itself."""
    table, reward = Table(REFERENCE), Read()
    whole, stopped = said(table, (1, 2), (2, 0, 3))
    sampler = Scripted([whole, Said(stopped.ids, stopped.logprobs, Stop.STRING)])
    given = {"missing_eos_penalty": 5.0, "sampling": Sampling(stop=("3",), max_new_tokens=3)}
    work = feed(
        table, tmp_path, PerAnswer(baseline="none"), sampler=sampler, reward=reward, reference=None, **given
    ).next(0)
    assert [(each.text, each.ids) for each in reward.given] == [("12", (1, 2)), ("20", (2, 0))]
    assert [len(each.logprobs) for each in reward.given] == [2, 2]
    [batch] = work.batches
    assert batch.target_N.tolist() == [1, 2, 2, 0, 3]
    assert batch.extra["sampler_logprobs_N"].tolist() == pytest.approx([*whole.logprobs, *stopped.logprobs])
    assert batch.extra["scores_B"].tolist() == [2.0, 2.0]
    assert (work.metrics["val/eos_share"], work.metrics["val/num_eos_tokens"]) == (1.0, 1)


def test_penalties_that_teach_nothing_are_not_taken_nor_told(tmp_path: Path) -> None:
    """With cut answers masked, what is paid is the finished ones' mean score less β times their KL, of reference
    uniform: the first alone is learned, of score 0 and log(4 · 0.4) nats."""
    table = Table(REFERENCE)
    a, b = said(table, (0,), (2, 2))
    sampler = Scripted([a, Said(b.ids, b.logprobs, Stop.LENGTH)])
    given = {"reward": Payout({(0,): 0.0, (2, 2): 7.0}), "reference": torch.full_like(REFERENCE, 0.25)}
    advantages = PerAnswer(kl=KlInReward(0.5), baseline="none")
    made = feed(table, tmp_path, advantages, sampler=sampler, chosen=Finished().chosen, **given)
    metrics = made.next(0).metrics
    assert metrics["objective/scores"] == 3.5
    assert metrics["objective/chosen_scores"] == 0.0
    assert metrics["objective/kl"] == pytest.approx(math.log(4 * 0.4))
    assert metrics["objective/rlhf_reward"] == pytest.approx(-0.5 * math.log(4 * 0.4))


def test_sampled_and_scored_agree_where_stop_strings_cut(tmp_path: Path) -> None:
    """Of a model: ids end with the token that completed the string, and both say the same of each."""
    folder = write_tiny(tmp_path / "tiny")
    module, tokenizer = load_trainable(folder, dtype=torch.float32), Tokenizer.load(folder)
    renderer, engine = Renderer(tokenizer), Engine(module, end_ids=tokenizer.end_ids)
    prompts = [RolloutPrompt(prompt=Prompt(id=text, messages=()), ids=tuple(tokenizer.encode(text))) for text in "ab"]
    free = engine.generate([prompts[0].ids], Sampling(max_new_tokens=30, seed=draw(0, "rollout", 0)))[0][0]
    [string, *_] = [each for each in renderer.parse(free.ids)[0] if each.isascii()]
    made = RolloutFeed(
        module,
        reference=None,
        sampler=engine,
        reward=Read(),
        advantages=PerAnswer(baseline="none"),
        prompts=prompts,
        view=renderer,
        samples=tmp_path / "samples.jsonl",
        config=RolloutConfig(
            prompts_per_iteration=2,
            samples_per_prompt=4,
            epochs=1,
            minibatches=1,
            micro_tokens=1000,
            sampling=Sampling(stop=(string,), max_new_tokens=30),
            missing_eos_penalty=0.0,
            seed=0,
        ),
    )
    [batch] = made.next(0).batches
    assert torch.allclose(batch.extra["sampler_logprobs_N"], module(batch).logprobs_N.detach(), atol=1e-4)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert "string" in {line["stop"] for line in lines}
    assert not any(string in line["text"] for line in lines)
    ends = [renderer.parse(batch.target_N[batch.answer_N == k].tolist())[0] for k in range(8)]
    assert sorted(string in text for text in ends) == sorted(line["stop"] == "string" for line in lines)


def test_cut_answers_that_are_masked_are_as_if_they_had_not_been_said(tmp_path: Path) -> None:
    """The first prompt's cut answer is gone from batch, baseline and counts, the second prompt has one left to compare
    with nobody. The third's answers are alike: they are not passed, and still divided by."""
    table = Table(REFERENCE)

    def cut(each: Said) -> Said:
        return Said(each.ids, each.logprobs, Stop.LENGTH)

    a, b, c = said(table, (0,), (3,), (2, 2))
    alike = said(table, (1,), (1,))
    paid = Payout({**SCORES, (2, 2): 7.0})
    given = {"reward": paid, "reference": None, "minibatches": 1}
    masked = Scripted([a, b, cut(c)], [a, cut(b), cut(c)], alike)
    work = feed(table, tmp_path, PerAnswer(), sampler=masked, prompts=3, chosen=Finished(least=2).chosen, **given).next(
        0
    )
    plain = feed(table, tmp_path, PerAnswer(), sampler=Scripted([a, b], alike), prompts=2, **given).next(0)
    [found], [wanted] = work.batches, plain.batches
    assert found.target_N.tolist() == wanted.target_N.tolist() == [0, 3]
    assert found.extra["advantages_N"].tolist() == wanted.extra["advantages_N"].tolist() == [-1.0, 1.0]
    for variant in ("grpo", "dapo", "dr_grpo"):
        objective = PolicyGradient(variant, budget=8)
        assert objective.counts(found) == objective.counts(wanted)
    assert objective.counts(found) == {"policy": 4 * 8}
    assert (work.metrics["val/chosen"], work.metrics["val/eos_share"]) == (4, pytest.approx(5 / 8))
