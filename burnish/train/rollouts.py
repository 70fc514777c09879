"""The feed of on-policy methods: answers that were collected, measured and credited, handed out as minibatches.

Knows a frozen reference and the module that is trained; they leave tensors in the batches, so that the objective sees
neither. Old log-probabilities come from the same packs and kernels that training uses: the ratio of the first minibatch
is exactly 1. How answers come about is `collection`'s affair, what their tokens are credited with that of `advantages`.

Suffixes: N targets, B answers, D documents.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.data.packing import best_fit
from burnish.losses import policy
from burnish.losses.tokens import answer_sums
from burnish.models.forward import CHUNK, Output, Trainable
from burnish.records import durable
from burnish.stats.repetition import distinct_share, repeated_share
from burnish.train.advantages import Advantages
from burnish.train.collection import (
    Collector,
    Group,
    RolloutConfig,
    RolloutPrompt,
    Sampler,
    TextView,
    write_samples,
)
from burnish.train.feeds import Work
from burnish.types import Reward, Stop


class RolloutFeed:
    """One iteration of answers at a time, as epochs x minibatches of optimiser steps."""

    def __init__(
        self,
        module: Trainable,
        *,
        reference: Callable[[Batch], Output] | None,
        sampler: Sampler,
        reward: Reward,
        advantages: Advantages,
        prompts: Sequence[RolloutPrompt],
        view: TextView,
        samples: Path,
        config: RolloutConfig,
        learns_without_advantage: bool = False,
        watched: bool = False,
        chosen: Callable[[Group], Group] | None = None,
    ) -> None:
        """Without a `reference` no KL is measured. `learns_without_advantage`: whether answers without an advantage
        teach the objective something too, such as a KL. `watched`: measure the KL of whole distributions too, for a
        `burnish.train.watch.Watch`. `chosen`: which of a prompt's answers are learned, if any; absent: all."""
        self._module = module
        module.measures_entropy = True
        self._reference = reference
        self._collector = Collector(sampler, reward, prompts, view, config, self._idle)
        self._advantages = advantages
        self._samples = samples
        self._config = config
        self._learns_without_advantage = learns_without_advantage
        self._watched = watched
        self._chosen = chosen
        self._temperature = config.sampling.temperature if advantages.compares else 1.0
        """At which the batches are learned: answers that are learned as given ones are, at 1."""
        self._held: list[list[Batch]] = []
        """Minibatches of the iteration in hand, each a list of micro-batches."""
        self._written = 0
        """Lines of `samples`: a log of every answer of a run is too long to be read at each checkpoint."""

    def next(self, step: int) -> Work:
        iteration, within = divmod(step, self._config.steps)
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
        kl = self._advantages.kl
        again = self._collector.again
        return {"rows": rows, "samples": self._written, "again": again, "kl_coef": kl and kl.coef}, tensors

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._written = durable.truncate_log(self._samples, values["samples"])
        self._collector.again = values["again"]
        if self._advantages.kl:
            self._advantages.kl.coef = values["kl_coef"]
        self._held = [
            [self._restored(f"{m}.{i}.", rows, tensors) for i, rows in enumerate(batches)]
            for m, batches in enumerate(values["rows"])
        ]

    def _restored(self, prefix: str, rows: list[str], tensors: dict[str, Tensor]) -> Batch:
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        return Batch.from_tensors(own, rows, self._temperature)

    def _collect(self, iteration: int) -> dict[str, float]:
        """Answer the next prompts, score the answers, and hold them as minibatches with everything that is learned."""
        if not iteration:  # a run killed before its first checkpoint begins again
            self._written = durable.truncate_log(self._samples, 0)
        found = self._collector.collect(iteration)
        useful = [group for group in found if not self._idle(group)]
        taken = useful[: self._config.prompts_per_iteration] if self._config.attempts > 1 else found
        began = time.perf_counter()
        if self._chosen:
            taken = [chosen for chosen in map(self._chosen, taken) if chosen.answers]
        self._hold(taken)
        beside = self._left_out(found) if self._watched or self._measures_all else []
        write_samples(self._samples, iteration, found)
        self._written += sum(len(group.answers) for group in found)
        seconds = {**self._collector.seconds, "measure": time.perf_counter() - began}
        metrics = self._metrics(found, taken, useful, beside)
        if self._advantages.kl and "objective/kl" in metrics:
            self._advantages.kl.observe(metrics["objective/kl"], sum(len(group.answers) for group in taken))
        return metrics | {f"seconds/{name}": each for name, each in seconds.items()}

    def _hold(self, groups: Sequence[Group]) -> None:
        """As minibatches. Groups that nothing is learned from stay out of them, and in what they are divided by."""
        count, parts = len(groups), self._config.minibatches
        self._held = []
        for m in range(parts):
            share = groups[m * count // parts : (m + 1) * count // parts]
            learned = {group.row: group for group in share if self._learns(group)}
            packs = best_fit(
                [group.document() for group in learned.values()], self._config.micro_tokens, self._config.spread
            )
            batches = [self._measured(pack_, learned) for pack_ in packs]
            self._held.append(_standing_for([group for group in share if group.row not in learned], batches))
        credited = iter(self._advantages.of([batch for batches in self._held for batch in batches]))
        self._held = [[next(credited) for _ in batches] for batches in self._held]

    @property
    def _measures_all(self) -> bool:
        """Whether the KL of answers that nothing is learned from costs no more than the reference's reading of them."""
        return self._reference is not None and not self._advantages.compares

    def _left_out(self, found: Sequence[Group]) -> list[Batch]:
        """What was measured of answers that no minibatch holds. How far the policy has moved is a mean over all that it
        says: where every answer is as good as the next, nothing is learned, and the policy may be far gone."""
        held = {row for batches in self._held for batch in batches for row in batch.rows}
        groups = {group.row: group for group in found if group.row not in held}
        packs = best_fit([group.document() for group in groups.values()], self._config.micro_tokens)
        return [self._measured(each, groups) for each in packs]

    def _idle(self, group: Group) -> bool:
        """Whether nothing is learned from it but a KL. Dynamic sampling asks whether answers are right, some and not
        all of them (Yu et al. 2025, eq. 11): that wrong ones were long, or cut, makes none of them better."""
        if self._chosen:
            group = self._chosen(group)
        if not group.answers or self._advantages.vanish(group.scores):
            return True
        return self._config.attempts > 1 and self._advantages.vanish(group.rewards)

    def _learns(self, group: Group) -> bool:
        return self._learns_without_advantage or not self._advantages.vanish(group.scores)

    @torch.no_grad()
    def _measured(self, documents: Sequence[Document], groups: dict[str, Group]) -> Batch:
        """Their batch, with what was sampled and scored, and old log-probs, values and KL where something reads them.

        The one step of an iteration that has no other needs no old log-probs: they are those of the step itself. Nor
        does what compares with no older policy: how far it is from the reference, the sampler's own numbers say.
        """
        batch = pack(documents, self._temperature)
        within = [groups[row] for row in batch.rows]
        answers = [answer for group in within for answer in group.answers]
        extra = {
            "scores_B": torch.tensor([score for group in within for score in group.scores]),
            "sampler_logprobs_N": torch.tensor([each for answer in answers for each in answer.logprobs]),
        }
        sampling = self._config.sampling
        whole = sampling.whole and sampling.temperature == self._temperature  # drawn from all that the policy says
        fresh = whole and not self._advantages.compares
        said_N = extra["sampler_logprobs_N"] if fresh else None
        reference = self._reference(batch) if self._reference else None
        if reference:
            extra["ref_logprobs_N"] = _given(reference.logprobs_N)
        several = self._advantages.compares and self._config.steps > 1
        if self._advantages.critic or self._advantages.kl or several or self._watched:
            self._module.eval()
            own = self._module(batch)
            extra["old_logprobs_N"] = said_N = _given(own.logprobs_N)
            extra["entropy_N"] = _given(own.entropy_N)
            if self._advantages.critic:
                extra["old_values_N"] = _given(own.values_N)
            if reference and self._watched:
                extra["full_kl_N"] = full_kl(own, reference)
        if reference and said_N is not None and whole:
            extra["kl_N"] = policy.k1(said_N, extra["ref_logprobs_N"])
            kl = iter(answer_sums(extra["kl_N"], batch.answer_N, len(answers)).tolist())
            for group in within:
                group.kl = list(islice(kl, len(group.answers)))
        return batch.with_extra(**extra)

    def _metrics(
        self, found: Sequence[Group], taken: Sequence[Group], useful: Sequence[Group], beside: Sequence[Batch]
    ) -> dict[str, float]:
        """Means over the answers of the iteration, under the names of TRL's PPO."""
        answers = [answer for group in found for answer in group.answers]
        scores = [score for group in found for score in group.scores]
        cut = _mean(answer.stop is Stop.LENGTH for answer in answers)
        score = _mean(scores)
        metrics = {
            "episode": self._written,
            "objective/scores": score,
            "val/num_eos_tokens": sum(answer.stop is Stop.EOS for answer in answers),
            "val/eos_share": 1 - cut,
            "val/length": _mean(len(answer.ids) for answer in answers),
            "val/repeated_4": _mean(repeated_share(answer.ids, 4) for answer in answers),
            "val/distinct_2": distinct_share([answer.ids for answer in answers], 2),
            "val/groups": len(taken),
            "val/groups_without_advantage": len(found) - len(useful),
        }
        if self._config.sampling.whole and self._config.sampling.temperature == self._temperature:
            # Of all answers, and right on average; what was measured of those that are learned takes its place.
            metrics["objective/entropy"] = -_mean(sum(answer.logprobs) for answer in answers)
        if self._chosen:
            chosen = [score for group in taken for score in group.scores]
            metrics |= {"val/chosen": len(chosen), **({"objective/chosen_scores": _mean(chosen)} if chosen else {})}
            score = _mean(chosen) if chosen else score
        for name in {name: None for group in found for name in group.parts}:  # in their order
            said = [part for group in found for part in group.parts.get(name, ()) if part is not None]
            if said:
                metrics[f"reward/{name}"] = _mean(said)
        return metrics | self._measured_metrics(score, beside)

    def _measured_metrics(self, score: float, beside: Sequence[Batch]) -> dict[str, float]:
        """Those of what was measured in the batches. `score`: the mean of the answers that are learned."""
        batches = [*(batch for part in self._held for batch in part), *beside]
        found = {
            name: torch.cat(parts)
            for name in ("kl_N", "full_kl_N", "entropy_N", "returns_N", "old_values_N")
            if (parts := [batch.extra[name] for batch in batches if name in batch.extra])
        }
        answers = sum(batch.last_B.numel() for batch in batches)
        metrics: dict[str, float] = {}
        if "entropy_N" in found:
            metrics["objective/entropy"] = float(found["entropy_N"].sum()) / answers
        if "full_kl_N" in found:
            metrics["objective/full_kl"] = float(found["full_kl_N"].sum()) / answers
        if "kl_N" in found:
            metrics["objective/kl"] = kl = float(found["kl_N"].sum()) / answers
            if self._advantages.kl:
                paid = -self._advantages.kl.coef * kl
                metrics |= {"objective/non_score_reward": paid, "objective/rlhf_reward": score + paid}
                metrics["objective/kl_coef"] = self._advantages.kl.coef
        if "returns_N" in found:
            spread = float(found["returns_N"].var(unbiased=False))
            unexplained = float((found["returns_N"] - found["old_values_N"]).var(unbiased=False))
            metrics["val/explained_variance"] = 1 - unexplained / spread if spread > 0 else 0.0
        return metrics


def full_kl(own: Output, reference: Output) -> Tensor:
    """KL(own‖reference) of each target's whole distribution, some rows at a time. Shape N."""
    assert own.logits is not None, "a module without an LM head has no distribution"
    assert reference.logits is not None
    count = _given(own.logprobs_N).numel()
    rows = [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
    return torch.cat([policy.full_kl(own.logits(each), reference.logits(each)).cpu() for each in rows])


def _standing_for(absent: Sequence[Group], batches: list[Batch]) -> list[Batch]:
    """The batches, whose first document stands for groups that are left out, where things are counted."""
    if not absent or not batches:
        return batches
    answers, tokens = sum(len(group.answers) for group in absent), sum(group.tokens for group in absent)
    shares = [torch.zeros(2, len(batch.rows)) for batch in batches]
    shares[0][:, 0] = torch.tensor([answers, tokens], dtype=torch.float32)
    return [
        batch.with_extra(absent_answers_D=share[0], absent_tokens_D=share[1])
        for batch, share in zip(batches, shares, strict=True)
    ]


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "the module lacks a head"
    return tensor


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
