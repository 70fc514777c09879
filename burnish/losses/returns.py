"""From rewards to advantages, as pure functions of tensors.

Suffixes: R tokens of one answer, N all target tokens, B answers; answer_N and group_B say to which answer a token and
to which group (prompt) an answer belongs. Conventions: the score is paid on the last token (the end token where there
is one), the value after it is 0, standard deviations of groups are unbiased (ddof 1), whitening uses the biased
variance.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centred(scores_B: Tensor, group_B: Tensor) -> Tensor:
    """Each score less the mean of its group, itself included: Dr. GRPO's advantage (Liu et al. 2025, eq. 2). Shape B.

    The expected policy gradient is (G-1)/G of the true one, G being the size of the group.
    """
    return scores_B - _group_sum(scores_B, group_B) / _group_size(group_B)


def standardised(scores_B: Tensor, group_B: Tensor, eps: float = 1e-4) -> Tensor:
    """(r - mean) / (std + ε) within each group: GRPO's advantage (Shao et al. 2024, §4.1.2). Shape B.

    Dividing by the spread makes prompts weigh alike, and a KL penalty weigh more where scores lie far apart.
    """
    deviation_B = centred(scores_B, group_B)
    variance_B = _group_sum(deviation_B**2, group_B) / (_group_size(group_B) - 1).clamp(min=1)
    return deviation_B / (variance_B.sqrt() + eps)


def leave_one_out(scores_B: Tensor, group_B: Tensor) -> Tensor:
    """Each score less the mean of the other scores of its group; a group of one keeps its score. Shape B.

    The baseline knows nothing of the answer it is taken from, so the expected policy gradient stays what it was, and
    what differs between groups (prompts) is gone from its noise (Kool et al. 2019; Ahmadian et al. 2024).
    """
    count_B = _group_size(group_B)
    total_B = _group_sum(scores_B, group_B)
    return torch.where(count_B > 1, scores_B - (total_B - scores_B) / (count_B - 1).clamp(min=1), scores_B)


def alike(scores_B: Tensor, group_B: Tensor) -> Tensor:
    """Whether all scores of an answer's group are the same: compared with others of it no answer is better. Shape B."""
    groups = int(group_B.max()) + 1
    ends = [
        torch.zeros(groups, dtype=scores_B.dtype, device=scores_B.device).scatter_reduce(
            0, group_B, scores_B, kind, include_self=False
        )
        for kind in ("amin", "amax")
    ]
    return (ends[0] == ends[1])[group_B]


def overlong(length_B: Tensor, longest: int, margin: int) -> Tensor:
    """DAPO's soft penalty: 0 up to `longest - margin` tokens, falling on a line to -1 at `longest`. Shape B.

    Source: Yu et al. 2025, eq. 13.
    """
    return ((longest - margin - length_B) / margin).clamp(-1, 0)


def shaped_rewards(scores_B: Tensor, kl_N: Tensor, answer_N: Tensor, coef: float) -> Tensor:
    """Token rewards: -β kl_t, and the score on each answer's last token (Ouyang et al. 2022, eq. 2). Shape N.

    Tokens of an answer stand side by side, answers in the order of their scores; each has a token.
    """
    rewards_N = -coef * kl_N
    last_B = torch.bincount(answer_N).cumsum(0) - 1
    rewards_N[last_B] += scores_B
    return rewards_N


def gae(rewards_R: Tensor, values_R: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation of one answer, or of several that end together (Schulman et al. 2016).

    δ_t = r_t + γ V_{t+1} - V_t, A_t = δ_t + γλ A_{t+1}, V after the last token = 0.
    Returns A and A + V, both of shape R (or ..., R).
    """
    advantages_R = torch.zeros_like(rewards_R)
    following = torch.zeros_like(rewards_R[..., 0])
    next_value = torch.zeros_like(following)
    for t in range(rewards_R.shape[-1] - 1, -1, -1):
        following = rewards_R[..., t] + gamma * next_value - values_R[..., t] + gamma * lam * following
        advantages_R[..., t] = following
        next_value = values_R[..., t]
    return advantages_R, advantages_R + values_R


def packed_gae(
    rewards_N: Tensor, values_N: Tensor, answer_N: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """`gae` of every answer at once: they are laid one below the other, ending together. Returns A and A + V, shape N.

    Tokens of an answer stand side by side.
    """
    count_B = torch.bincount(answer_N)
    from_end_N = count_B.cumsum(0)[answer_N] - torch.arange(answer_N.numel(), device=answer_N.device)
    longest = int(count_B.max())
    column_N = longest - from_end_N
    rewards_BR, values_BR = (each.new_zeros(count_B.numel(), longest) for each in (rewards_N, values_N))
    rewards_BR[answer_N, column_N] = rewards_N
    values_BR[answer_N, column_N] = values_N
    advantages_BR, returns_BR = gae(rewards_BR, values_BR, gamma, lam)
    return advantages_BR[answer_N, column_N], returns_BR[answer_N, column_N]


def whiten(values_N: Tensor, eps: float = 1e-8, *, keep_mean: bool = False) -> Tensor:
    """Shift to mean 0 and scale to variance 1 (biased variance, ε inside the root). Shape N.

    With `keep_mean` the mean stays what it was: lm-human-preferences (2019) whitens rewards so.
    """
    mean = values_N.mean()
    white_N = (values_N - mean) * torch.rsqrt(values_N.var(unbiased=False) + eps)
    return white_N + mean if keep_mean else white_N


def _group_size(group_B: Tensor) -> Tensor:
    return torch.bincount(group_B)[group_B]


def _group_sum(scores_B: Tensor, group_B: Tensor) -> Tensor:
    """Of each answer's group. Shape B."""
    total = torch.zeros(int(group_B.max()) + 1, dtype=scores_B.dtype).to(scores_B.device)
    return total.index_add_(0, group_B, scores_B)[group_B]
