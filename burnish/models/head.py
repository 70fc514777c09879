"""The LM head, and what some architectures do to its logits before anybody reads them. Knows their configurations.

Cohere and Granite scale logits, Gemma squeezes them. transformers does so outside of the head, and burnish calls the
head alone; so what is done becomes a part of the head. `check` compares the two on the model itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from burnish.batches import Document, pack
from burnish.errors import ModelError, Problem
from burnish.models.forward import Trainable
from burnish.models.probe import one_at_a_time

_CAPS = ("final_logit_softcapping", "logits_soft_cap")
_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling",)
"""Names in configurations: of a cap, of what logits are multiplied with, of what they are divided by."""
_TOLERANCE = 1e-2
"""Largest difference of logits, as a share of the largest: rounding in bfloat16. A forgotten scale gives its size."""


class LmHead(nn.Linear):
    """A linear map to logits, times `scale`, with `softcap` c to c tanh(logit / c) (Gemma Team 2024)."""

    def __init__(self, layer: nn.Linear, *, scale: float, softcap: float | None) -> None:
        """Shares the tensors of `layer`."""
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = layer.weight
        self.bias = layer.bias
        self.scale = scale
        self.softcap = softcap

    def forward(self, input: Tensor) -> Tensor:
        logits = super().forward(input)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * (logits / self.softcap).tanh()


def lm_head(model: PreTrainedModel) -> nn.Linear:
    """The model's own head where its logits are read as they are, else one that does what the architecture does."""
    head: Any = model.get_output_embeddings()
    config = model.config.get_text_config()
    scale = 1.0
    for factor in _stated(config, _FACTORS):
        scale *= factor
    for divisor in _stated(config, _DIVISORS):
        scale /= divisor
    softcap = next(iter(_stated(config, _CAPS)), None)
    return head if scale == 1.0 and softcap is None else LmHead(head, scale=scale, softcap=softcap)


@torch.no_grad()
def check(model: PreTrainedModel, module: Trainable) -> None:
    """Compare the module's logits with the architecture's own on one short sequence. Raises ModelError."""
    assert module.lm is not None
    ids = [1, 2, 3, 4]
    with one_at_a_time(module):
        wanted: Any = model.eval()(input_ids=torch.tensor([ids], device=module.device), use_cache=False)
        ours_TV = module.lm(module.hidden(pack([Document(row="", ids=ids)]))).float()
    wanted_TV = wanted.logits[0].float()
    difference = float((ours_TV - wanted_TV).abs().max() / wanted_TV.abs().max())
    if not difference <= _TOLERANCE:
        found = f"its logits are not those of its LM head: the two differ by {difference:.2g}"
        raise ModelError(Problem(type(model).__name__, found))


def _stated(config: PretrainedConfig, names: tuple[str, ...]) -> list[float]:
    found = (getattr(config, name, None) for name in names)
    return [float(value) for value in found if value is not None]
