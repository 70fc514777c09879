"""Objectives that teach a policy preferences directly: from ranked answers, or from answers called good or bad.

Knows losses, the policy's log-probabilities and what a reference said; knows no reference model and no feed.

Suffixes: N targets, B answers, P ordered pairs (better, worse).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.losses import direct, preference
from burnish.losses.tokens import answer_sums
from burnish.models.forward import Trainable
from burnish.train.objectives import Loss, predicted, ranked_prompts
from burnish.train.parallel import Ranks

Method = Literal["dpo", "ipo", "cdpo", "robust", "dpo_norm", "simpo", "orpo"]


class DirectPreference:
    """A loss of the policy's own preference in each ordered pair: the mean over prompts of the mean over their pairs.

    With two answers a prompt that is the mean over pairs, as the papers have it. Reads extras ranks_B (1 is best, ties
    give no pair) and, unless `reference_free`, ref_logprobs_N.
    """

    dropout = False

    def __init__(
        self, method: Method, *, beta: float, smoothing: float = 0.0, gamma: float = 0.0, nll: float = 0.0
    ) -> None:
        """`beta`: β, IPO's τ or ORPO's λ. `smoothing`: ε of cdpo and robust. `gamma`: SimPO's margin.

        `nll`: weight of the better answer's mean negative log-likelihood (Pang et al. 2024, eq. 1), which keeps it from
        falling with the worse one. ORPO has it with weight 1.
        """
        self.reference_free = method in ("simpo", "orpo")
        weights = {"preference": beta, "nll": 1.0} if method == "orpo" else {"preference": 1.0, "nll": nll}
        self.weights: Mapping[str, float] = {name: weight for name, weight in weights.items() if weight}
        self._method: Method = method
        self._beta = beta
        self._smoothing = smoothing
        self._gamma = gamma

    def counts(self, batch: Batch) -> dict[str, float]:
        return dict.fromkeys(self.weights, ranked_prompts(batch))

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        logprobs_N = predicted(module(batch))
        better_P, worse_P = preference.ordered_pairs(batch.extra["ranks_B"], batch.prompt_B)
        values_B = self.values(logprobs_N, batch)
        terms = {"preference": self._pair_loss(values_B[better_P] - values_B[worse_P])}
        if "nll" in self.weights:
            terms["nll"] = -_means(logprobs_N, batch)[better_P]
        sums = {name: preference.prompt_means(term_P, batch.prompt_B[better_P]) for name, term_P in terms.items()}
        rewards_B = self._beta * values_B.detach()
        logps_B = _sums(logprobs_N.detach(), batch)
        margin_P = rewards_B[better_P] - rewards_B[worse_P]
        per_pair = {
            "rewards/chosen": rewards_B[better_P],
            "rewards/rejected": rewards_B[worse_P],
            "rewards/accuracies": (margin_P > 0).float(),
            "rewards/margins": margin_P,
            "logps/chosen": logps_B[better_P],
            "logps/rejected": logps_B[worse_P],
        }
        return Loss(sums, {name: (float(found_P.sum()), float(found_P.numel())) for name, found_P in per_pair.items()})

    def values(self, logprobs_N: Tensor, batch: Batch) -> Tensor:
        """What is compared: v of `burnish.losses.direct`, of which β is the policy's implicit reward. Shape B."""
        match self._method:
            case "dpo" | "ipo" | "cdpo" | "robust":
                return log_ratios(logprobs_N, batch)
            case "dpo_norm":
                return _means(logprobs_N - batch.extra["ref_logprobs_N"], batch)
            case "simpo":
                return _means(logprobs_N, batch)
            case "orpo":
                return direct.log_odds(_means(logprobs_N, batch))

    def _pair_loss(self, h_P: Tensor) -> Tensor:
        match self._method:
            case "dpo" | "dpo_norm":
                return direct.dpo(h_P, self._beta)
            case "ipo":
                return direct.ipo(h_P, self._beta)
            case "cdpo":
                return direct.cdpo(h_P, self._beta, self._smoothing)
            case "robust":
                return direct.robust_dpo(h_P, self._beta, self._smoothing)
            case "simpo":
                return direct.simpo(h_P, self._beta, self._gamma)
            case "orpo":
                return direct.odds_ratio(h_P)


class Kto:
    """Answers called good or bad, no pairs: mean over answers of KTO's loss (Ethayarajh et al. 2024).

    Reads extras desirable_B and ref_logprobs_N. What is measured before a step are prompts with answers that were given
    to others (`burnish.train.feeds.mismatched`): z0 is one number for the whole step, however it is cut.
    """

    weights: Mapping[str, float] = {"preference": 1.0}
    dropout = False

    def __init__(self, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> None:
        """Weights λ_D and λ_U; the authors advise λ_D n_D / (λ_U n_U) between 1 and 3/2, n being how many there are."""
        self._beta = beta
        self._lambdas = desirable_weight, undesirable_weight
        self._z0 = 0.0

    @torch.no_grad()
    def prepare(self, module: Trainable, batches: Sequence[Batch], ranks: Ranks) -> None:
        ratios = [log_ratios(predicted(module(batch)), batch) for batch in batches]
        measured = {"total": sum(float(each.sum()) for each in ratios), "count": float(sum(map(len, ratios)))}
        added = ranks.sum(measured)
        self._z0 = direct.kto_reference(added["total"], added["count"])

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"preference": float(batch.last_B.numel())}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        ratio_B = log_ratios(predicted(module(batch)), batch)
        good_B = batch.extra["desirable_B"]
        loss_B = direct.kto(ratio_B, good_B, self._z0, self._beta, self._lambdas)
        answers = float(good_B.numel())
        rewards_B = self._beta * ratio_B.detach()
        metrics = {
            name: (float(rewards_B[which_B].sum()), float(which_B.sum()))
            for name, which_B in (("rewards/chosen", good_B), ("rewards/rejected", ~good_B))
        }
        return Loss({"preference": loss_B.sum()}, {**metrics, "kl": (self._z0 * answers, answers)})


def log_ratios(logprobs_N: Tensor, batch: Batch) -> Tensor:
    """Σ_t (log π - log ref) of each answer. Shape B."""
    return _sums(logprobs_N - batch.extra["ref_logprobs_N"], batch)


def _sums(values_N: Tensor, batch: Batch) -> Tensor:
    """Over the tokens of each answer, by their weights. Shape B."""
    return answer_sums(batch.weight_N * values_N, batch.answer_N, batch.last_B.numel())


def _means(values_N: Tensor, batch: Batch) -> Tensor:
    return _sums(values_N, batch) / answer_sums(batch.weight_N, batch.answer_N, batch.last_B.numel())
