"""A module's parts: which of its decoder layers are trained, what they keep for the backward pass, and a second tree of
parts on the same weights. Knows where transformers keeps layers; knows no method."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from burnish.errors import ConfigError, ModelError, Problem
from burnish.models.forward import Trainable

M = TypeVar("M", bound=nn.Module)


def twin(module: M) -> M:
    """A tree of modules of its own on the same weights and buffers: whatever is put into one tree or taken out of it,
    the other stays as it is."""
    return deepcopy(module, {id(each): each for each in (*module.parameters(), *module.buffers())})


def decoder_layers(module: Trainable) -> nn.ModuleList:
    """The backbone's decoder layers, the first one first.

    Raises: ModelError where no list of modules is as long as the configuration says.
    """
    count = int(getattr(module.backbone.config, "num_hidden_layers", 0))
    for part in module.backbone.modules():
        if isinstance(part, nn.ModuleList) and len(part) == count:
            return part
    raise ModelError(Problem(type(module.backbone).__name__, f"its {count} decoder layers were not found"))


def train_last(module: Trainable, count: int) -> Trainable:
    """Freeze everything but the last `count` decoder layers and the value and score heads. Returns the module.

    Embeddings, LM head and last norm stay as they are. With few samples a policy gradient is mostly noise, and every
    weight that may move carries some of it into the KL; the backward pass ends where training does, so it is cheaper
    too. trlX calls it `num_layers_unfrozen`.

    Raises: ConfigError where the model has fewer layers.
    """
    layers = decoder_layers(module)
    if not 1 <= count <= len(layers):
        raise ConfigError(Problem("unfrozen_layers", f"{count}, but the model has {len(layers)} layers"))
    module.requires_grad_(False)
    for part in (layers[-count:], module.value, module.score):
        if part is not None:
            part.requires_grad_(True)
    return module


def recompute_layers(module: Trainable) -> None:
    """Keep of each decoder layer what it was given, and compute the rest again in the backward pass (Chen et al. 2016,
    arXiv:1604.06174), in place: activations of one layer at a time, for one more forward pass.

    Dropout is drawn again as it was: loss and gradients are the same to the bit. A pass without gradients is as before.

    Raises: ModelError where the layers are not found.
    """
    for part in module.modules():
        if isinstance(part, Trainable):
            for layer in decoder_layers(part):
                layer.forward = MethodType(_recomputed, layer)


def _recomputed(layer: nn.Module, *given: Any, **named: Any) -> Any:
    forward = partial(type(layer).forward, layer)
    if torch.is_grad_enabled():
        return checkpoint(forward, *given, use_reentrant=False, **named)
    return forward(*given, **named)
