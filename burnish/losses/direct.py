"""Losses that teach a policy preferences without a reward model, as pure functions of tensors.

Suffixes: B answers, P ordered pairs (w the better answer, l the worse one). Natural logarithms.

Every paired loss is a function of one difference h = v_w - v_l; methods differ in what v_B they compare:

- DPO, IPO, cDPO, robust DPO: v = Σ_t (log π - log ref), the sum over the answer's tokens, its end token included.
  IPO's own code sums; implementations that divide by the length train another loss.
- length-normalised DPO: the same divided by |y|; its β is not comparable with DPO's.
- SimPO: v = 1/|y| Σ_t log π. ORPO: v = `log_odds` of that mean. Neither has a reference.

Where policy and reference are the same weights h is 0, and DPO's loss is ln 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dpo(h_P: Tensor, beta: float) -> Tensor:
    """-log σ(βh) (Rafailov et al. 2023, eq. 7). Shape P.

    Under preferences P(w ≻ l) = σ(r_w - r_l) its optimum is π ∝ ref·exp(r/β). A pair that always goes one way has no
    finite optimum at any β.
    """
    return -F.logsigmoid(beta * h_P)


def ipo(h_P: Tensor, tau: float) -> Tensor:
    """(h - 1/(2τ))² (Azar et al. 2023, eq. 17). Shape P.

    The optimum of a pair that is won with probability p is h = (2p - 1)/(2τ): finite for p = 1 as well.
    """
    return (h_P - 1 / (2 * tau)) ** 2


def cdpo(h_P: Tensor, beta: float, smoothing: float) -> Tensor:
    """(1-ε)L(h) + εL(-h), L being DPO's: conservative DPO (Mitchell 2023). Shape P.

    The gradient vanishes at σ(βh) = 1-ε: no pair is pushed further than that.
    """
    return (1 - smoothing) * dpo(h_P, beta) + smoothing * dpo(-h_P, beta)


def robust_dpo(h_P: Tensor, beta: float, smoothing: float) -> Tensor:
    """[(1-ε)L(h) - εL(-h)] / (1-2ε), L being DPO's, where a share ε < ½ of labels is flipped (Chowdhury et al. 2024).

    Its mean over flipped labels is DPO's loss over the true ones. Unbounded below, and of larger variance. Shape P.
    """
    return ((1 - smoothing) * dpo(h_P, beta) - smoothing * dpo(-h_P, beta)) / (1 - 2 * smoothing)


def simpo(h_P: Tensor, beta: float, gamma: float) -> Tensor:
    """-log σ(βh - γ), h of mean log-probabilities (Meng et al. 2024, eq. 6). Shape P."""
    return -F.logsigmoid(beta * h_P - gamma)


def log_odds(mean_logprobs_B: Tensor) -> Tensor:
    """log p/(1-p) of p = exp(mean log-probability of the answer's tokens) (Hong et al. 2024, eq. 4). Shape B.

    1-p is -expm1(log p), which keeps its digits as p nears 1; p = 1 itself is taken as the nearest number below.
    """
    below_B = mean_logprobs_B.clamp(max=-torch.finfo(mean_logprobs_B.dtype).eps)
    return below_B - torch.log(-torch.expm1(below_B))


def odds_ratio(h_P: Tensor) -> Tensor:
    """-log σ(h), h of `log_odds`: the second term of ORPO (Hong et al. 2024, eq. 7). Shape P.

    The whole loss (eq. 6) is the better answer's mean negative log-likelihood plus λ times this.
    """
    return -F.logsigmoid(h_P)


def kto(log_ratio_B: Tensor, desirable_B: Tensor, z0: float, beta: float, weights: tuple[float, float]) -> Tensor:
    """λ_D(1 - σ(β(ρ - z0))) of a desirable answer, λ_U(1 - σ(β(z0 - ρ))) of an undesirable one. Shape B.

    Ethayarajh et al. 2024, section 4. Args: log_ratio_B, ρ = Σ_t (log π - log ref); desirable_B, true or false; z0, see
    `kto_reference`; weights, (λ_D, λ_U).
    """
    sign_B = torch.where(desirable_B, 1.0, -1.0).to(log_ratio_B.dtype)
    weight_B = torch.where(desirable_B, weights[0], weights[1]).to(log_ratio_B.dtype)
    return weight_B * torch.sigmoid(-beta * sign_B * (log_ratio_B - z0))


def kto_reference(total: float, count: float) -> float:
    """z0 = max(0, mean log-ratio of prompts with answers that were given to others): how far the policy has drifted.

    A number: no gradient flows into it. Its mean is taken over the whole optimiser batch and all ranks.
    """
    return max(0.0, total / count) if count else 0.0
