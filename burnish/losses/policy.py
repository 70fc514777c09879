"""Policy-gradient losses, KL estimators and importance weights, as pure functions of tensors. One value a token; the
caller weighs and sums: token mean, answer mean or a fixed budget are weights and counts, not losses.

Suffixes: N target tokens, B answers; answer_N says to which answer a token belongs. Natural logarithms.
ρ = π/π_old is the ratio of the policy to the one that sampled, A the advantage.
"""

from __future__ import annotations

import torch
from torch import Tensor

from burnish.losses.tokens import answer_sums


def score_function(logprobs_N: Tensor, advantages_N: Tensor) -> Tensor:
    """-A log π: its gradient is REINFORCE's, for answers of the policy as it is (Williams 1992, eq. 4). Shape N.

    RLOO is the same with the leave-one-out baseline in A (Ahmadian et al. 2024, eq. 8), an answer being one action.
    """
    return -advantages_N * logprobs_N


def clipped_surrogate(
    logprobs_N: Tensor, old_logprobs_N: Tensor, advantages_N: Tensor, clip: float, clip_high: float | None = None
) -> Tensor:
    """PPO's pessimistic surrogate: -min(ρA, clip(ρ, 1-ε, 1+ε)A) (Schulman et al. 2017, eq. 7). Shape N.

    With `clip_high` the upper end is 1 + ε_high: DAPO's asymmetric clip (Yu et al. 2025, eq. 10).
    """
    ratio_N = (logprobs_N - old_logprobs_N).exp()
    clipped_N = ratio_N.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    return -torch.minimum(ratio_N * advantages_N, clipped_N * advantages_N)


def is_clipped(
    logprobs_N: Tensor, old_logprobs_N: Tensor, advantages_N: Tensor, clip: float, clip_high: float | None = None
) -> Tensor:
    """Where the surrogate's clipped branch is the larger loss, which has no gradient. A ratio that is out of the range
    on the side that its advantage draws it back from is not. Bool, shape N."""
    ratio_N = (logprobs_N - old_logprobs_N).exp()
    above_N = (ratio_N > 1 + (clip if clip_high is None else clip_high)) & (advantages_N > 0)
    return above_N | ((ratio_N < 1 - clip) & (advantages_N < 0))


def sequence_surrogate(
    logprobs_N: Tensor, old_logprobs_N: Tensor, advantages_N: Tensor, answer_N: Tensor, clip: float, clip_high: float
) -> Tensor:
    """GSPO: the clipped surrogate of s = exp(mean over the answer of log ρ) (Zheng et al. 2025, eq. 5 and 7). Shape N.

    Each token holds its answer's loss; advantages are the same for all tokens of an answer.
    """
    mean_N = answer_means(logprobs_N, answer_N)
    return clipped_surrogate(mean_N, answer_means(old_logprobs_N, answer_N), advantages_N, clip, clip_high)


def clipped_weight(logprobs_N: Tensor, old_logprobs_N: Tensor, advantages_N: Tensor, clip_high: float) -> Tensor:
    """CISPO: -sg[min(ρ, 1+ε_high)] A log π (MiniMax 2025, eq. 4 and 5, without a lower bound). Shape N.

    The weight is clipped, and no token loses its gradient.
    """
    weight_N = (logprobs_N - old_logprobs_N).detach().exp().clamp(max=1 + clip_high)
    return -weight_N * advantages_N * logprobs_N


def clipped_value(values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, clip: float) -> Tensor:
    """½ max((V-R)², (clip(V, V_old ± ε)-R)²), the pessimistic value loss of lm-human-preferences (2019). Shape N."""
    near_N = _near(values_N, old_values_N, clip)
    return 0.5 * torch.maximum((values_N - returns_N) ** 2, (near_N - returns_N) ** 2)


def is_clipped_value(values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, clip: float) -> Tensor:
    """Where the second of the two is the larger, and has no gradient. Bool, shape N."""
    return (_near(values_N, old_values_N, clip) - returns_N) ** 2 > (values_N - returns_N) ** 2


def _near(values_N: Tensor, old_values_N: Tensor, clip: float) -> Tensor:
    return old_values_N + (values_N - old_values_N).clamp(-clip, clip)


def k1(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """log π - log ref: unbiased for KL(π‖ref) on samples of π, signed, high variance (Schulman 2020). Shape N.

    In the reward its policy gradient is that of the KL of whole answers. As a loss its expected gradient is 0.
    """
    return logprobs_N - ref_logprobs_N


def k2(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """½ (log π - log ref)²: biased for KL(π‖ref) in the third order, never negative (Schulman 2020). Shape N.

    As a loss on samples of π its expected gradient is Σ_t E ∇KL(π‖ref), with the distribution of prefixes held fixed.
    """
    return 0.5 * (logprobs_N - ref_logprobs_N) ** 2


def k3(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """e^δ - 1 - δ with δ = log ref - log π: unbiased for KL(π‖ref) on samples of π, never negative. Shape N.

    As a loss on samples of π its expected gradient is Σ_t E ∇KL(ref‖π), the other divergence, prefixes held fixed.
    """
    delta_N = ref_logprobs_N - logprobs_N
    return delta_N.exp() - 1 - delta_N


def full_kl(logits_NV: Tensor, ref_logits_NV: Tensor) -> Tensor:
    """KL(π‖ref) of each token's whole distribution: Σ_v π_v (log π_v - log ref_v), in nats, never negative. Shape N.

    Summed over an answer that π sampled, its expectation is the KL of whole answers, as that of k1 is; only the draw of
    the prefix is left to luck, not that of the token (Rao-Blackwell). Of logits at the same temperature; sums in fp32.
    """
    logprobs_NV, ref_logprobs_NV = logits_NV.float().log_softmax(-1), ref_logits_NV.float().log_softmax(-1)
    return (logprobs_NV.exp() * (logprobs_NV - ref_logprobs_NV)).sum(-1)


def truncated(log_weight: Tensor, most: float) -> Tensor:
    """min(w, C) without gradient, w = π_old as the trainer has it over π_old as the sampler had it. Shape as given.

    Truncated importance sampling (Ionides 2008): biased where it truncates, of bounded variance.
    """
    return log_weight.detach().exp().clamp(max=most)


def banded(log_weight: Tensor, least: float, most: float) -> Tensor:
    """w where it lies in [least, most], else 0, without gradient: masked importance sampling. Shape as given."""
    weight = log_weight.detach().exp()
    return torch.where((weight >= least) & (weight <= most), weight, torch.zeros_like(weight))


def lengths(answer_N: Tensor) -> Tensor:
    """Tokens of the answer that each token belongs to. Shape N."""
    return torch.bincount(answer_N)[answer_N]


def answer_means(values_N: Tensor, answer_N: Tensor) -> Tensor:
    """Each token's answer's mean. Shape N."""
    return answer_sums(values_N, answer_N, int(answer_N.max()) + 1)[answer_N] / lengths(answer_N)
