"""The optimiser: AdamW on fp32 master weights, clipping, and a learning rate that is a pure function of the step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from burnish.train.parallel import Alone, Ranks

BETAS = (0.9, 0.95)
"""Ouyang et al. 2022."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """How weights move."""

    lr: float
    """Peak learning rate."""
    steps: int
    """Optimiser steps in all; schedules end there."""
    warmup_steps: int = 0
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """After the warm-up: constant, linear to 0, or cosine to a tenth of the peak."""
    betas: tuple[float, float] = BETAS
    eps: float = 1e-8
    weight_decay: float = 0.0
    """What a matrix loses a step beside its gradient: this times the rate, of itself (`decays`)."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global L2 norm."""


def learning_rate(config: OptimConfig, step: int) -> float:
    """The rate of the update number `step` (0 is the first)."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    match config.schedule:
        case "constant":
            return config.lr
        case "linear":
            return config.lr * (1 - share)
        case "cosine":
            return config.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def decays(name: str, weight: Tensor) -> bool:
    """Whether weight decay is for this weight: for what is multiplied, embeddings and an adapter's factors included.
    Not for the scales of norms nor for biases: vectors, but for biases of experts, which lie in one matrix a layer."""
    return weight.ndim > 1 and not name.endswith("bias")


class Optimizer:
    """AdamW over a module. Weights in bfloat16 get fp32 masters; gradients of micro-batches add up in fp32."""

    def __init__(self, module: nn.Module, config: OptimConfig, ranks: Ranks | None = None) -> None:
        self.config = config
        self._ranks = ranks or Alone()
        self._module = module
        self._named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._masters = [p if p.dtype == torch.float32 else p.detach().float() for _, p in self._named]
        groups: dict[float, list[Tensor]] = {}
        for (name, _), master in zip(self._named, self._masters, strict=True):
            groups.setdefault(config.weight_decay if decays(name, master) else 0.0, []).append(master)
        self._adam = torch.optim.AdamW(
            [{"params": masters, "weight_decay": decay} for decay, masters in groups.items()],
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            fused=True,
        )

    @cached_property
    def frozen(self) -> str:
        """SHA-256 of the weights that do not train: a checkpoint is of use beside these alone."""
        hashed = hashlib.sha256()
        for name, parameter in self._module.named_parameters():
            if not parameter.requires_grad:
                hashed.update(name.encode())
                hashed.update(self._ranks.whole(parameter.detach()).cpu().flatten().view(torch.uint8).numpy().data)
        return hashed.hexdigest()

    def accumulate(self) -> None:
        """Take the gradients of one backward pass from the module and add them to the masters'."""
        for (_, parameter), master in zip(self._named, self._masters, strict=True):
            if parameter is master or parameter.grad is None:
                continue
            master.grad = parameter.grad.float() if master.grad is None else master.grad.add_(parameter.grad)
            parameter.grad = None

    def gradient_norm(self) -> float:
        """Add up what all ranks have accumulated. Returns its global L2 norm; not finite if any gradient is not."""
        self._ranks.add_gradients(self._masters)
        gradients = [master.grad for master in self._masters if master.grad is not None]
        return float(self._ranks.whole(nn.utils.get_total_norm(gradients))) if gradients else 0.0

    @torch.no_grad()
    def step(self, step: int, norm: float) -> float:
        """Clip by the norm just measured, update masters and module, forget the gradients. Returns the rate used."""
        rate = learning_rate(self.config, step)
        if norm > self.config.clip_norm:
            for master in self._masters:
                if master.grad is not None:
                    master.grad.mul_(self.config.clip_norm / norm)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        for (_, parameter), master in zip(self._named, self._masters, strict=True):
            if parameter is not master:
                parameter.copy_(master)
        return rate

    @property
    def weights(self) -> dict[str, Tensor]:
        """The fp32 weights that train, by name: no copies."""
        return {name: master.detach() for (name, _), master in zip(self._named, self._masters, strict=True)}

    @torch.no_grad()
    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights that train, in the module too."""
        for (name, parameter), master in zip(self._named, self._masters, strict=True):
            master.copy_(self._ranks.part(weights[name], master))
            parameter.copy_(master)

    def parts(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of whole weights what this rank holds, in tensors of their own."""
        own = self.weights
        return {
            name: self._ranks.part(each.to(own[name].device, copy=True), own[name]) for name, each in weights.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Masters and moments by name, for a checkpoint: of each what this rank holds, no copies. Before the first step
        there are no moments."""
        found: dict[str, Tensor] = {}
        for (name, _), master in zip(self._named, self._masters, strict=True):
            found[f"master.{name}"] = master.detach()
            for key, value in self._adam.state.get(master, {}).items():
                found[f"{key}.{name}"] = value
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put a checkpoint's tensors back, into the module's weights too."""
        self.put({name: tensors[f"master.{name}"] for name in self.weights})
        for (name, _), master in zip(self._named, self._masters, strict=True):
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in tensors]
            if keys:
                moments = {key: tensors[f"{key}.{name}"].to(master.device, copy=True) for key in keys}
                self._adam.state[master] = {key: self._ranks.part(each, master) for key, each in moments.items()}
