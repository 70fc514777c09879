"""An adapter changes nothing before it is trained, nothing when it is off, and is the merged model when it is on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from burnish.batches import Document, pack
from burnish.errors import ConfigError, ModelError
from burnish.models.forward import Output, Trainable
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, LoraLinear, adapt, adapted, adapter_off, merge, without_adapter

BATCH = pack(
    [
        Document(row="a", ids=[5, 6, 7], branches=[[1, 2], [3, 4, 258]]),
        Document(row="b", ids=[9, 8, 7, 6, 5], weights=[0.0, 1.0, 1.0, 0.0, 1.0]),
    ]
)
HEADS = ("logprobs_N", "values_N", "scores_B")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
Load = Callable[[torch.dtype], Trainable]


@pytest.fixture
def load(tiny: Path) -> Load:
    """The base, the same to the bit each time."""

    def loaded(dtype: torch.dtype) -> Trainable:
        torch.manual_seed(3)
        module = load_trainable(tiny, dtype=dtype, value=True, score=True)
        nn.init.normal_(module.value.weight, std=0.1)
        return module

    return loaded


def trained(module: Trainable, **shape: Any) -> Trainable:
    """The module with an adapter that is no longer zero."""
    adapt(module, LoraConfig(**{"rank": 3, "alpha": 6, **shape}), seed=1)
    torch.manual_seed(4)
    for layer in adapted(module.backbone).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    return module


def said(module: Callable[..., Output]) -> Output:
    with torch.no_grad():
        return module(BATCH)


def equal(one: Output, other: Output, names: tuple[str, ...] = HEADS) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def hand_worked() -> LoraLinear:
    """W = [[1, 2], [3, 4]], b = (0, 7), A = [1, -1], B = [2, 3]', α/r = 2."""
    layer = nn.Linear(2, 2).requires_grad_(False)
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer.bias.data = torch.tensor([0.0, 7.0])
    lora = LoraLinear(layer, LoraConfig(rank=1, alpha=2), torch.Generator())
    lora.lora_A.data = torch.tensor([[1.0, -1.0]])
    lora.lora_B.data = torch.tensor([[2.0], [3.0]])
    return lora


def test_value_and_gradients_by_hand() -> None:
    """x = (1, 2): W x + b = (5, 18), A x = -1, 2 B A x = (-4, -6). With the slope g = (1, 10): B'g = 32, so that
    dA = 2·32·x = (64, 128), dB = 2·(-1)·g = (-2, -20), dx = W'g + 2·32·A' = (31 + 64, 42 - 64)."""
    lora = hand_worked()
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    y = lora(x)
    assert y.tolist() == [[1.0, 12.0]]
    y.backward(torch.tensor([[1.0, 10.0]]))
    assert lora.lora_A.grad.tolist() == [[64.0, 128.0]]
    assert lora.lora_B.grad.tolist() == [[-2.0], [-20.0]]
    assert x.grad.tolist() == [[95.0, -22.0]]
    assert lora.weight.grad is None
    assert lora.bias.grad is None


def test_merged_by_hand() -> None:
    """W + 2 B A = [[1+4, 2-4], [3+6, 4-6]]."""
    merged = hand_worked().merged()
    assert merged.weight.tolist() == [[5.0, -2.0], [9.0, -2.0]]
    assert merged(torch.tensor([[1.0, 2.0]])).tolist() == [[1.0, 12.0]]


def test_merging_rounds_once() -> None:
    """From 256 to 512 the numbers of bf16 are 2 apart, from 1 to 2 they are 2^-7 apart. 256 + (1 + 2^-9) is nearer to
    258; with the sum in brackets rounded first it would be 257, a tie, which goes to 256."""
    layer = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    layer.weight.data.fill_(256.0)
    lora = LoraLinear(layer, LoraConfig(rank=2, alpha=2), torch.Generator())
    lora.lora_A.data = torch.tensor([[1.0], [2**-9]], dtype=torch.bfloat16)
    lora.lora_B.data.fill_(1.0)
    assert lora.merged().weight.item() == 258.0


@DTYPES
def test_a_new_adapter_changes_no_bit(load: Load, dtype: torch.dtype) -> None:
    module = load(dtype)
    before = said(module)
    adapt(module, LoraConfig(rank=3, alpha=6), seed=1)
    assert len(adapted(module.backbone)) == 14, "seven linear layers in each of two"
    assert equal(said(module), before)


@DTYPES
def test_switched_off_it_is_the_base_to_the_bit(load: Load, dtype: torch.dtype) -> None:
    base, module = said(load(dtype)), trained(load(dtype))
    with adapter_off(module.backbone):
        assert equal(said(module), base)
        with adapter_off(module.backbone):
            pass
        assert equal(said(module), base), "what was off before stays off"
        assert not module(BATCH).values_N.requires_grad, "nothing is learned from a switched layer, by no head either"
    on = said(module)
    assert not any(equal(on, base, (name,)) for name in HEADS), "and on again afterwards"


