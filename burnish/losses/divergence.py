"""How far a policy's distribution of the next token is from a teacher's: every token of the vocabulary counts, not only
the one that was said. Pure functions of tensors.

Suffixes: N targets, V vocabulary. Logits in, at the same temperature; sums in fp32, in nats. P is the teacher's
distribution, Q the policy's.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from burnish.losses.policy import full_kl


def generalised_jsd(logits_NV: Tensor, teacher_logits_NV: Tensor, beta: float) -> Tensor:
    """β KL(P‖M) + (1-β) KL(Q‖M) with M = βP + (1-β)Q (Agarwal et al. 2024, eq. 1). Never negative. Shape N.

    As β nears 0 it is β KL(P‖Q), as it nears 1 it is (1-β) KL(Q‖P). So 0 stands for KL(P‖Q), the forward one, which
    covers all that the teacher may say, and 1 for KL(Q‖P), the reverse one, which avoids what it would not.
    """
    if beta == 0:
        return full_kl(teacher_logits_NV, logits_NV)
    if beta == 1:
        return full_kl(logits_NV, teacher_logits_NV)
    p_NV, q_NV = teacher_logits_NV.float().log_softmax(-1), logits_NV.float().log_softmax(-1)
    middle_NV = torch.logaddexp(p_NV + log(beta), q_NV + log(1 - beta))
    return (beta * p_NV.exp() * (p_NV - middle_NV) + (1 - beta) * q_NV.exp() * (q_NV - middle_NV)).sum(-1)
