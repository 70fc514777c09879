"""The objective of policy gradients without a critic: REINFORCE, RLOO and what came of GRPO. Knows losses and what a
rollout feed has left in the batch; knows no reward, no reference model and no feed.

A variant is a loss of each token and a way of averaging it. What is averaged over is weights and counts: answers,
tokens, or a fixed budget. Suffixes: N targets, B answers, D documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.losses import policy
from burnish.losses.tokens import answer_sums
from burnish.models.forward import Trainable
from burnish.train.objectives import Loss, moved, predicted

Variant = Literal["reinforce", "rloo", "reinforce_pp", "grpo", "dr_grpo", "dapo", "gspo", "cispo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a variant learns of a token, and over what that is averaged."""

    learned: Literal["log-probability", "ratio", "answer's ratio", "weighed log-probability"]
    over: Literal["answers", "tokens", "budget"] = "answers"
    """The budget is that of an answer, for each of them."""
    means: bool = False
    """Whether each answer counts by the mean of its tokens, and not by their sum."""


FAMILY: Mapping[Variant, Traits] = {
    "reinforce": Traits(learned="log-probability"),
    "rloo": Traits(learned="log-probability"),
    "reinforce_pp": Traits(learned="ratio", means=True),
    "grpo": Traits(learned="ratio", means=True),
    "dr_grpo": Traits(learned="ratio", over="budget"),
    "dapo": Traits(learned="ratio", over="tokens"),
    "gspo": Traits(learned="answer's ratio", means=True),
    "cispo": Traits(learned="weighed log-probability", over="tokens"),
}
"""Of Williams 1992, Ahmadian et al. 2024, Hu 2025, Shao et al. 2024, Liu et al. 2025, Yu et al. 2025, Zheng et al.
2025 and MiniMax 2025. What an answer is compared with is the feed's: `burnish.train.advantages`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KlInLoss:
    """A KL to the reference as a loss of each token, averaged as the policy's is.

    k2 pulls each token's distribution to ref·exp(Q/β), k3 to β ref/(c - Q); Q is the score to be expected after a
    token, c makes the sum 1. Both look one token ahead: Q holds no KL that is still to come. The optimum of whole
    answers, ref·exp(r/β)/Z, is that of k1 in the reward; for answers of one token k2's is the same.
    """

    estimator: Literal["k2", "k3"] = "k3"
    coef: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Importance weights for what the sampler says otherwise than the trainer: w = π_old/π_sampler, a token's or a
    whole answer's. Truncated: min(w, most). Masked: w in [least, most], else 0. A token's leaves out how likely its
    prefix was, which is biased and of small variance; an answer's is unbiased but for its bounds.

    They weigh the KL in the loss as they weigh the policy's loss: k2 and k3 have the gradients that they are said to
    have on tokens that the policy drew. (TRL leaves the KL unweighed.)
    """

    level: Literal["token", "answer"]
    rule: Literal["truncate", "mask"]
    most: float
    least: float = 0.0

    def weights(self, log_weight_N: Tensor, batch: Batch) -> Tensor:
        """Shape N."""
        if self.level == "answer":
            log_weight_N = answer_sums(log_weight_N, batch.answer_N, batch.last_B.numel())[batch.answer_N]
        if self.rule == "truncate":
            return policy.truncated(log_weight_N, self.most)
        return policy.banded(log_weight_N, self.least, self.most)


