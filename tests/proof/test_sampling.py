"""What is said of sampled answers, on the real model and 200 prompts: `make proof`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.errors import MachineError
from burnish.models.sources import ALIAS, resolve
from burnish.proof import sampling
from burnish.proof.material import read_rows
from burnish.proof.subject import Subject
from burnish.records.formats import read_prompts
from burnish.types import Silent

PROMPTS = Path(__file__).parents[2] / "recipes" / "support" / "prompts.jsonl"


class Shop(Subject):
    """The real model, and 200 prompts of the demo's shop."""

    @property
    def prompts(self) -> list[list[int]]:
        return [self.renderer.prompt(prompt.messages) for prompt in read_prompts(PROMPTS)[:200]]


@pytest.mark.proof
def test_what_sampling_says_of_the_real_model() -> None:
    try:
        folder = resolve(ALIAS, Path(), Silent())
    except MachineError as error:
        pytest.skip(f"the base model cannot be fetched here: {error}")
    subject = Shop(folder, read_rows(None))
    fp32, bf16 = (sampling.sampler_is_scorer(subject, dtype)[0] for dtype in (torch.float32, torch.bfloat16))
    print(f"sampler against scorer, {fp32.numel()} tokens, nats: fp32 at most {float(fp32.max()):.1e};", end=" ")
    print(f"bf16 on the mean {float(bf16.mean()):.4f}, at most {float(bf16.max()):.3f}")
    assert float(fp32.max()) <= 1e-4
    assert float(bf16.mean()) <= 0.1
    greedy = sampling.greedy(subject)
    print(f"greedy answers of 200 that depend on their company: {greedy.values['']:.0f}; {greedy.note}")
    assert greedy.values[""] == 0
    first = sampling.same_policy(subject)
    assert first.values == {"KL": 0.0, "ratio": 0.0}