@DTYPES
def test_one_backbone_is_policy_and_reference(load: Load, dtype: torch.dtype) -> None:
    module = trained(load(dtype))
    module.measures_entropy = True
    reference = without_adapter(module)
    assert equal(said(reference), said(load(dtype)), ("logprobs_N",))
    assert reference(BATCH).entropy_N is None, "an entropy costs as much as the LM head, and nobody asked the reference"


def test_off_survives_an_error(load: Load) -> None:
    module = trained(load(torch.float32))
    on = said(module)
    with pytest.raises(ZeroDivisionError), adapter_off(module.backbone):
        raise ZeroDivisionError
    assert equal(said(module), on)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_merged_is_the_adapter(load: Load, dtype: torch.dtype, tolerance: float) -> None:
    """In bf16 one rounding of each weight stands against one of each layer's output: 2^-9 of either, in 14 layers."""
    module = trained(load(dtype))
    before, base = hidden(module), hidden(load(dtype))
    merge(module)
    assert adapted(module.backbone) == {}
    assert distance(hidden(module), before) < tolerance
    assert distance(base, before) > 20 * tolerance, "the adapter does something"


def hidden(module: Trainable) -> Tensor:
    with torch.no_grad():
        return module.hidden(BATCH).float()


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@DTYPES
def test_only_adapter_and_heads_get_gradients(load: Load, dtype: torch.dtype) -> None:
    module = trained(load(dtype))
    output = module(BATCH)
    (output.logprobs_N.sum() + output.values_N.sum() + output.scores_B.sum()).backward()
    moved = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    ours = {name for name, _ in module.named_parameters() if ".lora_" in name or name.startswith(("value", "score"))}
    assert moved == ours
    assert len(ours) == 2 * 14 + 4
    assert all(parameter.grad.abs().max() > 0 for name, parameter in module.named_parameters() if name in ours)


def test_dropout_is_the_adapters_and_only_while_training(load: Load) -> None:
    module = trained(load(torch.float32), dropout=0.5)
    still = said(module)
    assert equal(said(module), still), "new layers are in the mode of those they replace"
    module.train()
    torch.manual_seed(0)
    first = said(module)
    assert not equal(first, still)
    assert not equal(said(module), first)
    torch.manual_seed(0)
    assert equal(said(module), first)


def test_the_seed_decides_the_draw_alone(load: Load) -> None:
    def drawn(seed: int, elsewhere: int) -> Tensor:
        module = load(torch.float32)
        torch.manual_seed(elsewhere)
        adapt(module, LoraConfig(rank=3, alpha=6), seed=seed)
        return torch.cat([layer.lora_A.flatten() for layer in adapted(module.backbone).values()])

    first, again, other = drawn(1, 8), drawn(1, 9), drawn(2, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first[: 3 * 32].abs().max() <= 32**-0.5


def test_targets_by_name(load: Load) -> None:
    module = trained(load(torch.float32), targets=("q_proj", "down_proj"))
    assert sorted({name.rpartition(".")[2] for name in adapted(module.backbone)}) == ["down_proj", "q_proj"]
    assert len(adapted(module.backbone)) == 4


def test_wrong_targets_are_named_with_the_nearest(load: Load) -> None:
    with pytest.raises(ConfigError, match='"q_proj"') as caught:
        adapt(load(torch.float32), LoraConfig(rank=3, alpha=6, targets=("q_prj", "o_proj", "lm_head")), seed=1)
    assert [problem.found for problem in caught.value.problems] == [
        "no linear layer is named 'q_prj'",
        "no linear layer is named 'lm_head'",
    ]


@DTYPES
def test_transposed_layers_are_adapted_as_they_lie(dtype: torch.dtype) -> None:
    """GPT-2's Conv1D: y = x W, with W of inputs by outputs. Switched off and merged it is one again."""
    layer = Conv1D(6, 4).to(dtype).requires_grad_(False)
    lora = LoraLinear(layer, LoraConfig(rank=2, alpha=4), torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert torch.equal(lora(x), layer(x))
    nn.init.ones_(lora.lora_B)
    wanted = layer(x).float() + 2 * (x.float() @ lora.lora_A.float().T).sum(-1, keepdim=True)
    tolerance = 1e-6 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(lora(x).float(), wanted, rtol=0, atol=tolerance)
    merged = lora.merged()
    assert isinstance(merged, Conv1D)
    assert merged.weight.shape == (4, 6)
    assert merged.weight.is_contiguous()
    torch.testing.assert_close(merged(x).float(), wanted, rtol=0, atol=tolerance)
    lora.on = False
    assert torch.equal(lora(x), layer(x))


def test_layers_of_another_kind_are_refused() -> None:
    backbone = nn.Sequential(nn.Embedding(4, 4), nn.Conv1d(4, 4, 1))
    with pytest.raises(ModelError, match="LoRA has nothing to adapt"):
        adapt(Trainable(backbone), LoraConfig(rank=3, alpha=6), seed=1)
