"""Freezing: what may move, and that nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from burnish.batches import Document, pack
from burnish.errors import ConfigError, ModelError
from burnish.models.forward import Trainable
from burnish.models.layers import decoder_layers, train_last
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
