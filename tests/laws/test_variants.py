"""The laws of `burnish.proof`, whose doctor has one loss of a family, for the other losses and settings of each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bugs import mean_of_means

from burnish.batches import Batch
from burnish.losses import preference
from burnish.proof import batching, memory
from burnish.proof.laws import STEP, _of_method
from burnish.proof.material import read_rows
from burnish.proof.methods import ALL, LORA, VARIANTS, WAYS
from burnish.proof.subject import Subject


@pytest.fixture(scope="module")
def subject(tiny: Path) -> Subject:
    """One for all: no test changes its weights."""
    return Subject(tiny, read_rows(None))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_laws_hold_for_every_loss(name: str, way: str, subject: Subject) -> None:
    findings = [finding for law in _of_method(name, way) for finding in law.tried(subject)]
    assert [(finding.name, finding.measured) for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [name for name, method in ALL.items() if "lm" in method.heads])
def test_every_loss_makes_the_same_step_of_logits_in_chunks(name: str, way: str, subject: Subject) -> None:
    found = memory.chunks(subject.trial(name, way)).values
    assert {what: value for what, value in found.items() if not value <= STEP[what]} == {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ALL)
def test_every_loss_makes_the_same_step_of_layers_computed_again(name: str, way: str, subject: Subject) -> None:
    assert memory.computed_again(subject.trial(name, way)).values == {"loss": 0.0, "gradient": 0.0}


def test_no_two_variants_are_one(subject: Subject) -> None:
    """Each reads its own settings: no other makes its step."""
    steps = {name: (trial := subject.trial(name, LORA)).step(trial.batch(trial.documents)) for name in VARIANTS}
    losses = [round(step.loss, 6) for step in steps.values()]
    assert len(set(losses)) == len(losses)
    assert all(step.gradient.norm() > 0 for step in steps.values())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_mean_of_means_breaks_the_law(name: str, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the laws above can fail."""
    trial = subject.trial(name, LORA)
    mean_of_means(type(trial.method.objective))(monkeypatch)
    assert batching.micro_batches(trial).values["loss"] > 10 * STEP["loss"]


def test_ties_and_strengths_are_there_to_be_learned(subject: Subject) -> None:
    """Of the documents that the laws are tried on, some answers are tied."""
    trial = subject.trial("half a tie", LORA)
    batch: Batch = trial.batch(trial.documents)
    first_P, _ = preference.tied_pairs(batch.extra["ranks_B"], batch.prompt_B)
    assert first_P.numel() > 0
    strengths = subject.trial("margins of strengths", LORA).extras.values()
    assert all(torch.unique(each["strength_B"]).numel() > 1 for each in strengths)
