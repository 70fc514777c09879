"""Freezing: what may move, and that nothing else does. Layers computed again: how much less is kept, and dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from burnish.batches import Document, pack
from burnish.errors import ConfigError, ModelError
from burnish.models.forward import Trainable
from burnish.models.layers import decoder_layers, recompute_layers, train_last
from burnish.models.lora import LoraConfig, adapt
from burnish.train.objectives import Sft
from burnish.train.optim import OptimConfig, Optimizer

BATCH = pack([Document(row="a", ids=[5, 9, 3, 7], weights=[0, 1, 1, 1])])


def test_only_the_last_layer_and_the_heads_may_move(module: Trainable) -> None:
    train_last(module, 1)
    moving = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert any(name.startswith("backbone.layers.1.") for name in moving)
    assert all(name.startswith(("backbone.layers.1.", "value.", "score.")) for name in moving)
    assert {"value.weight", "value.bias", "score.weight", "score.bias"} <= moving


def test_an_update_leaves_the_frozen_weights_as_they_are_bit_for_bit(module: Trainable) -> None:
    train_last(module, 1)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = Optimizer(module, OptimConfig(lr=0.01, steps=1, weight_decay=0.5))
    Sft().loss(module, BATCH).sums["nll"].backward()
    optimizer.accumulate()
    optimizer.step(0, optimizer.gradient_norm())
    moved = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert all(name.startswith("backbone.layers.1.") for name in moved)


def test_the_gradient_of_what_is_trained_is_that_of_full_training(module: Trainable) -> None:
    Sft().loss(module, BATCH).sums["nll"].backward()
    layer = decoder_layers(module)[1]
    full = [parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None]
    module.zero_grad()
    train_last(module, 1)
    Sft().loss(module, BATCH).sums["nll"].backward()
    found = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
    assert len(found) == len(full) > 0
    assert all(torch.equal(a, b) for a, b in zip(found, full, strict=True))


@pytest.mark.parametrize("count", [0, 3])
def test_more_layers_than_there_are(module: Trainable, count: int) -> None:
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        train_last(module, count)


def test_a_backbone_without_a_list_of_layers_is_refused(module: Trainable) -> None:
    backbone: Any = module.backbone
    backbone.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="7 decoder layers"):
        decoder_layers(module)


def kept(forward: Callable[[], Tensor]) -> int:
    """Numbers that a forward pass keeps for the backward pass, weights among them."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        found[tensor.data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(found.values())


def test_layers_that_are_computed_again_keep_what_they_were_given(module: Trainable) -> None:
    batch = pack([Document(row="a", ids=[5, 9, 3, 7] * 50, weights=[0, 1, 1, 1] * 50)])
    state = batch.tokens * module.backbone.config.hidden_size
    whole = kept(lambda: module.hidden(batch))
    recompute_layers(module)
    assert kept(lambda: module.hidden(batch)) < 4 * state < whole / 5


def test_dropout_is_drawn_again_as_it_was(module: Trainable) -> None:
    adapt(module, LoraConfig(rank=2, alpha=4, dropout=0.5), seed=0)
    for name, weight in module.named_parameters():
        if name.endswith("lora_B"):
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))

    def gradients() -> list[Tensor]:
        module.zero_grad()
        torch.manual_seed(3)
        Sft().loss(module.train(), BATCH).sums["nll"].backward()
        return [weight.grad.clone() for weight in module.parameters() if weight.grad is not None]

    without = gradients()
    recompute_layers(module)
    again = gradients()
    assert len(again) == len(without) > 0
    assert all(torch.equal(a, b) for a, b in zip(again, without, strict=True))


def test_layers_are_computed_once_where_no_gradient_is_asked_for(
    module: Trainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burnish.models.layers.checkpoint", None)
    recompute_layers(module)
    with torch.no_grad():
        assert module(BATCH).logprobs_N is not None
