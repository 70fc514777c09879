"""Objectives: a trainable module and a batch in, named sums out. Knows losses and heads; knows no feed and no loop.

An objective says how many units each of its terms counts in a batch (from masks, before the forward pass) and returns
sums; the loop adds counts over micro-batches and ranks and divides once. A new method is a class with these
members. Metrics are (sum, count) pairs under the field's names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.losses import policy, preference, tokens
from burnish.models.forward import Output, Trainable
from burnish.train.parallel import Ranks


@dataclass(frozen=True, slots=True)
class Loss:
    """What an objective makes of one batch."""

    sums: Mapping[str, Tensor]
    """Loss terms, each summed over its units."""
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """Name -> (sum, count)."""


class Objective(Protocol):
    """What is minimised: Σ_name weights[name] · sums[name] / counts[name]."""

    weights: Mapping[str, float]
    dropout: bool
    """Whether the module's dropout is on while this objective trains it."""

    def counts(self, batch: Batch) -> dict[str, float]: ...

    def loss(self, module: Trainable, batch: Batch) -> Loss: ...


@runtime_checkable
class Prepares(Protocol):
    """An objective that needs a statistic of the live policy over the whole step and all ranks, without gradient."""

    def prepare(self, module: Trainable, batches: Sequence[Batch], ranks: Ranks) -> None:
        """Called before the counts of each step, with what the feed had measured (`Work.measured`)."""
        ...


SftMean = Literal["token", "sequence", "sum"]


class Sft:
    """Supervised fine-tuning: negative log-likelihood of the learned tokens, a mean over the whole optimiser batch.

    token: over tokens, so that a long sequence weighs more. sequence: over the tokens of each sequence, then over
    sequences, so that a token of a short one weighs more. sum: over sequences, of the sums over their tokens. A
    sequence is an answer, or a conversation without branches; one without learned tokens is not counted.
    """

    weights: Mapping[str, float] = {"nll": 1.0}
    dropout = True

    def __init__(self, mean: SftMean = "token") -> None:
        self._mean: SftMean = mean

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"nll": float(batch.weight_N.sum() if self._mean == "token" else batch.answer_N.unique().numel())}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        weight_N = batch.weight_N
        if self._mean == "sequence":
            weight_N = weight_N / tokens.answer_sums(weight_N, batch.answer_N, batch.last_B.numel())[batch.answer_N]
        return Loss({"nll": tokens.nll(predicted(module(batch)), weight_N)})


RankingLoss = Literal["k_wise", "bradley_terry", "plackett_luce"]
Ties = Literal["drop", "half", "rao_kupper"]


