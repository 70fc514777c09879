"""Measures of what saves memory: logits in chunks, layers computed again. Judges nothing."""

from __future__ import annotations

from dataclasses import replace

from burnish.models.layers import recompute_layers, twin
from burnish.proof.law import Measured
from burnish.proof.subject import Trial


def chunks(trial: Trial) -> Measured:
    """The step with all logits at once, and with 8 and 13 rows of them at a time.

    With 1 to 3 rows the fp32 product that makes the hidden states' gradient sums a vocabulary of 49,152 less exactly:
    1.7e-4 apart on SmolLM2-135M, where 8 rows are 2e-5 apart.
    """
    batch = trial.batch(trial.documents)
    trial.module.chunk = batch.target_N.numel()
    whole = trial.step(batch)
    parts: list[dict[str, float]] = []
    for rows in (8, 13):
        trial.module.chunk = rows
        parts.append(trial.step(batch).apart(whole))
    return Measured.worst(parts)


def computed_again(trial: Trial) -> Measured:
    """The step whose layers keep all that the backward pass needs, and that of layers that are computed again in it."""
    batch = trial.batch(trial.documents)
    again = twin(trial.module)
    recompute_layers(again)
    return Measured(replace(trial, module=again).step(batch).apart(trial.step(batch)))
