"""Policy-gradient losses and KL estimators, as pure functions of tensors. One value a token; the caller sums.

Suffix: N target tokens. Natural logarithms.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(logprobs_N: Tensor, old_logprobs_N: Tensor, advantages_N: Tensor, clip: float) -> Tensor:
    """PPO's pessimistic surrogate: -min(ρA, clip(ρ, 1-ε, 1+ε)A), ρ = π/π_old (Schulman et al. 2017, eq. 7). Shape N."""
    ratio_N = (logprobs_N - old_logprobs_N).exp()
    clipped_N = ratio_N.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio_N * advantages_N, clipped_N * advantages_N)


def clipped_value(values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, clip: float) -> Tensor:
    """½ max((V-R)², (clip(V, V_old ± ε)-R)²), the pessimistic value loss of lm-human-preferences (2019). Shape N."""
    near_N = old_values_N + (values_N - old_values_N).clamp(-clip, clip)
    return 0.5 * torch.maximum((values_N - returns_N) ** 2, (near_N - returns_N) ** 2)


def k1(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """log π - log ref: unbiased for KL(π‖ref) on samples of π, signed, high variance (Schulman 2020). Shape N."""
    return logprobs_N - ref_logprobs_N


def k3(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """e^δ - 1 - δ with δ = log ref - log π: unbiased for KL(π‖ref) on samples of π, never negative. Shape N."""
    delta_N = ref_logprobs_N - logprobs_N
    return delta_N.exp() - 1 - delta_N
