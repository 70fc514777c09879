"""What a GGUF file says of its model and transformers leaves unread: scaled positions, windows, caps, sizes of heads.
Knows llama.cpp's names and formulas; loads no model.

transformers takes what it knows of a file and passes over the rest without a word. What it passes over may change every
answer: how Llama 3.1 turns positions stands in a tensor there. So every setting and every tensor is taken up, is known
to say nothing, or is refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from transformers import PretrainedConfig, PreTrainedModel
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.integrations.gguf.gguf_config_mapping import GGUF_CONFIG_ARCHS
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from burnish.errors import ModelError, Problem
from burnish.models.gguf import Header

_ARCHITECTURE = "general.architecture"
_FACTORS, _LONG, _SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
_SILENT = ("vocab_size", "feed_forward_length", "rope.scaling.finetuned", "tensor_data_layout", "use_parallel_residual")
"""Settings that the tensors' shapes say as well, or that no program computes with."""
_NEUTRAL = {"expert_count": 0, "expert_used_count": 0, "attention.causal": True}
"""Settings that ask for nothing where they have this value."""
_SAME = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
"""Settings that transformers' configuration has under another name."""
_WINDOWED = ("phi3", "starcoder2", "mistral", "gpt_oss")
"""Kinds of model whose layers have the window that the file names, and not every second or sixth of them."""
_BY_WIDTH = {"gemma2": 46, "gemma3_text": 62}
"""Layers of the one size that scales queries by its width over its heads, and not by the width of a head: no key says
it, and llama.cpp goes by the layers as well."""
_BEFORE_SCALING = "original_max_position_embeddings"
_LOW, _HIGH, _BEFORE = 1.0, 4.0, 8192
"""Llama 3.1's rotation: what all published models have."""


def completed(config: PretrainedConfig, header: Header, path: Path) -> PretrainedConfig:
    """transformers' configuration of a file, with what else the file says. Raises ModelError for what is not known."""
    if header.keys[_ARCHITECTURE] in GGUF_CONFIG_ARCHS:  # these it reads whole
        return config
    said = _Said(config, header, path)
    changes = said.sizes()
    if (rotation := said.rotation()) is not None:
        changes["rope_parameters"] = rotation
        if _BEFORE_SCALING in rotation and _has(config, _BEFORE_SCALING):  # Phi-3's own comes first
            changes[_BEFORE_SCALING] = rotation[_BEFORE_SCALING]
    said.require_all_known()
    return type(config).from_dict({**config.to_dict(), **changes})


def require_whole(model: PreTrainedModel, missing: Collection[str], extra: Collection[str], header: Header) -> None:
    """Raises ModelError where tensors of the model are not in the file, or tensors of the file are not in the model:
    transformers draws the first at random and leaves out the others."""
    architecture = header.keys[_ARCHITECTURE]
    if architecture not in GGUF_CONFIG_ARCHS:
        processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config={})
        placed: Mapping[str, str] = get_gguf_hf_weights_map(model, processor)
        taken = {*placed, *(f"{name}.weight" for name in placed), _FACTORS, _LONG, _SHORT}  # experts have no suffix
        extra = header.tensors.keys() - taken
    problems = [Problem(name, f"missing: {architecture} has it") for name in sorted(missing)]
    problems += [Problem(name, f"no tensor of {architecture} as transformers has it") for name in sorted(extra)]
    if problems:
        raise ModelError(*problems)


