"""Another process comes to the same module: its blueprint, filled with its weights, says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from burnish.batches import Document, pack
from burnish.models.blueprint import blueprint, built
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt

from .families import write

DOCUMENTS = [
    Document(row="a", ids=[9, 8, 7], branches=[[1, 2], [3]]),
    Document(row="b", ids=[3, 1, 4], weights=[1.0] * 3),
]


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("family", ["llama", "granite", "cohere", "gemma2", "phi", "llama4", "bloom"])
def test_a_module_built_from_its_blueprint_gives_the_same_bits(tmp_path: Path, family: str, adapted: bool) -> None:
    """What the architecture does to logits is no tensor: it must come with the blueprint."""
    module = load_trainable(write(tmp_path / "model", family), dtype=torch.float32, value=True, score=True)
    if adapted:
        adapt(module, LoraConfig(rank=2, alpha=4), seed=1)
        torch.nn.init.normal_(next(p for name, p in module.named_parameters() if name.endswith("lora_B")))
    other = built(json.loads(json.dumps(blueprint(module))))
    assert {name: p.requires_grad for name, p in other.named_parameters()} == {
        name: p.requires_grad for name, p in module.named_parameters()
    }
    other.load_state_dict(module.state_dict())
    batch = pack(DOCUMENTS)
    with torch.no_grad():
        ours, theirs = module(batch), other(batch)
    assert torch.equal(ours.logprobs_N, theirs.logprobs_N)
    assert torch.equal(ours.scores_B, theirs.scores_B)
