"""The methods that laws are stated for, and the ways in which their weights are trained: a new one is a line of a
table. Knows objectives and what their feeds add; knows no law.

Suffixes as in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from burnish.batches import Batch
from burnish.models.forward import Output, Trainable
from burnish.models.lora import LoraConfig, adapt, adapted
from burnish.train.direct import DirectPreference, Kto
from burnish.train.distillation import TAUGHT, Distillation
from burnish.train.objectives import Objective, Ppo, RewardModel, Sft
from burnish.train.policy_gradient import Correction, KlInLoss, PolicyGradient

Added = Callable[[Batch, Output, Sequence[int]], dict[str, Tensor]]
"""What a feed adds to the batch of one document, of what the module says of it and of its answers' ranks."""


def _nothing(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    return {}


def _ranks(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    return {"ranks_B": torch.tensor(ranks)}


def _strengths(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    """Ranks, and strengths that fall with them."""
    return {"ranks_B": torch.tensor(ranks), "strength_B": -0.3 * torch.tensor(ranks)}


def _referenced(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    """Ranks, and a reference that is near and not the same."""
    assert output.logprobs_N is not None
    place_N = torch.arange(batch.target_N.numel()) + batch.target_N
    return {"ranks_B": torch.tensor(ranks), "ref_logprobs_N": output.logprobs_N + 0.4 * torch.sin(1.1 * place_N)}


def _labelled(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    """The best answers are good ones, and the policy has drifted from its reference, so that z0 is above zero."""
    near = _referenced(batch, output, ranks)
    good = [rank == min(ranks) for rank in ranks]
    return {"desirable_B": torch.tensor(good), "ref_logprobs_N": near["ref_logprobs_N"] - 0.2}


def _collected(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    """Near what the module says now, so that some ratios and values are clipped and some are not."""
    assert output.logprobs_N is not None
    assert output.values_N is not None
    place_N = torch.arange(batch.target_N.numel()) + batch.target_N
    return {
        "old_logprobs_N": output.logprobs_N + 0.4 * torch.sin(1.3 * place_N),
        "old_values_N": output.values_N + 0.4 * torch.sin(1.7 * place_N),
        "advantages_N": 0.5 + torch.sin(2.3 * place_N),
        "returns_N": output.values_N + torch.sin(2.9 * place_N),
    }


def _compared(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    """Near what the module says now, one advantage an answer, a sampler that says it a little otherwise, and a group
    that was left out."""
    assert output.logprobs_N is not None
    place_N = torch.arange(batch.target_N.numel()) + batch.target_N
    return {
        "old_logprobs_N": output.logprobs_N + 0.4 * torch.sin(1.3 * place_N),
        "ref_logprobs_N": output.logprobs_N + 0.4 * torch.sin(1.1 * place_N),
        "sampler_logprobs_N": output.logprobs_N + 0.4 * torch.sin(1.3 * place_N) + 0.1 * torch.sin(1.7 * place_N),
        "advantages_N": torch.sin(2.3 * (1.0 + torch.tensor(ranks)))[batch.answer_N],
        "absent_answers_D": torch.tensor([2.0]),
        "absent_tokens_D": torch.tensor([7.0]),
    }


def _taught(batch: Batch, output: Output, ranks: Sequence[int]) -> dict[str, Tensor]:
    """A teacher that is near and not the same."""
    assert output.logits is not None
    logits_NV = output.logits(slice(None)).float().cpu()
    place_NV = torch.arange(batch.target_N.numel())[:, None] + 1.3 * torch.arange(logits_NV.shape[1])
    return {TAUGHT: logits_NV + torch.sin(place_NV)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method."""

    objective: Objective
    heads: frozenset[str]
    """Which of lm, value and score it trains."""
    trees: bool
    """Whether its documents are prompts with answers; else they are conversations."""
    added: Added = _nothing
    measures: bool = False
    """Whether its objective measures prompts with answers that were given to others (`mismatched`) before a step."""


METHODS: Mapping[str, Method] = {
    "sft": Method(objective=Sft(), heads=frozenset({"lm"}), trees=False),
    "reward": Method(objective=RewardModel(), heads=frozenset({"score"}), trees=True, added=_ranks),
    "dpo": Method(
        objective=DirectPreference("dpo", beta=0.1, nll=0.2), heads=frozenset({"lm"}), trees=True, added=_referenced
    ),
    "kto": Method(
        objective=Kto(beta=0.1, undesirable_weight=1.2),
        heads=frozenset({"lm"}),
        trees=True,
        added=_labelled,
        measures=True,
    ),
    "distill": Method(objective=Distillation(beta=0.7), heads=frozenset({"lm"}), trees=True, added=_taught),
    "ppo": Method(
        objective=Ppo(cliprange=0.2, cliprange_value=0.2, vf_coef=0.1),
        heads=frozenset({"lm", "value"}),
        trees=True,
        added=_collected,
    ),
    "grpo": Method(
        objective=PolicyGradient(
            "grpo",
            budget=64,
            kl=KlInLoss(coef=0.1),
            correction=Correction(level="answer", rule="truncate", most=1.1),
        ),
        heads=frozenset({"lm"}),
        trees=True,
        added=_compared,
    ),
}


def _of(method: str, objective: Objective, added: Added | None = None) -> Method:
    return replace(METHODS[method], objective=objective, added=added or METHODS[method].added)


VARIANTS: Mapping[str, Method] = {
    "sft, sequences": _of("sft", Sft("sequence")),
    "sft, sums": _of("sft", Sft("sum")),
    "dpo, alone": _of("dpo", DirectPreference("dpo", beta=0.1)),
    "ipo": _of("dpo", DirectPreference("ipo", beta=0.1)),
    "cdpo": _of("dpo", DirectPreference("cdpo", beta=0.1, smoothing=0.2)),
    "robust": _of("dpo", DirectPreference("robust", beta=0.1, smoothing=0.2)),
    "dpo_norm": _of("dpo", DirectPreference("dpo_norm", beta=0.5)),
    "simpo": _of("dpo", DirectPreference("simpo", beta=2.0, gamma=0.8)),
    "orpo": _of("dpo", DirectPreference("orpo", beta=0.25)),
    "rpo, normalised": _of("dpo", DirectPreference("dpo_norm", beta=0.5, nll=1.0)),
    "kto, good answers weigh more": _of("kto", Kto(beta=0.3, desirable_weight=1.5)),
    "bradley_terry": _of("reward", RewardModel("bradley_terry")),
    "plackett_luce": _of("reward", RewardModel("plackett_luce")),
    "half a tie": _of("reward", RewardModel(ties="half")),
    "half a tie, by pairs": _of("reward", RewardModel("bradley_terry", ties="half", lapse=0.1)),
    "Rao and Kupper": _of("reward", RewardModel(ties="rao_kupper", tie_threshold=0.6)),
    "margin": _of("reward", RewardModel(margin=0.5)),
    "margins of strengths": _of("reward", RewardModel(), _strengths),
    "lapse": _of("reward", RewardModel(lapse=0.1)),
    "centring": _of("reward", RewardModel(centring=0.1)),
    **{
        variant: _of("grpo", PolicyGradient(variant, budget=64, kl=KlInLoss(estimator="k2", coef=0.1)))
        for variant in ("reinforce", "reinforce_pp", "dr_grpo", "dapo", "gspo", "cispo")
    },
}
"""Other losses and settings of each family. Tests try the laws on them, a user's doctor does not: they are dear on a
large model, and what a model could break stands in `METHODS`. RLOO minimises what REINFORCE does."""
ALL = {**METHODS, **VARIANTS}


def _every_weight(module: Trainable) -> None:
    """Nothing to prepare."""


def _adapter(module: Trainable) -> None:
    """One that has learned something: as drawn it would change nothing."""
    adapt(module, LoraConfig(rank=4, alpha=8), seed=1)
    for layer in adapted(module.backbone).values():
        nn.init.normal_(layer.lora_B, std=0.02)


FULL = "full"
LORA = "lora"
WAYS: Mapping[str, Callable[[Trainable], Any]] = {FULL: _every_weight, LORA: _adapter}
"""What is done to a loaded module before it is trained."""
