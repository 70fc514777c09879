"""Log-probabilities of tokens and their likelihood loss, as pure functions of tensors.

Suffixes: N targets, V vocabulary, B answers. Natural logarithms; sums in fp32.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def target_logprobs(logits_NV: Tensor, target_N: Tensor) -> Tensor:
    """Log-probability of each target, in nats: fp32 whatever the logits' type. Shape N."""
    return -F.cross_entropy(logits_NV.float(), target_N, reduction="none")  # one fused pass each way


def entropy(logits_NV: Tensor) -> Tensor:
    """Entropy of each row's distribution, in nats: log Z - Σ p·logit. Shape N."""
    logits_NV = logits_NV.float()
    normaliser_N = logits_NV.logsumexp(-1)
    weighted_NV = (logits_NV - normaliser_N[:, None]).exp_().mul_(logits_NV)
    return normaliser_N - weighted_NV.sum(-1)


def nll(logprobs_N: Tensor, weight_N: Tensor) -> Tensor:
    """Weighted sum of negative log-likelihoods: L = -Σ_n w_n log π(y_n | y_<n).

    The loop divides by a count over the whole optimiser batch (all micro-batches and ranks). By Σ w, that makes it the
    token mean for w = 1, the sequence mean for w = 1/|o|; by the number of sequences, the mean of token sums for w = 1.
    Scalar.
    """
    return -(weight_N * logprobs_N).sum()


def answer_sums(values_N: Tensor, answer_N: Tensor, answers: int) -> Tensor:
    """Σ over the tokens of each answer; answer_N says which of the `answers` a token belongs to. Shape B."""
    return values_N.new_zeros(answers).index_add(0, answer_N, values_N)
