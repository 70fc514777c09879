"""The laws of `burnish.proof`, which has one loss of a family, for the other losses and settings of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from burnish.batches import Batch
from burnish.losses import preference
from burnish.proof import batching, heads
from burnish.proof.law import Measured
from burnish.proof.laws import STEP
from burnish.proof.material import read_rows
from burnish.proof.methods import LORA, METHODS, WAYS
from burnish.proof.subject import Subject, Trial
from burnish.train.direct import DirectPreference, Kto
from burnish.train.objectives import Objective, RewardModel
from burnish.train.policy_gradient import KlInLoss, PolicyGradient

VARIANTS: dict[str, tuple[str, Objective]] = {
    "dpo": ("dpo", DirectPreference("dpo", beta=0.1)),
    "ipo": ("dpo", DirectPreference("ipo", beta=0.1)),
    "cdpo": ("dpo", DirectPreference("cdpo", beta=0.1, smoothing=0.2)),
    "robust": ("dpo", DirectPreference("robust", beta=0.1, smoothing=0.2)),
    "dpo_norm": ("dpo", DirectPreference("dpo_norm", beta=0.5)),
    "simpo": ("dpo", DirectPreference("simpo", beta=2.0, gamma=0.8)),
    "orpo": ("dpo", DirectPreference("orpo", beta=0.25)),
    "rpo, normalised": ("dpo", DirectPreference("dpo_norm", beta=0.5, nll=1.0)),
    "kto, good answers weigh more": ("kto", Kto(beta=0.3, desirable_weight=1.5)),
    "bradley_terry": ("reward", RewardModel("bradley_terry")),
    "plackett_luce": ("reward", RewardModel("plackett_luce")),
    "half a tie": ("reward", RewardModel(ties="half")),
    "half a tie, by pairs": ("reward", RewardModel("bradley_terry", ties="half", lapse=0.1)),
    "Rao and Kupper": ("reward", RewardModel(ties="rao_kupper", tie_threshold=0.6)),
    "margin": ("reward", RewardModel(margin=0.5)),
    "margins of strengths": ("reward", RewardModel()),
    "lapse": ("reward", RewardModel(lapse=0.1)),
    "centring": ("reward", RewardModel(centring=0.1)),
    **{
        variant: ("grpo", PolicyGradient(variant, budget=64, kl=KlInLoss(estimator="k2", coef=0.1)))
        for variant in ("reinforce", "reinforce_pp", "dr_grpo", "dapo", "gspo", "cispo")
    },
}
"""The method whose documents and feed they have, and what is minimised. RLOO minimises what REINFORCE does."""


@pytest.fixture(scope="module")
def subject(tiny: Path) -> Subject:
    """One for all: no test changes its weights."""
    return Subject(tiny, read_rows(None))


def trial_of(subject: Subject, name: str, way: str) -> Trial:
    """The variant in the place of its method's objective. Only where strengths are learned has the feed any."""
    method, objective = VARIANTS[name]
    trial = subject.trial(method, way)
    extras = trial.extras
    if name == "margins of strengths":
        extras = {row: {**each, "strength_B": -0.3 * each["ranks_B"].float()} for row, each in extras.items()}
    return replace(trial, method=replace(trial.method, objective=objective), extras=extras)


def chunks(trial: Trial) -> Measured:
    """There are none where nothing predicts tokens: reward models."""
    return heads.chunks(trial) if "lm" in trial.method.heads else Measured(dict.fromkeys(STEP, 0.0))


MEASURES: list[Callable[[Trial], Measured]] = [batching.packed, batching.prefix_shared, batching.micro_batches, chunks]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_laws_hold_for_every_loss(name: str, way: str, subject: Subject) -> None:
    trial = trial_of(subject, name, way)
    found = {(measure.__name__, what): value for measure in MEASURES for what, value in measure(trial).values.items()}
    assert {name: value for name, value in found.items() if not value <= STEP[name[1]]} == {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if "lm" in method.heads])
def test_every_method_makes_the_same_step_of_logits_in_chunks(method: str, way: str, subject: Subject) -> None:
    found = heads.chunks(subject.trial(method, way)).values
    assert {what: value for what, value in found.items() if not value <= STEP[what]} == {}


def test_no_two_variants_are_one(subject: Subject) -> None:
    """Each reads its own settings: no other makes its step."""
    steps = {name: (trial := trial_of(subject, name, LORA)).step(trial.batch(trial.documents)) for name in VARIANTS}
    losses = [round(step.loss, 6) for step in steps.values()]
    assert len(set(losses)) == len(losses)
    assert all(step.gradient.norm() > 0 for step in steps.values())


def test_a_mean_of_means_breaks_the_law(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the laws above can fail: a pair's share depends on the micro-batch that it comes in."""

    def mean(values_P: Tensor, prompt_P: Tensor) -> Tensor:
        return values_P.mean() * len(prompt_P.unique())

    monkeypatch.setattr(preference, "prompt_means", mean)
    assert batching.micro_batches(trial_of(subject, "ipo", LORA)).values["loss"] > 100 * STEP["loss"]


def test_ties_and_strengths_are_there_to_be_learned(subject: Subject) -> None:
    """Of the documents that the laws are tried on, some answers are tied."""
    trial = trial_of(subject, "half a tie", LORA)
    batch: Batch = trial.batch(trial.documents)
    first_P, _ = preference.tied_pairs(batch.extra["ranks_B"], batch.prompt_B)
    assert first_P.numel() > 0
    strengths = trial_of(subject, "margins of strengths", LORA).extras.values()
    assert all(torch.unique(each["strength_B"]).numel() > 1 for each in strengths)
