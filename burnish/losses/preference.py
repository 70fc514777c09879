"""Losses that learn from orders of answers, as pure functions of tensors.

Suffixes: B answers, P pairs. Natural logarithms. r are the answers' scores, Δ = r_w - r_l the difference of a pair.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def ordered_pairs(ranks_B: Tensor, prompt_B: Tensor) -> tuple[Tensor, Tensor]:
    """All (better, worse) pairs of answers to the same prompt; ties give none.

    Args: ranks_B, 1 is best; prompt_B, which prompt each answer belongs to.
    Returns: better_P, worse_P, indices into B.
    """
    same_BB = prompt_B[:, None] == prompt_B[None, :]
    better_P, worse_P = torch.nonzero(same_BB & (ranks_B[:, None] < ranks_B[None, :]), as_tuple=True)
    return better_P, worse_P


def tied_pairs(ranks_B: Tensor, prompt_B: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of answers to the same prompt with the same rank, each once. Returns two indices into B, shape P."""
    same_BB = (prompt_B[:, None] == prompt_B[None, :]) & (ranks_B[:, None] == ranks_B[None, :])
    first_P, second_P = torch.nonzero(same_BB.triu(1), as_tuple=True)
    return first_P, second_P


def prompt_means(values_P: Tensor, prompt_P: Tensor) -> Tensor:
    """Sum over prompts of the mean of their pairs' values; prompt_P says which prompt a pair is of. Scalar.

    Of `bradley_terry` it is the K-wise loss (Ouyang et al. 2022, eq. 1): Σ_x 1/|pairs(x)| Σ_(w,l) -log σ(r_w - r_l).
    The loop divides by the number of prompts that have a pair, which makes it the prompt mean: with mixed K it differs
    from the mean over pairs.
    """
    return (values_P / torch.bincount(prompt_P)[prompt_P]).sum()


def bradley_terry(better_P: Tensor, worse_P: Tensor, margin: float | Tensor = 0.0) -> Tensor:
    """-log σ(r_w - r_l - m) of each pair (Bradley and Terry 1952; Christiano et al. 2017, eq. 1). Shape P.

    `margin` m, shape P or one number, is what a pair must differ by: larger where the better answer was clearly better
    (Touvron et al. 2023, eq. 2).
    """
    return -F.logsigmoid(better_P - worse_P - margin)


def centring(better_P: Tensor, worse_P: Tensor) -> Tensor:
    """(r_w + r_l)²: keeps scores near 0, which pairs alone leave open (Eisenstein et al. 2023). Shape P.

    It is added to a pair's loss with a small weight, usually 0.01.
    """
    return (better_P + worse_P) ** 2


def lapse(better_P: Tensor, worse_P: Tensor, rate: float) -> Tensor:
    """-log((1-ε)σ(Δ) + ε/2), for annotators who answer at random with probability 0 < ε < 1. Shape P.

    Christiano et al. 2017, section 2.2.3, with ε = 0.1. One wrong label costs -log(ε/2) at most.
    """
    return -torch.log((1 - rate) * torch.sigmoid(better_P - worse_P) + rate / 2)


def half_tie(first_P: Tensor, second_P: Tensor, rate: float = 0.0) -> Tensor:
    """½ of the loss of either order, for pairs called equal: least at Δ = 0 (Christiano et al. 2017). Shape P.

    `rate` is that of `lapse`; with 0 it is `bradley_terry`'s loss that is halved.
    """
    if rate:
        return (lapse(first_P, second_P, rate) + lapse(second_P, first_P, rate)) / 2
    return (bradley_terry(first_P, second_P) + bradley_terry(second_P, first_P)) / 2


def rao_kupper_tie(first_P: Tensor, second_P: Tensor, threshold: float) -> Tensor:
    """-log P(tie) of pairs that were called equal, under Rao and Kupper 1967 with θ = exp(η), threshold η > 0. Shape P.

    P(w ≻ l) = σ(Δ - η): the loss of a decided pair is `bradley_terry` with margin η. What the two orders leave is
    P(tie) = (θ² - 1) σ(Δ - η) σ(-Δ - η), most likely at Δ = 0. Not to be mixed with Davidson's model of ties.
    """
    decided_P = bradley_terry(first_P, second_P, threshold) + bradley_terry(second_P, first_P, threshold)
    return decided_P - math.log(math.expm1(2 * threshold))


def plackett_luce(scores_B: Tensor, ranks_B: Tensor, prompt_B: Tensor) -> Tensor:
    """-Σ_k [r_τ(k) - log Σ_{j≥k} exp r_τ(j)], summed over prompts: the order as choices of the best of those left.

    Plackett 1975; Luce 1959. Another estimator than the K-wise loss, from the same ranks. Of tied answers each is
    chosen before those ranked worse, and none before another. Scalar.
    """
    left_BB = (prompt_B[:, None] == prompt_B[None, :]) & (ranks_B[:, None] < ranks_B[None, :])
    left_BB = left_BB | torch.eye(ranks_B.numel(), dtype=torch.bool, device=ranks_B.device)
    chances_BB = scores_B[None, :].masked_fill(~left_BB, float("-inf"))
    return (chances_BB.logsumexp(-1) - scores_B).sum()
