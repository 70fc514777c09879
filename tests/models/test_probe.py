"""The probe tells architectures that take trees from those that do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from burnish.models.attention import NAME, register
from burnish.models.folder import backbone_name
from burnish.models.forward import Layout, Trainable
from burnish.models.probe import judge, probe, routed, windows

from .families import FAMILIES, LONG_WINDOW, WINDOW


def build(config: PretrainedConfig) -> Trainable:
    register()
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Trainable(getattr(model, backbone_name(model)))


@pytest.mark.parametrize("kind", FAMILIES)
def test_layout_of_real_architectures(kind: str) -> None:
    layout, reason = probe(build(FAMILIES[kind].config))
    assert layout is FAMILIES[kind].layout, reason
    assert bool(reason) == (layout is Layout.ROWS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_module_is_left_as_it_was(dtype: torch.dtype) -> None:
    module = build(FAMILIES["qwen2"].config).to(dtype).train()
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
    for experts in (False, True):
        assert judge(rows * float("nan"), rows * float("nan"), rows, routed=experts)[0] is Layout.ROWS


def test_experts_may_round_and_not_leak() -> None:
    rows = torch.ones(14, 8)
    moved = rows.clone()
    moved[3, 5] += 5e-6
    assert judge(rows, moved, rows)[0] is Layout.ROWS
    assert judge(rows, moved, rows, routed=True)[0] is Layout.TREE
    moved[3, 5] += 1e-4
    assert judge(rows, moved, rows, routed=True)[0] is Layout.ROWS
    assert {kind for kind in FAMILIES if routed(build(FAMILIES[kind].config))} == {
        "gpt_oss",
        "deepseek_v2",
        "deepseek_v3",
        "mixtral",
        "llama4",
    }


def test_each_layer_says_how_far_it_looks() -> None:
    for kind, wanted in {"llama": [], "mistral": [WINDOW], "gemma2": [WINDOW], "mixtral": [LONG_WINDOW]}.items():
        assert windows(build(FAMILIES[kind].config)) == wanted
    alone = build(FAMILIES["stablelm"].config)
    alone.layout = Layout.ROWS
    assert windows(alone) == []
