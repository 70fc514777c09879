"""Our side of reinforcement learning: steps of GRPO or PPO through the loop, feed and engine that a stage has. Run as a
program, with a job's file; with a peer's name and another kind of work after it, that is done instead.

Answers are paid by a rule that costs nothing (`worth`), so that what is timed is sampling and learning.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from burnish.batches import Batch, Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.arithmetic import settle
from burnish.models.forward import Output
from burnish.models.load import load_trainable, pick_dtype
from burnish.proof.bench import floor
from burnish.proof.bench.job import SEED, Job, read_job
from burnish.proof.bench.ours import TurnLog
from burnish.proof.bench.rollouts import Groups, Rates
from burnish.proof.bench.turns import Ended, Step, Turns, peak_mb, turns
from burnish.rollout.engine import Engine, Sampled
from burnish.train.advantages import Advantages, KlInReward, PerAnswer, PerToken
from burnish.train.collection import RolloutConfig, RolloutPrompt
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Objective, Ppo
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.policy_gradient import KlInLoss, PolicyGradient
from burnish.train.rollouts import RolloutFeed
from burnish.types import Completion, Prompt, Rated, Sampling

LR = 1e-6
KL = 0.04
"""GRPO's weight of the KL (Shao et al. 2024, §4); PPO has it in the reward."""


def worth(ids: Sequence[int]) -> float:
    """The share of tokens that had not been said before: a reward for both sides."""
    return len(set(ids)) / len(ids)


class Rule:
    """`worth` as a reward."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        return Rated(scores=[worth(completion.ids) for completion in completions])


class Kept:
    """A sampler that remembers what was sampled in each step."""

    def __init__(self, engine: Engine) -> None:
        self.made: list[Groups] = []
        self.version = engine.version
        self._engine = engine

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        n: int = 1,
        *,
        stopped: Callable[[Sequence[int]], bool] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[list[Sampled]]:
        found = self._engine.generate(prompts, sampling, n, stopped=stopped, seeds=seeds)
        groups = [(len(ids), [len(a.ids) for a in row]) for ids, row in zip(prompts, found, strict=True)]
        self.made.append(groups)
        return found


class Timed:
    """A reference, and the seconds that it took since it was last asked."""

    def __init__(self, reference: Callable[[Batch], Output]) -> None:
        self._reference = reference
        self._seconds = 0.0

    def __call__(self, batch: Batch) -> Output:
        began = time.perf_counter()
        found = self._reference(batch)
        self._seconds += time.perf_counter() - began
        return found

    def taken(self) -> float:
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def learn(job: Job, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory and what the floor is made of."""
    settle(kernels=job.kernels)
    torch.manual_seed(SEED)
    folder, ppo = Path(job.model), job.work == "ppo-step"
    tokenizer = Tokenizer.load(folder)
    dtype = pick_dtype("auto")
    module = load_trainable(folder, dtype=dtype, value=ppo)
    sampler = Kept(Engine(module, end_ids=tokenizer.end_ids))
    reference = Timed(load_trainable(folder, dtype=dtype).requires_grad_(False))
    advantages: Advantages = PerToken(kl=KlInReward(KL)) if ppo else PerAnswer(baseline="standardised")
    objective: Objective = (
        Ppo(cliprange=0.2, cliprange_value=0.2, vf_coef=0.1)
        if ppo
        else PolicyGradient("grpo", budget=job.new_tokens, kl=KlInLoss(coef=KL))
    )

    def made(step: int, seconds: float, loss: float, metrics: Mapping[str, float]) -> Step:
        known = {
            "sample": metrics["seconds/rollout"],
            "score": metrics["seconds/reward"],
            "reference": reference.taken(),
        }
        known["measure"] = metrics["seconds/measure"] - known["reference"]
        tokens = sum(sum(lengths) for _, lengths in sampler.made[step])
        return Step(seconds=seconds, tokens=tokens, loss=loss, phases={**known, "learn": seconds - sum(known.values())})

    with tempfile.TemporaryDirectory() as scratch, suppress(Ended):
        feed = RolloutFeed(
            module,
            reference=reference,
            sampler=sampler,
            reward=Rule(),
            advantages=advantages,
            prompts=_prompts(job),
            view=Renderer(tokenizer),
            samples=Path(scratch) / "samples.jsonl",
            config=_config(job),
            learns_without_advantage=not ppo,
        )
        optimizer = Optimizer(module, OptimConfig(lr=LR, steps=job.steps, schedule="constant"))
        told.ready()
        fit(module, feed, objective, optimizer, FitConfig(steps=job.steps, seed=SEED), log=TurnLog(told, made))
    peak = peak_mb()
    rates = Rates(module, job)
    passes = 5 if ppo else 4  # 3 of learning, the reference's, and PPO's for its old values
    told.tell(
        {
            "peak_mb": peak,
            "floor_seconds": [
                rates.sampling(groups) + _learning(rates, groups, passes) for groups in sampler.made[: job.steps]
            ],
            "gflops": rates.machine.operations / 1e9,
            "gbytes": rates.machine.bandwidth / 1e9,
        }
    )


def _learning(rates: Rates, groups: Groups, passes: int) -> float:
    """Seconds that it takes at least."""
    documents = [Document(row="", ids=[0] * n, branches=[[0] * length for length in answers]) for n, answers in groups]
    operations = floor.training_operations(rates.sizes, documents, passes)
    return rates.machine.seconds(operations, rates.sizes.trained)


def _prompts(job: Job) -> list[RolloutPrompt]:
    return [RolloutPrompt(prompt=Prompt(id=item.row, messages=()), ids=tuple(item.ids)) for item in job.items]


def _config(job: Job) -> RolloutConfig:
    return RolloutConfig(
        prompts_per_iteration=job.per_step,
        samples_per_prompt=job.answers,
        epochs=1,
        minibatches=1,
        micro_tokens=job.micro_tokens,
        sampling=Sampling(max_new_tokens=job.new_tokens),
        missing_eos_penalty=0.0,
        seed=SEED,
    )


if __name__ == "__main__":
    with turns() as mine:
        asked = read_job(Path(sys.argv[1]))
        learn(replace(asked, work=sys.argv[3]) if len(sys.argv) > 3 else asked, mine)
