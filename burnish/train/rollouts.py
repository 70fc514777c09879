"""The feed of on-policy methods with a critic: prompts -> answers -> rewards -> advantages, handed out as minibatches.

Knows a sampler, a scorer, a frozen reference and the module that is trained; they leave tensors in the batches, so
that the objective sees none of them. Old log-probabilities come from the same packs and kernels that training uses: the
ratio of the first minibatch is exactly 1.

Suffixes: N targets, B answers, R tokens of one answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.data.order import draw, rows_of_step
from burnish.data.packing import best_fit
from burnish.losses import policy, returns
from burnish.models.forward import Output, Trainable
from burnish.records import durable
from burnish.train.feeds import Work
from burnish.types import Sampling, Stop


class Sampled(Protocol):
    """One sampled answer."""

    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def stop(self) -> Stop: ...


class Sampler(Protocol):
    """Token ids in, token ids out, with the weights as they are now."""

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, n: int = 1
    ) -> Sequence[Sequence[Sampled]]: ...


class BatchScorer(Protocol):
    """Scores of the answers of a batch."""

    def scores(self, batch: Batch) -> Tensor: ...


class TextView(Protocol):
    """Reads sampled answers: for people, and as the reward model learned them."""

    def parse(self, ids: Sequence[int]) -> tuple[str, Stop]: ...
    def closed(self, ids: Sequence[int]) -> list[int]:
        """The ids with an end marker, whether the answer had one or not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPrompt:
    """A prompt ready to be answered."""

    id: str
    ids: tuple[int, ...]
    shown: Any
    """What samples.jsonl says of it: messages and meta."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """PPO's collection settings, named as TRL's PPOConfig named them."""

    prompts_per_iteration: int
    samples_per_prompt: int
    epochs: int
    """Passes over the answers of an iteration."""
    minibatches: int
    """Optimiser steps a pass."""
    micro_tokens: int
    kl_coef: float
    """β: weight of log π_old - log ref in the reward of each token."""
    gamma: float
    lam: float
    temperature: float
    max_new_tokens: int
    missing_eos_penalty: float
    """Taken from the score of an answer that the budget cut."""
    seed: int
    baseline: Literal["none", "leave_one_out"] = "none"
    """What is taken from an answer's score before it is paid: nothing, or the mean score of the prompt's other answers.
    The critic learns what remains, so that it need not first learn how good answers to each prompt are."""
    spread: int = 1
    """Micro-batches of a minibatch are as many for each of so many ranks, where there are prompts enough."""
    whiten: bool = True
    """Shift and scale advantages over the iteration. Off for problems small enough to reach their optimum: there the
    advantages vanish, and whitening would blow up what noise is left."""


class RolloutFeed:
    """One iteration of answers at a time, as epochs x minibatches of optimiser steps."""

    def __init__(
        self,
        module: Trainable,
        *,
        reference: Callable[[Batch], Output],
        sampler: Sampler,
        reward: BatchScorer,
        prompts: Sequence[RolloutPrompt],
        view: TextView,
        samples: Path,
        config: RolloutConfig,
    ) -> None:
        self._module = module
        module.measures_entropy = True
        self._reference = reference
        self._sampler = sampler
        self._reward = reward
        self._prompts = prompts
        self._view = view
        self._samples = samples
        self._config = config
        self._held: list[list[Batch]] = []
        """Minibatches of the iteration in hand, each a list of micro-batches."""

    @property
    def steps_per_iteration(self) -> int:
        return self._config.epochs * self._config.minibatches

    def next(self, step: int) -> Work:
        iteration, within = divmod(step, self.steps_per_iteration)
        metrics = self._collect(iteration) if within == 0 else {}
        return Work(self._held[within % self._config.minibatches], metrics)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        tensors = {
            f"{m}.{i}.{name}": tensor
            for m, batches in enumerate(self._held)
            for i, batch in enumerate(batches)
            for name, tensor in batch.tensors().items()
        }
        rows = [[list(batch.rows) for batch in batches] for batches in self._held]
        return {"rows": rows, "samples": len(durable.read_log(self._samples))}, tensors

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        durable.truncate_log(self._samples, values["samples"])
        self._held = [
            [self._restored(f"{m}.{i}.", rows, tensors) for i, rows in enumerate(batches)]
            for m, batches in enumerate(values["rows"])
        ]

    def _restored(self, prefix: str, rows: list[str], tensors: dict[str, Tensor]) -> Batch:
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        return Batch.from_tensors(own, rows, self._config.temperature)

    def _collect(self, iteration: int) -> dict[str, float]:
        """Answer the next prompts, score the answers, and hold them as minibatches with everything PPO reads."""
        config = self._config
        if not iteration:
            durable.truncate_log(self._samples, 0)  # a run killed before its first checkpoint begins again
        began = time.perf_counter()
        chosen = [
            self._prompts[row]
            for row in rows_of_step(iteration, len(self._prompts), config.prompts_per_iteration, config.seed)
        ]
        sampling = Sampling(
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            seed=draw(config.seed, "rollout", iteration),
        )
        answers = self._sampler.generate([prompt.ids for prompt in chosen], sampling, config.samples_per_prompt)
        sampled_at = time.perf_counter()
        documents = [
            Document(row=prompt.id, ids=prompt.ids, branches=[answer.ids for answer in group])
            for prompt, group in zip(chosen, answers, strict=True)
        ]
        cut = {
            prompt.id: [answer.stop is Stop.LENGTH for answer in group]
            for prompt, group in zip(chosen, answers, strict=True)
        }
        share = -(-len(documents) // config.minibatches)
        self._held = [
            [
                self._measured(part, cut)
                for part in best_fit(documents[start : start + share], config.micro_tokens, config.spread)
            ]
            for start in range(0, len(documents), share)
        ]
        if config.whiten:
            self._whiten()
        self._write_samples(iteration, {prompt.id: prompt for prompt in chosen})
        ended = time.perf_counter()
        return self._metrics() | {"seconds/rollout": sampled_at - began, "seconds/score": ended - sampled_at}

    @torch.no_grad()
    def _measured(self, documents: Sequence[Document], cut: dict[str, list[bool]]) -> Batch:
        """Their batch, with old log-probs and values, scores, KL, advantages and returns."""
        config = self._config
        batch = pack(documents, config.temperature)
        self._module.eval()
        own = self._module(batch)
        reference = self._reference(batch).logprobs_N
        assert own.logprobs_N is not None
        assert own.values_N is not None
        assert own.entropy_N is not None
        assert reference is not None
        scores_B = self._reward.scores(self._closed(documents))
        cut_B = torch.tensor([flag for row in batch.rows for flag in cut[row]])
        scores_B = scores_B - config.missing_eos_penalty * cut_B
        paid_B = returns.leave_one_out(scores_B, batch.prompt_B) if config.baseline == "leave_one_out" else scores_B
        kl_N = policy.k1(own.logprobs_N, reference)
        advantages_N, returns_N = torch.empty_like(kl_N), torch.empty_like(kl_N)
        for answer in range(scores_B.numel()):
            at_R = torch.nonzero(batch.answer_N == answer).flatten()
            rewards_R = returns.shaped_rewards(paid_B[answer], kl_N[at_R], config.kl_coef)
            advantages_N[at_R], returns_N[at_R] = returns.gae(rewards_R, own.values_N[at_R], config.gamma, config.lam)
        return batch.with_extra(
            old_logprobs_N=own.logprobs_N,
            old_values_N=own.values_N,
            entropy_N=own.entropy_N,
            kl_N=kl_N,
            advantages_N=advantages_N,
            returns_N=returns_N,
            scores_B=scores_B,
            cut_B=cut_B,
        )

    def _closed(self, documents: Sequence[Document]) -> Batch:
        """The answers as the reward model reads them: at an end marker. It never learned what its score says elsewhere,
        and a policy paid by scores of cut answers learns not to end (docs/experiments.md)."""
        closed = (replace(each, branches=[self._view.closed(ids) for ids in each.branches]) for each in documents)
        return pack(list(closed))

    def _batches(self) -> list[Batch]:
        return [batch for batches in self._held for batch in batches]

    def _whiten(self) -> None:
        """Advantages to mean 0, variance 1 over all tokens of the iteration (real tokens only: there is no padding)."""
        batches = self._batches()
        white = returns.whiten(torch.cat([batch.extra["advantages_N"] for batch in batches]))
        parts = iter(white.split([batch.target_N.numel() for batch in batches]))
        self._held = [[batch.with_extra(advantages_N=next(parts)) for batch in batches] for batches in self._held]

    def _metrics(self) -> dict[str, float]:
        """Means over the answers of the iteration, under the names of TRL's PPO."""
        found = {name: torch.cat([b.extra[name] for b in self._batches()]) for name in self._batches()[0].extra}
        answers = found["scores_B"].numel()
        kl = float(found["kl_N"].sum()) / answers
        score = float(found["scores_B"].mean())
        returns_N, values_N = found["returns_N"], found["old_values_N"]
        spread = float(returns_N.var(unbiased=False))
        unexplained = float((returns_N - values_N).var(unbiased=False))
        cut = float(found["cut_B"].float().mean())
        return {
            "objective/kl": kl,
            "objective/entropy": float(found["entropy_N"].sum()) / answers,
            "objective/non_score_reward": -self._config.kl_coef * kl,
            "objective/rlhf_reward": score - self._config.kl_coef * kl,
            "objective/scores": score,
            "val/num_eos_tokens": answers * (1 - cut),
            "val/eos_share": 1 - cut,
            "val/length": found["kl_N"].numel() / answers,
            "val/explained_variance": 1 - unexplained / spread if spread > 0 else 0.0,
        }

    def _write_samples(self, iteration: int, prompts: dict[str, RolloutPrompt]) -> None:
        """Every answer of the iteration, for people to read."""
        for batch in self._batches():
            for answer, row in enumerate(batch.prompt_B.tolist()):
                ids = batch.target_N[batch.answer_N == answer].tolist()
                text, stop = self._view.parse(ids)
                line = {
                    "iteration": iteration,
                    "id": batch.rows[row],
                    **prompts[batch.rows[row]].shown,
                    "text": text,
                    "stop": stop.value,
                    "score": float(batch.extra["scores_B"][answer]),
                    "kl": float(batch.extra["kl_N"][batch.answer_N == answer].sum()),
                }
                durable.append_line(self._samples, line)
