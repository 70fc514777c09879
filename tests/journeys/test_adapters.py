"""Runs that train adapters: each lies beside the model that it was merged into, and is of use on its base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import burnish, project

from burnish.models.adapter import load_adapted
from burnish.models.load import load_trainable
from burnish.models.lora import merge


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project(tmp_path_factory.mktemp("tiny"), adapters=True)
    found = burnish("run", folder / "recipe.yaml", "--out", folder / "run", "--until", "ppo")
    assert found.returncode == 0, found.stderr
    return folder / "run"


@pytest.mark.parametrize(
    ("base", "adapter", "model", "head"),
    [
        ("../model", "sft/adapter", "sft/model", ""),
        ("sft/model", "reward/adapter", "reward/model", "score"),
        ("sft/model", "reward/member-02/adapter", "reward/model/member-02", "score"),
        ("sft/model", "ppo/adapter", "ppo/model", "value"),
    ],
)
def test_the_adapter_on_its_base_is_the_model_beside_it(
    run: Path, base: str, adapter: str, model: str, head: str
) -> None:
    heads = {"lm": head != "score", "value": head == "value", "score": head == "score"}
    module = load_adapted(run / adapter, run / base, dtype=torch.float32, **heads)
    merge(module)
    made, kept = module.state_dict(), load_trainable(run / model, dtype=torch.float32, **heads).state_dict()
    assert made.keys() == kept.keys()
    assert [name for name, tensor in made.items() if not torch.equal(tensor, kept[name])] == []
    before = load_trainable(run / base, dtype=torch.float32, **heads).state_dict()
    assert not torch.equal(
        made["backbone.layers.0.self_attn.q_proj.weight"], before["backbone.layers.0.self_attn.q_proj.weight"]
    )


def test_policy_and_reference_begin_as_one(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "ppo" / "metrics.jsonl").read_text().splitlines()]
    kl = [row["objective/kl"] for row in rows if "objective/kl" in row]
    assert kl[0] == 0.0
    assert kl[-1] != 0.0, "the reference stays where it was"