class RewardModel:
    """Ranking losses of scores (`burnish.losses.preference`). Reads extra ranks_B, 1 is best, and strength_B where
    it is there: a pair's margin is then how much stronger the better answer was called, 0 where it was called weaker.

    k_wise: pairs' mean over a prompt, prompts' mean (Ouyang et al. 2022). bradley_terry: mean over all pairs.
    plackett_luce: a prompt's whole order, prompts' mean.
    """

    weights: Mapping[str, float] = {"rank": 1.0}
    dropout = False

    def __init__(
        self,
        loss: RankingLoss = "k_wise",
        *,
        margin: float = 0.0,
        centring: float = 0.0,
        lapse: float = 0.0,
        ties: Ties = "drop",
        tie_threshold: float = 0.0,
    ) -> None:
        """`margin` of every pair; `centring` η, the weight of (r_w + r_l)²; `lapse` ε; what `ties` teach, and the
        threshold of rao_kupper, which takes neither margin nor lapse. plackett_luce reads none of these."""
        assert ties != "rao_kupper" or (tie_threshold > 0 and not margin and not lapse), "its threshold is the margin"
        self._loss: RankingLoss = loss
        self._margin = margin
        self._centring = centring
        self._lapse = lapse
        self._ties: Ties = ties
        self._threshold = tie_threshold

    def counts(self, batch: Batch) -> dict[str, float]:
        first_P, _ = self._compared(batch)
        prompt_P = batch.prompt_B[first_P]
        return {"rank": float((prompt_P if self._loss == "bradley_terry" else prompt_P.unique()).numel())}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        scores_B = module(batch).scores_B
        assert scores_B is not None, "a reward model needs a score head"
        better_P, worse_P = _ordered(batch)
        margin_P = (scores_B[better_P] - scores_B[worse_P]).detach()
        pairs = float(margin_P.numel())
        return Loss(
            {"rank": self._sum(scores_B, batch)},
            {
                "rewards/accuracy": (float((margin_P > 0).sum()), pairs),
                "rewards/margin": (float(margin_P.sum()), pairs),
            },
        )

    def _sum(self, scores_B: Tensor, batch: Batch) -> Tensor:
        if self._loss == "plackett_luce":
            return preference.plackett_luce(scores_B, batch.extra["ranks_B"], batch.prompt_B)
        first_P, second_P = self._compared(batch)
        ordered = _ordered(batch)[0].numel()
        one_P, other_P = scores_B[first_P], scores_B[second_P]
        loss_P = self._decided(one_P[:ordered], other_P[:ordered], self._margins(batch))
        if self._ties != "drop":
            loss_P = torch.cat([loss_P, self._tied(one_P[ordered:], other_P[ordered:])])
        if self._centring:
            loss_P = loss_P + self._centring * preference.centring(one_P, other_P)
        if self._loss == "bradley_terry":
            return loss_P.sum()
        return preference.prompt_means(loss_P, batch.prompt_B[first_P])

    def _compared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The pairs that are learned from: ordered ones, better answer first, and then ties if they teach. Shape P."""
        if self._ties == "drop":
            return _ordered(batch)
        tied = preference.tied_pairs(batch.extra["ranks_B"], batch.prompt_B)
        first_P, second_P = (torch.cat(each) for each in zip(_ordered(batch), tied, strict=True))
        return first_P, second_P

    def _decided(self, better_P: Tensor, worse_P: Tensor, margin_P: float | Tensor) -> Tensor:
        if self._lapse:
            return preference.lapse(better_P - margin_P, worse_P, self._lapse)
        return preference.bradley_terry(better_P, worse_P, margin_P)

    def _tied(self, first_P: Tensor, second_P: Tensor) -> Tensor:
        if self._ties == "rao_kupper":
            return preference.rao_kupper_tie(first_P, second_P, self._threshold)
        return preference.half_tie(first_P, second_P, self._lapse)

    def _margins(self, batch: Batch) -> float | Tensor:
        """What ordered pairs must differ by."""
        if self._ties == "rao_kupper":
            return self._threshold
        strength_B = batch.extra.get("strength_B")
        if strength_B is None:
            return self._margin
        better_P, worse_P = _ordered(batch)
        return (strength_B[better_P] - strength_B[worse_P]).clamp_min(0)


class Ppo:
    """Clipped policy and value losses, token means (Schulman et al. 2017; Ouyang et al. 2022).

    Reads extras old_logprobs_N, old_values_N, advantages_N, returns_N, which the rollout feed has put there. Metrics
    have the names and the meaning of TRL's PPOTrainer. Two of its are not there: `eps`, which `seconds` tells, and
    `val/ratio_var`, the variance of `val/ratio` between an iteration's micro-batches: how a step is cut must not show.
    """

    dropout = False

    def __init__(self, *, cliprange: float, cliprange_value: float, vf_coef: float) -> None:
        self.weights: Mapping[str, float] = {"policy": 1.0, "value": vf_coef}
        self._clip = cliprange
        self._clip_value = cliprange_value

    def counts(self, batch: Batch) -> dict[str, float]:
        count = float(batch.target_N.numel())
        return {"policy": count, "value": count}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        output = module(batch)
        logprobs_N = predicted(output)
        values_N = output.values_N
        assert values_N is not None, "PPO needs a value head"
        old_N, advantages_N = batch.extra["old_logprobs_N"], batch.extra["advantages_N"]
        old_values_N, returns_N = batch.extra["old_values_N"], batch.extra["returns_N"]
        policy_N = policy.clipped_surrogate(logprobs_N, old_N, advantages_N, self._clip)
        value_N = policy.clipped_value(values_N, old_values_N, returns_N, self._clip_value)
        with torch.no_grad():
            clipped_N = policy.is_clipped(logprobs_N, old_N, advantages_N, self._clip)
            per_token = {
                "loss/policy_avg": policy_N,
                "loss/value_avg": value_N,
                **moved(logprobs_N, old_N, clipped_N, batch),
                "val/clipfrac_avg": policy.is_clipped_value(values_N, old_values_N, returns_N, self._clip_value),
            }
        count = float(logprobs_N.numel())
        metrics = {name: (float(values.detach().sum()), count) for name, values in per_token.items()}
        return Loss({"policy": policy_N.sum(), "value": value_N.sum()}, metrics)


def moved(logprobs_N: Tensor, old_N: Tensor, clipped_N: Tensor, batch: Batch) -> dict[str, Tensor]:
    """How far the policy is from the one that answered, which tokens the clip leaves without gradient, and how open
    the policy is, under TRL's names; and how far the trainer's old log-probs are from the sampler's. Shapes N.

    Means of these are over the tokens that are learned; the loss of a group method also counts, with advantage 0, those
    of prompts that taught nothing.

    A distribution's entropy costs as much as the LM head. -ρ log π has it as its expectation, prefixes as they are;
    where the feed measured the old policy's, only how the two differ is left to the draw: at ratio 1 nothing is.
    """
    ratio_N = (logprobs_N - old_N).exp()
    entropy_N = -ratio_N * logprobs_N
    if "entropy_N" in batch.extra:
        entropy_N = batch.extra["entropy_N"] + (entropy_N + old_N)
    found = {
        "policy/approxkl_avg": 0.5 * (logprobs_N - old_N) ** 2,
        "policy/clipfrac_avg": clipped_N,
        "policy/entropy_avg": entropy_N,
        "val/ratio": ratio_N,
    }
    if "sampler_logprobs_N" in batch.extra:
        found["sampling/logp_difference"] = (old_N - batch.extra["sampler_logprobs_N"]).abs()
    return found


def total(objective: Objective, result: Loss, counts: Mapping[str, float]) -> Tensor:
    """What a batch adds to the loss of its step, of which `counts` are the units."""
    return torch.stack(
        [objective.weights[name] * term / max(counts[name], 1.0) for name, term in result.sums.items()]
    ).sum()


def added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Counts or sums of several batches, name by name."""
    found: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for name, value in part.items():
            found[name] += value
    return found


def predicted(output: Output) -> Tensor:
    """The log-probabilities of the targets. Shape N."""
    assert output.logprobs_N is not None, "this objective needs an LM head and at least one target"
    return output.logprobs_N


def _ordered(batch: Batch) -> tuple[Tensor, Tensor]:
    """Better and worse answer of every ordered pair. Reads extra ranks_B. Shape P."""
    return preference.ordered_pairs(batch.extra["ranks_B"], batch.prompt_B)


def ranked_prompts(batch: Batch) -> float:
    """How many prompts have an ordered pair: what a ranking loss is averaged over. Reads extra ranks_B."""
    better_P, _ = _ordered(batch)
    return float(batch.prompt_B[better_P].unique().numel())
