"""Low-rank adapters (Hu et al. 2021): small matrices that are trained beside frozen weights. Knows linear layers and a
trainable's parts; knows no files and no method.

An adapted layer computes y = W x + (α/r) B A x. B begins at zero, so that an adapter that was never trained changes
nothing, to the bit; switched off, the layer is the one it was made of. One backbone is policy and reference in one.

Suffixes: R rows (tokens of all sequences), I inputs and O outputs of a layer, K rank.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from burnish.batches import Batch
from burnish.errors import ConfigError, ModelError, Problem, nearest
from burnish.models.forward import Output, Trainable

_log = logging.getLogger(__name__)
Targets = Literal["all-linear"] | Sequence[str]
LINEAR = (nn.Linear, Conv1D)
"""Kinds of linear layers: torch's, and GPT-2's, whose weights lie transposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """The shape of an adapter."""

    rank: int
    alpha: int
    """What an adapter adds is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of an adapter's inputs that is dropped while it trains."""
    targets: Targets = "all-linear"
    """Which layers: every linear layer of the backbone, which leaves out the LM head, or those of these last names.

    Experts are no linear layers: transformers keeps all of a layer's in one tensor. A warning says what is left out.
    """


class LoraLinear(nn.Linear):
    """A linear layer whose own weights are frozen, with an adapter (Hu et al. 2021, eq. 3). Those of what was a Conv1D
    lie transposed, [I, O]; A and B do not."""

    def __init__(self, layer: nn.Linear | Conv1D, config: LoraConfig, generator: torch.Generator) -> None:
        """Shares the tensors of `layer`. A is drawn as torch draws a linear layer's weights, B is zero."""
        self.transposed = isinstance(layer, Conv1D)
        outputs, inputs = self._turned(layer.weight).shape
        super().__init__(inputs, outputs, bias=False, device="meta")
        self.weight = layer.weight
        self.bias = layer.bias
        self.config = config
        self.on = True
        bound = inputs**-0.5
        a_KI = torch.empty(config.rank, inputs).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(a_KI.to(layer.weight))
        self.lora_B = nn.Parameter(layer.weight.new_zeros(outputs, config.rank))
        self.train(layer.training)

    @property
    def scale(self) -> float:
        return self.config.alpha / self.config.rank

    def _turned(self, weight: Tensor) -> Tensor:
        """From how W lies to [O, I], or back."""
        return weight.T if self.transposed else weight

    def forward(self, input: Tensor) -> Tensor:
        weight_OI = self._turned(self.weight)
        if not self.on:
            return F.linear(input, weight_OI, self.bias)
        rows_RI = input.flatten(0, -2)
        own_RO = F.linear(rows_RI, weight_OI, self.bias)
        seen_RI = F.dropout(rows_RI, self.config.dropout, self.training)
        inner_RK = F.linear(seen_RI, self.lora_A) * self.scale
        # In place: what is added is as large as the layer's output, and needs no memory of its own.
        return own_RO.addmm_(inner_RK, self.lora_B.T).unflatten(0, input.shape[:-1])

    @torch.no_grad()
    def merged(self) -> nn.Linear | Conv1D:
        """The plain layer W + (α/r) B A, added up in fp32 and rounded once to W's type."""
        inputs, outputs = self.in_features, self.out_features
        with torch.device("meta"):
            layer = Conv1D(outputs, inputs) if self.transposed else nn.Linear(inputs, outputs, bias=False)
        added_OI = self.scale * (self.lora_B.float() @ self.lora_A.float())
        weight = (self.weight.float() + self._turned(added_OI)).to(self.weight)
        layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        layer.bias = self.bias
        return layer.train(self.training)