class PolicyGradient:
    """Reads extras advantages_N; old_logprobs_N where the policy has moved since (else the step's own are the old
    ones); ref_logprobs_N and sampler_logprobs_N where they are asked for or measured; absent_answers_D and
    absent_tokens_D, what groups that are left out add to the counts.
    """

    dropout = False

    def __init__(
        self,
        variant: Variant,
        *,
        budget: int,
        clip: tuple[float, float] | None = (0.2, 0.2),
        kl: KlInLoss | None = None,
        correction: Correction | None = None,
    ) -> None:
        """Args: budget, the tokens of an answer that Dr. GRPO divides by; clip, ε and ε_high, None to clip nothing."""
        self.weights: Mapping[str, float] = {"policy": 1.0, **({"kl": kl.coef} if kl else {})}
        self._traits = FAMILY[variant]
        self._budget = budget
        self._clip = clip or (math.inf, math.inf)
        self._kl = kl
        self._correction = correction

    def counts(self, batch: Batch) -> dict[str, float]:
        answers = float(batch.last_B.numel() + _absent(batch, "absent_answers_D"))
        tokens = float(batch.target_N.numel() + _absent(batch, "absent_tokens_D"))
        count = {"answers": answers, "tokens": tokens, "budget": answers * self._budget}[self._traits.over]
        return dict.fromkeys(self.weights, count)

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        logprobs_N = predicted(module(batch))
        old_N = batch.extra.get("old_logprobs_N", logprobs_N.detach())
        weight_N = 1 / policy.lengths(batch.answer_N) if self._traits.means else torch.ones_like(batch.weight_N)
        losses = {"policy": self._policy(logprobs_N, old_N, batch)}
        if self._kl:
            estimate = policy.k2 if self._kl.estimator == "k2" else policy.k3
            losses["kl"] = estimate(logprobs_N, batch.extra["ref_logprobs_N"])
        metrics = moved(logprobs_N.detach(), old_N, self._clipped(logprobs_N.detach(), old_N, batch), batch)
        if self._correction and "sampler_logprobs_N" in batch.extra:
            corrected_N = self._correction.weights(old_N - batch.extra["sampler_logprobs_N"], batch)
            losses = {name: corrected_N * each_N for name, each_N in losses.items()}
            metrics["sampling/importance"] = corrected_N
        if "kl" in losses:
            metrics["loss/kl_avg"] = losses["kl"].detach()
        count = float(logprobs_N.numel())
        found = {name: (float(each_N.sum()), count) for name, each_N in metrics.items()}
        sums = {name: (weight_N * each_N).sum() for name, each_N in losses.items()}
        return Loss(sums, found | self._drift(logprobs_N.detach(), batch))

    def _policy(self, logprobs_N: Tensor, old_N: Tensor, batch: Batch) -> Tensor:
        advantages_N, (low, high) = batch.extra["advantages_N"], self._clip
        match self._traits.learned:
            case "log-probability":
                return policy.score_function(logprobs_N, advantages_N)
            case "ratio":
                return policy.clipped_surrogate(logprobs_N, old_N, advantages_N, low, high)
            case "answer's ratio":
                return policy.sequence_surrogate(logprobs_N, old_N, advantages_N, batch.answer_N, low, high)
            case "weighed log-probability":
                return policy.clipped_weight(logprobs_N, old_N, advantages_N, high)

    def _clipped(self, logprobs_N: Tensor, old_N: Tensor, batch: Batch) -> Tensor:
        """Where the clip costs a token its gradient; of CISPO, which costs none its gradient, what would be clipped, as
        TRL counts it. Bool, shape N."""
        if self._traits.learned == "answer's ratio":
            logprobs_N, old_N = (policy.answer_means(each_N, batch.answer_N) for each_N in (logprobs_N, old_N))
        return policy.is_clipped(logprobs_N, old_N, batch.extra["advantages_N"], *self._clip)

    def _drift(self, logprobs_N: Tensor, batch: Batch) -> dict[str, tuple[float, float]]:
        """The KL from the reference, an answer's mean, where the feed has not measured it."""
        if "ref_logprobs_N" not in batch.extra or "kl_N" in batch.extra:
            return {}
        kl_N = policy.k1(logprobs_N, batch.extra["ref_logprobs_N"])
        return {"objective/kl": (float(kl_N.sum()), float(batch.last_B.numel()))}


def _absent(batch: Batch, name: str) -> float:
    return float(batch.extra[name].sum()) if name in batch.extra else 0.0
