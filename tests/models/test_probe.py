"""The probe tells architectures that take trees from those that do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BloomConfig, GPT2Config, PretrainedConfig, Qwen2Config, StableLmConfig

from burnish.models.attention import NAME, register
from burnish.models.forward import Layout, Trainable
from burnish.models.probe import judge, probe

SMALL: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS: dict[str, tuple[PretrainedConfig, Layout]] = {
    "qwen2": (Qwen2Config(**SMALL, num_key_value_heads=1, intermediate_size=32), Layout.TREE),
    "gpt2": (GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2), Layout.TREE),
    "bloom": (BloomConfig(vocab_size=32, hidden_size=16, n_layer=2, n_head=2), Layout.ROWS),
    "stablelm": (StableLmConfig(**SMALL, num_key_value_heads=2, intermediate_size=32), Layout.ROWS),
}


def build(config: PretrainedConfig) -> Trainable:
    register()
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Trainable(getattr(model, model.base_model_prefix))


@pytest.mark.parametrize("kind", CONFIGS)
def test_layout_of_real_architectures(kind: str) -> None:
    config, wanted = CONFIGS[kind]
    module = build(config)
    layout, reason = probe(module)
    assert layout is wanted, reason
    assert bool(reason) == (layout is Layout.ROWS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_module_is_left_as_it_was(dtype: torch.dtype) -> None:
    module = build(CONFIGS["qwen2"][0]).to(dtype).train()
    before = [parameter.clone() for parameter in module.parameters()]
    probe(module)
    assert module.training
    assert module.layout is Layout.TREE
    assert module.backbone.config._attn_implementation == NAME
    assert all(
        torch.equal(a, b) and a.dtype is b.dtype and b.grad is None
        for a, b in zip(before, module.parameters(), strict=True)
    )


def test_judgement() -> None:
    rows = torch.randn(14, 8, generator=torch.Generator().manual_seed(0))
    moved = rows.clone()
    moved[7:] += 1  # the second branch and the second document may move
    assert judge(rows, moved, rows)[0] is Layout.TREE
    moved[6, 0] += 1e-7 + moved[6, 0].abs()
    assert judge(rows, moved, rows)[0] is Layout.ROWS
    assert judge(rows, rows, rows + 0.1)[0] is Layout.ROWS
    assert judge(rows * float("nan"), rows * float("nan"), rows)[0] is Layout.ROWS