def adapt(module: Trainable, config: LoraConfig, *, seed: int) -> None:
    """Put a new adapter on the backbone, in place. Backbone and LM head are frozen; value and score heads still train.

    Raises ModelError where the backbone has no linear layers, ConfigError for targets that it does not have.
    """
    names = _chosen(module.backbone, config.targets)
    generator = torch.Generator().manual_seed(seed)
    module.backbone.requires_grad_(False)
    if module.lm is not None:
        module.lm.requires_grad_(False)
    for name in names:
        layer = module.backbone.get_submodule(name)
        assert isinstance(layer, LINEAR)
        module.backbone.set_submodule(name, LoraLinear(layer, config, generator))


def adaptable(backbone: nn.Module) -> list[str]:
    """Names of the linear layers. What only resembles one (experts, a convolution over several tokens) is none."""
    return [name for name, part in backbone.named_modules() if type(part) in LINEAR]


def adapted(backbone: nn.Module) -> dict[str, LoraLinear]:
    """The adapted layers by name; none where there is no adapter."""
    return {name: part for name, part in backbone.named_modules() if isinstance(part, LoraLinear)}


def first_factors(module: nn.Module) -> frozenset[str]:
    """Names of the parameters A: in B A they are multiplied by what begins at zero, and move nothing by themselves."""
    return frozenset(name for name, _ in module.named_parameters() if name.endswith(".lora_A"))


def merge(module: Trainable) -> None:
    """Make the adapter part of the weights, in place: what is left is an ordinary model, which trains no further."""
    for name, layer in adapted(module.backbone).items():
        module.backbone.set_submodule(name, layer.merged())


def merged_state(backbone: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the model that `merge` would leave, with their names, each made when it is asked for; the module
    stays as it is."""
    layers = adapted(backbone)
    for name, tensor in backbone.state_dict().items():
        layer, _, own = name.rpartition(".")
        if layer not in layers or own == "bias":
            yield name, tensor
        elif own == "weight":
            yield name, layers[layer].merged().weight


@contextmanager
def adapter_off(backbone: nn.Module) -> Generator[None]:
    """The frozen weights alone inside, to the bit.

    Without gradients: a layer that is switched between a forward pass and its backward would learn from numbers that it
    did not compute, in silence.
    """
    layers = [layer for layer in adapted(backbone).values() if layer.on]
    for layer in layers:
        layer.on = False
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.on = True


def without_adapter(module: Trainable) -> Callable[[Batch], Output]:
    """What the module's LM head said before there was an adapter: a reference that costs no memory."""
    frozen = Trainable(module.backbone, lm=module.lm, layout=module.layout)
    frozen.target_logprobs = module.target_logprobs

    def output(batch: Batch) -> Output:
        with adapter_off(module.backbone):
            return frozen(batch)

    return output


def _chosen(backbone: nn.Module, targets: Targets) -> list[str]:
    """Names of the layers to adapt."""
    linear = {name: name.rpartition(".")[2] for name in adaptable(backbone)}
    if not linear:
        found = "no linear layers: LoRA has nothing to adapt"
        raise ModelError(Problem(type(backbone).__name__, found, "Remove lora: all weights are trained then."))
    if targets == "all-linear":
        _tell_left_out(backbone)
        return list(linear)
    known = sorted(set(linear.values()))
    missing = [target for target in targets if target not in known]
    if missing:
        raise ConfigError(
            *(Problem("lora.targets", f"no linear layer is named {name!r}", nearest(name, known)) for name in missing)
        )
    return [name for name, last in linear.items() if last in targets]


def _tell_left_out(backbone: nn.Module) -> None:
    """Warn of matrices that are neither linear layers nor embeddings."""
    others = [each for each in backbone.modules() if type(each) not in LINEAR and not isinstance(each, nn.Embedding)]
    left = {type(part).__name__: part for part in others if any(p.ndim > 1 for p in part.parameters(recurse=False))}
    if left:
        count = sum(p.numel() for part in others for p in part.parameters(recurse=False) if p.ndim > 1)
        share = count / sum(p.numel() for p in backbone.parameters())
        what = f"{share:.0%} of the weights ({', '.join(sorted(left))}) stand in no linear layer"
        _log.warning("%s: %s: the adapter leaves them as they are", type(backbone).__name__, what)
