"""Losses that learn from orders of answers, as pure functions of tensors.

Suffixes: B answers, P ordered pairs, D prompts. Natural logarithms.
"""

from __future__ import annotations

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


def bradley_terry(better_P: Tensor, worse_P: Tensor) -> Tensor:
    """-log σ(r_w - r_l) of each pair (Bradley and Terry 1952; Christiano et al. 2017, eq. 1). Shape P."""
    return -F.logsigmoid(better_P - worse_P)


def k_wise(scores_B: Tensor, ranks_B: Tensor, prompt_B: Tensor) -> Tensor:
    """Sum over prompts of the mean Bradley-Terry loss of their ordered pairs (Ouyang et al. 2022, eq. 1).

    L = Σ_x 1/|pairs(x)| Σ_(w,l) -log σ(r_w - r_l). The loop divides by the number of prompts that have a pair, which
    makes it the prompt mean: with mixed K it differs from the mean over pairs. Ties are dropped. Scalar.
    """
    better_P, worse_P = ordered_pairs(ranks_B, prompt_B)
    prompt_P = prompt_B[better_P]
    pairs_D = torch.bincount(prompt_P, minlength=int(prompt_B.max()) + 1)
    return (bradley_terry(scores_B[better_P], scores_B[worse_P]) / pairs_D[prompt_P]).sum()
