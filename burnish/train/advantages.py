"""From what answers are worth to what each of their tokens is credited with. Knows scores, values and KL that stand in
batches; knows no model and no sampler.

Reads extras scores_B (penalties taken), kl_N where a KL is in the reward, old_values_N where there is a critic; writes
advantages_N, and returns_N for the critic. Answers to one prompt are one document, so a group lies in one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.losses import returns
from burnish.losses.tokens import answer_sums

Baseline = Literal["none", "leave_one_out", "mean", "standardised"]


class KlInReward:
    """β of the KL in the reward, fixed, or steered to a target by the controller of Ziegler et al. 2019, §2.2:
    e = clip(KL/target - 1, -0.2, 0.2), β ← β(1 + e·n/horizon) after n answers.

    With k1 = log π - log ref in the reward the optimum is ref·exp(r/β)/Z, answer by answer.
    """

    def __init__(self, coef: float, *, target: float | None = None, horizon: int = 10_000) -> None:
        """Args: target, nats an answer, None for a fixed β; horizon, answers."""
        self.coef = coef
        self._target = target
        self._horizon = horizon

    def observe(self, kl: float, answers: int) -> None:
        """What the last answers' KL was, in nats an answer."""
        if self._target is not None:
            error = min(0.2, max(-0.2, kl / self._target - 1))
            self.coef *= 1 + error * answers / self._horizon


class Advantages(Protocol):
    """How answers become advantages of tokens."""

    @property
    def kl(self) -> KlInReward | None:
        """The KL that is taken from the reward."""
        ...

    @property
    def critic(self) -> bool:
        """Whether the module's values are read."""
        ...

    @property
    def compares(self) -> bool:
        """Whether the objective compares the policy with the one that sampled, once it has moved."""
        ...

    def of(self, batches: Sequence[Batch]) -> list[Batch]:
        """The batches of one iteration with what the objective reads."""
        ...

    def vanish(self, scores: Sequence[float]) -> bool:
        """Whether a group with these scores has no advantage anywhere: nothing is learned from it."""
        ...


@dataclass(kw_only=True)
class PerToken:
    """Each token's own: generalised advantage estimation, with the module's values (PPO), or without a critic.

    Without one, with γ = λ = 1, an advantage is the reward that is still to come, and whitening over all tokens of the
    iteration is the only baseline: REINFORCE++ (Hu 2025).
    """

    kl: KlInReward | None
    critic: bool = True
    gamma: float = 1.0
    lam: float = 0.95
    leave_one_out: bool = False
    """Pay each score less the mean score of the prompt's other answers. The critic learns what remains, so that it need
    not first learn how good answers to each prompt are."""
    whiten_rewards: bool = False
    """Scale token rewards to variance 1 over the iteration, keeping their mean."""
    whiten: bool = True
    """Shift and scale advantages over the iteration. Off for problems small enough to reach their optimum: there the
    advantages vanish, and whitening would blow up what noise is left."""
    compares = True

    def of(self, batches: Sequence[Batch]) -> list[Batch]:
        rewards = [self._rewards(batch) for batch in batches]
        if self.whiten_rewards and batches:
            rewards = _split(returns.whiten(torch.cat(rewards), keep_mean=True), batches)
        found = [self._credited(batch, rewards_N) for batch, rewards_N in zip(batches, rewards, strict=True)]
        if not self.whiten or not batches:
            return found
        white = _split(returns.whiten(torch.cat([batch.extra["advantages_N"] for batch in found])), batches)
        return [batch.with_extra(advantages_N=each) for batch, each in zip(found, white, strict=True)]

    def vanish(self, scores: Sequence[float]) -> bool:
        return False

    def _rewards(self, batch: Batch) -> Tensor:
        scores_B = batch.extra["scores_B"]
        paid_B = returns.leave_one_out(scores_B, batch.prompt_B) if self.leave_one_out else scores_B
        kl_N = batch.extra["kl_N"] if self.kl else torch.zeros_like(batch.weight_N)
        return returns.shaped_rewards(paid_B, kl_N, batch.answer_N, self.kl.coef if self.kl else 0.0)

    def _credited(self, batch: Batch, rewards_N: Tensor) -> Batch:
        values_N = batch.extra["old_values_N"] if self.critic else torch.zeros_like(rewards_N)
        advantages_N, returns_N = returns.packed_gae(rewards_N, values_N, batch.answer_N, self.gamma, self.lam)
        batch = batch.with_extra(advantages_N=advantages_N)
        return batch.with_extra(returns_N=returns_N) if self.critic else batch


@dataclass(kw_only=True)
class PerAnswer:
    """The same for all tokens of an answer: its score (less β Σ k1, with a KL in the reward), compared with others.

    Where a group's scores are compared and all the same, every advantage is exactly 0. Standardised is the score alone:
    divided by the spread of score and KL together, where scores are alike the KL would be learned at full strength,
    whatever β is.
    """

    kl: KlInReward | None = None
    baseline: Baseline = "mean"
    eps: float = 1e-4
    """Added to the standard deviation."""
    critic = False
    compares = True

    def of(self, batches: Sequence[Batch]) -> list[Batch]:
        return [batch.with_extra(advantages_N=self._of(batch)[batch.answer_N]) for batch in batches]

    def vanish(self, scores: Sequence[float]) -> bool:
        return self.kl is None and self.baseline != "none" and len(scores) > 1 and len(set(scores)) == 1

    def _of(self, batch: Batch) -> Tensor:
        scores_B, penalty_B, group_B = batch.extra["scores_B"], self._penalty(batch), batch.prompt_B
        paid_B = scores_B - penalty_B
        match self.baseline:
            case "none":
                return paid_B
            case "leave_one_out":
                return _zero_where_alike(returns.leave_one_out(paid_B, group_B), paid_B, group_B)
            case "mean":
                return _zero_where_alike(returns.centred(paid_B, group_B), paid_B, group_B)
            case "standardised":
                found_B = returns.standardised(scores_B, group_B, self.eps)
                return _zero_where_alike(found_B, scores_B, group_B) - returns.centred(penalty_B, group_B)

    def _penalty(self, batch: Batch) -> Tensor:
        """β Σ k1 of each answer. Shape B."""
        scores_B = batch.extra["scores_B"]
        if self.kl is None:
            return torch.zeros_like(scores_B)
        return self.kl.coef * answer_sums(batch.extra["kl_N"], batch.answer_N, scores_B.numel())


def _zero_where_alike(found_B: Tensor, values_B: Tensor, group_B: Tensor) -> Tensor:
    """What was found, without the rounding that is left where all values of a group are the same."""
    lone_B = torch.bincount(group_B)[group_B] == 1
    return torch.where(returns.alike(values_B, group_B) & ~lone_B, torch.zeros_like(found_B), found_B)


def _split(values_N: Tensor, batches: Iterable[Batch]) -> list[Tensor]:
    return list(values_N.split([batch.target_N.numel() for batch in batches]))
