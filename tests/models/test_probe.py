"""The probe tells architectures that take trees from those that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from burnish.models.attention import NAME, register
from burnish.models.folder import backbone_name
from burnish.models.forward import Layout, Trainable
from burnish.models.probe import judge, near_ties, probe, routed, windows
from burnish.proof import sampling
from burnish.proof.material import read_rows
from burnish.proof.subject import Subject

from .families import FAMILIES, GROUPED, LONG_WINDOW, WINDOW, write


def build(config: PretrainedConfig) -> Trainable:
    register()
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Trainable(getattr(model, backbone_name(model)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", FAMILIES)
def test_layout_of_real_architectures(kind: str, dtype: torch.dtype) -> None:
    layout, reason = probe(build(FAMILIES[kind].config).to(dtype))
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


def test_no_second_whole_model_is_made() -> None:
    """Weights in fp32 when a weight is used: those of one layer of six, and the last norm's."""
    module = build(LlamaConfig(**{**GROUPED, "num_hidden_layers": 6})).to(torch.bfloat16)
    layer, norm = (
        sum(weight.numel() for weight in part.parameters())
        for part in (module.backbone.layers[0], module.backbone.norm)
    )
    held: list[int] = []

    def count(*_: Any) -> None:
        held.append(sum(weight.numel() for weight in module.parameters() if weight.dtype is torch.float32))

    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            part.register_forward_pre_hook(count)
    assert probe(module)[0] is Layout.TREE
    assert {norm, layer + norm} == set(held)
    held.clear()
    count()
    assert held == [0]


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
        "qwen3_moe",
        "glm4_moe",
        "llama4",
    }


def test_too_little_memory_says_nothing_of_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(Trainable, "hidden", short)
    with pytest.raises(torch.OutOfMemoryError):
        probe(build(FAMILIES["llama"].config))


def test_near_ties_of_experts_are_seen() -> None:
    """Of four experts two are chosen, and the first two have the same scores: rounding decides between them where one
    of the others is better and one is worse."""
    ids = list(range(1, 40))
    module: Any = build(FAMILIES["mixtral"].config)
    assert not near_ties(module, ids).any()
    seen: list[torch.Tensor] = []
    gate = module.backbone.layers[1].mlp.gate
    gate.register_forward_hook(lambda module, given, result: seen.append(result[0]))
    with torch.no_grad():
        gate.weight[1] = gate.weight[0]
    found_T = near_ties(module, ids)
    better_T = (seen[0][:, 2:] > seen[0][:, :1]).sum(-1)
    assert found_T.tolist() == (better_T == 1).tolist()
    assert 0 < int(found_T.sum()) < len(ids)
    assert not near_ties(build(FAMILIES["deepseek_v3"].config), ids).any()  # it chooses groups, then experts


def test_a_token_after_a_near_tie_of_experts_may_be_off(tmp_path: Path) -> None:
    """On this model one was, by 0.1: the sampler sent it to another expert than the scorer."""
    subject = Subject(write(tmp_path / "model", "mixtral"), read_rows(None))
    assert sampling.largest(subject).values[""] <= sampling.OFF


@pytest.mark.parametrize(
    ("apart", "undecided", "wanted", "excused"),
    [
        ([0.2, 0.3, 1e-6], [True, False, True], 0.3, 1),
        ([0.2, 0.3, 1e-6], [True, True, False], 1e-6, 2),
        ([0.2, 0.3, 1e-6], [False, False, False], 0.3, 0),
        ([0.2, 0.3, 0.1], [True, True, True], 0.3, 0),  # no tie explains that all are off
    ],
)
def test_which_tokens_are_excused(
    apart: list[float],
    undecided: list[bool],
    wanted: float,
    excused: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = Subject(write(tmp_path / "model", "mixtral"), read_rows(None))
    monkeypatch.setattr(sampling, "sampler_is_scorer", lambda *given: (torch.tensor(apart), []))
    monkeypatch.setattr(sampling, "_undecided", lambda *given: torch.tensor(undecided))
    found = sampling.largest(subject)
    assert found.values[""] == pytest.approx(wanted)
    assert found.note == f"{excused} of 3 tokens excused, after near ties of experts"


def test_each_layer_says_how_far_it_looks() -> None:
    for kind, wanted in {"llama": [], "mistral": [WINDOW], "gemma2": [WINDOW], "mixtral": [LONG_WINDOW]}.items():
        assert windows(build(FAMILIES[kind].config)) == wanted
    alone = build(FAMILIES["stablelm"].config)
    alone.layout = Layout.ROWS
    assert windows(alone) == []
