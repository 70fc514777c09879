"""Log-probabilities of tokens and their likelihood loss, as pure functions of tensors.

Suffixes: N targets, V vocabulary. Natural logarithms; sums in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def target_logprobs(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and the entropy of its distribution, in nats.

    Args: logits_NV any float type, taken to fp32; target_N ids.
    Returns: logprobs_N with gradient, entropy_N without (a metric, not a loss term).
    """
    logits_NV = logits_NV.float()
    normaliser_N = logits_NV.logsumexp(-1)
    logprobs_N = logits_NV.gather(-1, target_N[:, None]).squeeze(-1) - normaliser_N
    with torch.no_grad():
        probs_NV = (logits_NV - normaliser_N[:, None]).exp()
        entropy_N = normaliser_N - (probs_NV * logits_NV).sum(-1)
    return logprobs_N, entropy_N


def nll(logprobs_N: Tensor, weight_N: Tensor) -> Tensor:
    """Weighted sum of negative log-likelihoods: L = -Σ_n w_n log π(y_n | y_<n).

    The loop divides by Σ w over the whole optimiser batch (all micro-batches and ranks), which makes it the token mean
    for w = 1, the sequence mean for w = 1/|o|. Scalar.
    """
    return -(weight_N * logprobs_N).sum()