class _Said:
    """The settings of a file's architecture, by their names without it; what was taken up is left out."""

    def __init__(self, config: Any, header: Header, path: Path) -> None:
        start = f"{header.keys[_ARCHITECTURE]}."
        self._left = {name.removeprefix(start): value for name, value in header.keys.items() if name.startswith(start)}
        self._config, self._tensors, self._path = config, header.tensors, path
        self._head = self._size_of_head()

    def sizes(self) -> dict[str, Any]:
        """Settings of the configuration that have nothing to do with positions."""
        config = self._config
        changes = {
            ours: self._left.pop(name) for name, ours in _SAME.items() if name in self._left and _has(config, ours)
        }
        if self._head != (getattr(config, "head_dim", None) or _even(config)):
            changes["head_dim"] = self._head
        if config.model_type in _WINDOWED and (window := self._left.pop("attention.sliding_window", None)) is not None:
            changes["sliding_window"] = window or None
        if _has(config, "query_pre_attn_scalar"):
            by_width = config.num_hidden_layers == _BY_WIDTH.get(config.model_type)
            changes["query_pre_attn_scalar"] = _even(config) if by_width else self._head
        return changes

    def rotation(self) -> dict[str, Any] | None:
        """How positions are turned; None where the architecture turns none. Of kinds of layers, the scaling is that of
        those that look all the way back."""
        stated: dict[str, Any] | None = getattr(self._config, "rope_parameters", None)
        if not stated:
            return None
        if "full_attention" in stated:
            local = dict(stated["sliding_attention"])
            local["rope_theta"] = self._left.pop("rope.freq_base_swa", local["rope_theta"])
            return {"full_attention": self._turned(stated["full_attention"]), "sliding_attention": local}
        return self._turned(stated)

    def require_all_known(self) -> None:
        """Raises ModelError for every setting that nothing has taken up."""
        kind = self._config.model_type
        read = GGUF_CONFIG_MAPPING.get(kind.removesuffix("_text"), {})
        known = {name for name, ours in read.items() if ours is not None} | set(_SILENT)
        problems = [
            Problem(f"{self._path}: {name}", f"{value!r}, and what that does to {kind} is not known here")
            for name, value in self._left.items()
            if name not in known and _NEUTRAL.get(name) != value
        ]
        if problems:
            raise ModelError(*problems)

    def _turned(self, stated: dict[str, Any]) -> dict[str, Any]:
        turned = dict(stated)
        turned["rope_theta"] = self._left.pop("rope.freq_base", stated["rope_theta"])
        share = self._left.pop("rope.dimension_count", self._head) / self._head
        if share != 1 or "partial_rotary_factor" in stated:
            if "partial_rotary_factor" not in stated:
                raise self._unknown(f"{share:.0%} of each head are turned by positions")
            turned["partial_rotary_factor"] = share
        return turned | self._scaling(turned["rope_theta"])

    def _scaling(self, theta: float) -> dict[str, Any]:
        left = self._left
        factor = left.pop("rope.scaling.factor", None) or left.pop("rope.scale_linear", None)
        kind = left.pop("rope.scaling.type", None) or ("linear" if factor else "none")
        before = left.pop("rope.scaling.original_context_length", None)
        attention = left.pop("rope.scaling.attn_factor", 1)
        if _LONG in self._tensors and _SHORT in self._tensors:
            factors = {"long_factor": self._values(_LONG), "short_factor": self._values(_SHORT)}
            said = {_BEFORE_SCALING: before, "attention_factor": None if attention == 1 else attention}
            return {"rope_type": "longrope", **factors, **{name: value for name, value in said.items() if value}}
        if _FACTORS in self._tensors and max(factors := self._values(_FACTORS)) != 1:
            return self._llama3(factors, theta)
        match kind:
            case "none":
                return {}
            case "linear" if factor:
                return {"rope_type": "linear", "factor": factor} if factor != 1 else {}
            case "yarn" if factor and before:
                return {"rope_type": "yarn", "factor": factor, _BEFORE_SCALING: before}
            case _:
                raise self._unknown(f"its positions are scaled as {kind}")

    def _llama3(self, factors: Sequence[float], theta: float) -> dict[str, Any]:
        """The settings that give the factors by which frequencies are divided. Raises ModelError where none do."""
        factor, count = max(factors), len(factors)
        if not np.allclose(factors, [_divided(theta ** (-k / count), factor) for k in range(count)], rtol=1e-4):
            raise self._unknown(f"the factors of its positions ({_FACTORS}) are not Llama 3's")
        ends = {"low_freq_factor": _LOW, "high_freq_factor": _HIGH, _BEFORE_SCALING: _BEFORE}
        return {"rope_type": "llama3", "factor": factor, **ends}

    def _size_of_head(self) -> int:
        own = getattr(self._config, "head_dim", None) if self._config.model_type in ("llama", "mistral") else None
        size = self._left.pop("attention.key_length", None) or own or _even(self._config)
        if (value := self._left.pop("attention.value_length", size)) != size:
            raise self._unknown(f"keys of {size} and values of {value} numbers a head")
        return size

    def _values(self, name: str) -> list[float]:
        """A tensor that is stored as plain numbers."""
        found = next(tensor for tensor in GGUFReader(self._path).tensors if tensor.name == name)
        return [float(value) for value in found.data.reshape(-1)]

    def _unknown(self, found: str) -> ModelError:
        return ModelError(Problem(str(self._path), found, "Use the model's safetensors version."))


def _divided(frequency: float, factor: float) -> float:
    """By what llama.cpp divides a frequency of a model with Llama 3.1's rotation."""
    length = 2 * math.pi / frequency
    if length < _BEFORE / _HIGH:
        return 1.0
    if length > _BEFORE / _LOW:
        return factor
    smooth = (_BEFORE / length - _LOW) / (_HIGH - _LOW)
    return 1 / ((1 - smooth) / factor + smooth)


def _even(config: Any) -> int:
    """The size of a head where nothing says it."""
    return config.hidden_size // config.num_attention_heads


def _has(config: PretrainedConfig, name: str) -> bool:
    return name in config.to_dict()
