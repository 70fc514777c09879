"""GGUF files as llama.cpp's converter writes them: of the byte tokenizer, and of a model of transformers'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from burnish.models.tiny import CHATML, tiny_tokenizer

VOCABULARY = 260
"""The byte tokenizer's tokens, and one that is two bytes."""


def begun(path: Path, architecture: str, *, pre: str | None = "gpt-2", keys: Mapping[str, Any] = {}) -> gguf.GGUFWriter:
    """A file with a tokenizer, and settings of the architecture: numbers and texts, by their names without it."""
    vocabulary = tiny_tokenizer()
    tokens = [vocabulary._markup.id_to_token(id) for id in range(vocabulary.vocab_size)] + ["ab"]
    out = gguf.GGUFWriter(path, architecture)
    add_settings(out, architecture, keys)
    out.add_tokenizer_model("gpt2")
    if pre is not None:
        out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types([1] * 256 + [3] * 3 + [1])
    out.add_token_merges(["a b"])
    out.add_bos_token_id(257)
    out.add_eos_token_id(258)
    out.add_pad_token_id(256)
    out.add_chat_template(CHATML)
    return out


def add_settings(out: gguf.GGUFWriter, architecture: str, keys: Mapping[str, Any]) -> None:
    for name, value in keys.items():
        add = {bool: out.add_bool, int: out.add_uint32, float: out.add_float32, str: out.add_string}[type(value)]
        add(f"{architecture}.{name}", value)


def finished(out: gguf.GGUFWriter, tensors: Mapping[str, Any]) -> None:
    for name, values in tensors.items():
        out.add_tensor(name, np.asarray(values, dtype=np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def tensors_of(model: Any, architecture: str) -> dict[str, Tensor]:
    """A model's tensors as the converter names, turns and shifts them."""
    named = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), model.config.num_hidden_layers)
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if ".experts." in name:
            layer, which = name.split(".")[2], name.rpartition(".")[2]
            parts = (
                {"down": tensor} if which == "down_proj" else dict(zip(("gate", "up"), tensor.chunk(2, 1), strict=True))
            )
            found |= {f"blk.{layer}.ffn_{part}_exps.weight": each.detach() for part, each in parts.items()}
            continue
        stem, _, kind = name.rpartition(".")
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = model.config.num_attention_heads if "q_proj" in stem else model.config.num_key_value_heads
            tensor = tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
        if architecture.startswith("gemma") and stem.endswith("norm"):
            tensor = tensor + 1
        place = named.get_name(stem)
        assert place is not None, name
        found[f"{place}.{kind}"] = tensor.detach()
    return found


def settings_of(config: Any) -> dict[str, Any]:
    """What the converter says of nearly every architecture."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    norm = "layer_norm_epsilon" if config.model_type == "starcoder2" else "layer_norm_rms_epsilon"
    rope = config.rope_parameters
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        f"attention.{norm}": float(getattr(config, "rms_norm_eps", None) or config.norm_epsilon),
        "rope.freq_base": float(rope.get("full_attention", rope)["rope_theta"]),
        "rope.dimension_count": head,
    }


def scrambled(model: Any) -> Any:
    """The model with norms and biases that are not what they begin as."""
    torch.manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(0.2 * torch.randn_like(weight))
    return model.eval()
