"""From rewards to advantages, as pure functions of tensors.

Suffixes: R tokens of one answer, N all target tokens, B answers. Conventions: the score is paid on the last token (the
end token where there is one), the value after it is 0, whitening uses the biased variance.
"""

from __future__ import annotations

import torch
from torch import Tensor


def leave_one_out(scores_B: Tensor, group_B: Tensor) -> Tensor:
    """Each score less the mean of the other scores of its group; a group of one keeps its score. Shape B.

    The baseline knows nothing of the answer it is taken from, so the expected policy gradient stays what it was, and
    what differs between groups (prompts) is gone from its noise (Kool et al. 2019; Ahmadian et al. 2024).
    """
    count_B = torch.bincount(group_B)[group_B]
    total_B = torch.zeros(int(group_B.max()) + 1, dtype=scores_B.dtype).to(scores_B.device)
    total_B = total_B.index_add_(0, group_B, scores_B)[group_B]
    return torch.where(count_B > 1, scores_B - (total_B - scores_B) / (count_B - 1).clamp(min=1), scores_B)


def shaped_rewards(score: float | Tensor, kl_R: Tensor, coef: float) -> Tensor:
    """Token rewards of one answer: -β kl_t, and the score on the last token (Ouyang et al. 2022, eq. 2). Shape R."""
    rewards_R = -coef * kl_R
    rewards_R[-1] += score
    return rewards_R


def gae(rewards_R: Tensor, values_R: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation of one answer (Schulman et al. 2016).

    δ_t = r_t + γ V_{t+1} - V_t, A_t = δ_t + γλ A_{t+1}, V after the last token = 0.
    Returns A and A + V, both of shape R.
    """
    advantages_R = torch.zeros_like(rewards_R)
    following = rewards_R.new_zeros(())
    next_value = rewards_R.new_zeros(())
    for t in range(rewards_R.numel() - 1, -1, -1):
        following = rewards_R[t] + gamma * next_value - values_R[t] + gamma * lam * following
        advantages_R[t] = following
        next_value = values_R[t]
    return advantages_R, advantages_R + values_R


def whiten(values_N: Tensor, eps: float = 1e-8) -> Tensor:
    """Shift to mean 0 and scale to variance 1 (biased variance, ε inside the root). Shape N."""
    return (values_N - values_N.mean()) * torch.rsqrt(values_N.var(unbiased=False) + eps)
