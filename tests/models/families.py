"""Small random models of many families, each with what is odd about it turned on, and how burnish should feed it.

Windows are shorter than the documents of the tests, scales are not 1, and initial weights are large, so that whatever
is left out shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    BloomConfig,
    Cohere2Config,
    CohereConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    Glm4MoeConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    Lfm2Config,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
)

from burnish.models.forward import Layout
from burnish.models.tiny import tiny_tokenizer, write_random

WINDOW, LONG_WINDOW = 5, 8
"""Shorter than a path of the probe's forest, and longer."""
VOCABULARY: dict[str, Any] = {
    "vocab_size": tiny_tokenizer().vocab_size,
    "bos_token_id": None,
    "eos_token_id": 258,
    "pad_token_id": None,
}
SMALL: dict[str, Any] = {
    **VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2}
MIXED: dict[str, Any] = {
    **GROUPED,
    "head_dim": 12,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
LATENT: dict[str, Any] = {
    **SMALL,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
EXPERTS: dict[str, Any] = {**GROUPED, "moe_intermediate_size": 16, "num_experts_per_tok": 2, "head_dim": 8}
OLDER: dict[str, Any] = {**VOCABULARY, "initializer_range": 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A configuration and what is asked of it."""

    config: PretrainedConfig
    layout: Layout = Layout.TREE


FAMILIES: dict[str, Family] = {
    "llama": Family(config=LlamaConfig(**GROUPED)),
    "mistral": Family(config=MistralConfig(**GROUPED, sliding_window=WINDOW)),
    "qwen2": Family(config=Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)),
    "qwen3": Family(config=Qwen3Config(**GROUPED, head_dim=12)),
    "gemma2": Family(
        config=Gemma2Config(**MIXED, attn_logit_softcapping=2.0, final_logit_softcapping=3.0, query_pre_attn_scalar=20)
    ),
    "gemma3_text": Family(config=Gemma3TextConfig(**MIXED, query_pre_attn_scalar=20)),
    "phi3": Family(config=Phi3Config(**{**GROUPED, "pad_token_id": 0}, sliding_window=WINDOW)),
    "olmo2": Family(config=Olmo2Config(**{**GROUPED, "pad_token_id": 0})),
    "granite": Family(
        config=GraniteConfig(
            **GROUPED,
            logits_scaling=3.0,
            attention_multiplier=0.3,
            embedding_multiplier=2.0,
            residual_multiplier=0.5,
        )
    ),
    "cohere": Family(config=CohereConfig(**GROUPED, logit_scale=0.25)),
    "cohere2": Family(config=Cohere2Config(**MIXED, logit_scale=0.25)),
    "gpt_oss": Family(
        config=GptOssConfig(**{**MIXED, "intermediate_size": 16}, num_local_experts=4, num_experts_per_tok=2)
    ),
    "deepseek_v2": Family(config=DeepseekV2Config(**LATENT)),
    "deepseek_v3": Family(config=DeepseekV3Config(**LATENT, n_group=2, topk_group=1)),
    "smollm3": Family(config=SmolLM3Config(**{**GROUPED, "pad_token_id": 0}, no_rope_layers=[1, 0])),
    "mixtral": Family(config=MixtralConfig(**GROUPED, num_local_experts=4, sliding_window=LONG_WINDOW)),
    "qwen3_moe": Family(config=Qwen3MoeConfig(**EXPERTS, num_experts=4, mlp_only_layers=[0])),
    "glm4_moe": Family(
        config=Glm4MoeConfig(**EXPERTS, n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=1)
    ),
    "gpt_neox": Family(config=GPTNeoXConfig(**SMALL)),
    "starcoder2": Family(config=Starcoder2Config(**GROUPED, sliding_window=WINDOW)),
    "gpt2": Family(config=GPT2Config(**OLDER, n_embd=32, n_layer=2, n_head=4)),
    "stablelm": Family(config=StableLmConfig(**{**SMALL, "num_key_value_heads": 4}), layout=Layout.ROWS),
    "bloom": Family(config=BloomConfig(**OLDER, hidden_size=32, n_layer=2, n_head=4), layout=Layout.ROWS),
    "llama4": Family(
        config=Llama4TextConfig(
            **{**GROUPED, "pad_token_id": 0},
            intermediate_size_mlp=48,
            head_dim=8,
            num_local_experts=2,
            attention_chunk_size=LONG_WINDOW,
            no_rope_layers=[1, 0],
        ),
        layout=Layout.ROWS,
    ),
    "phi": Family(config=PhiConfig(**GROUPED)),
    "lfm2": Family(
        config=Lfm2Config(**{**GROUPED, "pad_token_id": 0}, layer_types=["conv", "full_attention"]),
        layout=Layout.ROWS,
    ),
    "phi3_long": Family(
        config=Phi3Config(
            **{**GROUPED, "pad_token_id": 0},
            original_max_position_embeddings=16,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [3.0] * 4,
            },
        ),
    ),
}


def write(folder: Path, name: str) -> Path:
    """The family's model in `folder`."""
    return write_random(folder, FAMILIES[name].config)
