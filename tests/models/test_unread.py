"""GGUF files say of a model what transformers' reader passes over: held against the model that each was made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    Starcoder2Config,
)

from burnish.batches import Document, pack
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import ModelError
from burnish.models.load import load_trainable
from burnish.models.sources import resolve
from burnish.types import Silent

from .families import EXPERTS, GROUPED, MIXED
from .gguf_files import VOCABULARY, add_settings, begun, finished, scrambled, settings_of, tensors_of

IDS = [5, 6, 7, 3, 4, 258, 9, 1, 2, 8, 40, 41]
SMALL: dict[str, Any] = {**GROUPED, "vocab_size": VOCABULARY, "tie_word_embeddings": False}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONG: dict[str, Any] = {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [3.0, 4.0, 5.0]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))


def model_of(config: Any) -> Any:
    torch.manual_seed(3)
    return scrambled(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))


def unpacked(path: Path) -> Tensor:
    module = load_trainable(resolve(str(path), Path(), Silent()), dtype=torch.float32)
    with torch.no_grad():
        return module(pack([Document(row="a", ids=IDS, weights=[1.0] * len(IDS))])).logprobs_N


def said(model: Any) -> Tensor:
    with torch.no_grad():
        found = model(torch.tensor([IDS])).logits[0].log_softmax(-1)
    return found[torch.arange(len(IDS) - 1), IDS[1:]]


def llama3_factors(head: int) -> dict[str, Any]:
    """By what llama.cpp divides the frequencies: the shortest not at all, the longest by 8."""
    turned = model_of(LlamaConfig(**{**SMALL, "max_position_embeddings": 65536}, head_dim=head, rope_parameters=LLAMA3))
    plain = 10000.0 ** (-torch.arange(0, head, 2) / head)
    return {"rope_freqs.weight": plain / turned.model.rotary_emb.inv_freq}


def yarn(**more: Any) -> dict[str, Any]:
    return {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64, **more}


CASES: dict[str, tuple[str, Any, dict[str, Any], Callable[[], dict[str, Any]]]] = {
    "llama": ("llama", LlamaConfig(**SMALL, rope_parameters={"rope_theta": 300.0}), {}, dict),
    "llama3": (
        "llama",
        LlamaConfig(**{**SMALL, "max_position_embeddings": 65536}, head_dim=64, rope_parameters=LLAMA3),
        {},
        lambda: llama3_factors(64),
    ),
    "llama_linear": (
        "llama",
        LlamaConfig(**SMALL, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}),
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
        dict,
    ),
    "qwen2_yarn": (
        "qwen2",
        Qwen2Config(**SMALL, rope_parameters=yarn()),
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64},
        dict,
    ),
    "qwen3": ("qwen3", Qwen3Config(**SMALL, head_dim=12), {}, dict),
    "qwen3_moe": (
        "qwen3moe",
        Qwen3MoeConfig(**{**SMALL, **EXPERTS, "vocab_size": VOCABULARY}, num_experts=4, norm_topk_prob=True),
        {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 16},
        dict,
    ),
    "starcoder2": (
        "starcoder2",
        Starcoder2Config(
            **{**SMALL, "tie_word_embeddings": True}, sliding_window=None, rope_parameters={"rope_theta": 99.0}
        ),
        {},
        dict,
    ),
    "gemma2": (
        "gemma2",
        Gemma2Config(
            **{**MIXED, "vocab_size": VOCABULARY, "layer_types": None},
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            query_pre_attn_scalar=12,
        ),
        {"attention.sliding_window": 5, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        dict,
    ),
    "gemma3": (
        "gemma3",
        Gemma3TextConfig(
            **{**MIXED, "vocab_size": VOCABULARY, "num_hidden_layers": 6, "layer_types": None},
            query_pre_attn_scalar=12,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        ),
        {"attention.sliding_window": 5, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
        dict,
    ),
    "phi3_long": (
        "phi3",
        Phi3Config(
            **{**SMALL, "pad_token_id": 0},
            original_max_position_embeddings=64,
            sliding_window=6,
            rope_parameters={**LONG, "rope_theta": 10000.0, "partial_rotary_factor": 0.75},
        ),
        {"attention.sliding_window": 6, "rope.scaling.original_context_length": 64, "rope.dimension_count": 6},
        lambda: {"rope_factors_long.weight": LONG["long_factor"], "rope_factors_short.weight": LONG["short_factor"]},
    ),
}


def write(path: Path, name: str, keys: dict[str, Any] | None = None, **more: Any) -> Any:
    architecture, config, own, tensors = CASES[name]
    model = model_of(config)
    out = begun(path, architecture, keys={**settings_of(config), **own, **(keys or {})}, **more)
    finished(out, {**tensors_of(model, architecture), **tensors()})
    return model


@pytest.mark.parametrize("name", CASES)
def test_a_file_says_what_the_model_it_was_made_of_says(name: str, tmp_path: Path) -> None:
    model = write(tmp_path / "m.gguf", name)
    torch.testing.assert_close(unpacked(tmp_path / "m.gguf"), said(model), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"expert_count": 8}, "expert_count: 8, and what that does to llama is not known"),
        ({"rope.scaling.type": "longrope"}, "its positions are scaled as longrope"),
        ({"rope.dimension_count": 4}, "50% of each head are turned"),
        ({"attention.value_length": 16}, "keys of 8 and values of 16"),
        ({"attention.causal": False}, "attention.causal: False"),
    ],
)
def test_a_setting_that_is_not_known_is_refused(keys: dict[str, Any], says: str, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "llama", keys)
    with pytest.raises(ModelError, match=says):
        resolve("m.gguf", tmp_path, Silent())


@pytest.mark.parametrize(
    ("lost", "added", "says"),
    [
        ("blk.1.ffn_up.weight", {}, "model.layers.1.mlp.up_proj.weight: missing"),
        ("", {"blk.0.attn_q.bias": torch.zeros(32)}, "blk.0.attn_q.bias: no tensor of llama"),
        ("", {"rope_freqs.weight": [1.0, 2.0, 3.0, 4.0]}, "not Llama 3's"),
    ],
)
def test_a_tensor_too_few_or_too_many_is_refused(lost: str, added: dict[str, Any], says: str, tmp_path: Path) -> None:
    _, config, _, _ = CASES["llama"]
    tensors = {**tensors_of(model_of(config), "llama"), **added}
    tensors.pop(lost, None)
    finished(begun(tmp_path / "m.gguf", "llama", keys=settings_of(config)), tensors)
    with pytest.raises(ModelError, match=says):
        resolve("m.gguf", tmp_path, Silent())


def test_one_of_several_files_is_no_model(tmp_path: Path) -> None:
    _, config, _, _ = CASES["llama"]
    out = begun(tmp_path / "m-00001-of-00003.gguf", "llama", keys=settings_of(config))
    out.add_uint32("split.count", 3)
    finished(out, tensors_of(model_of(config), "llama"))
    with pytest.raises(ModelError, match=r"one of 3 files .*llama-gguf-split --merge"):
        resolve("m-00001-of-00003.gguf", tmp_path, Silent())


@pytest.mark.parametrize("pre", ["deepseek-llm", None])
def test_words_that_nobody_knows_are_refused(pre: str | None, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", "llama", pre=pre)
    with pytest.raises(ModelError, match=f"splits text into words as {pre!r} does"):
        resolve("m.gguf", tmp_path, Silent())


def test_llama_3s_words_are_taken_whole(tmp_path: Path) -> None:
    """Whatever the merges come to, and three digits at a time."""
    write(tmp_path / "m.gguf", "llama", pre="llama-bpe")
    folder = resolve("m.gguf", tmp_path, Silent())
    assert '"ignore_merges": true' in (folder / "tokenizer.json").read_text()
    assert Tokenizer.load(folder).encode("ab") == [259]


@pytest.mark.parametrize(("prefix", "token"), [(True, "▁a"), (False, "a")])
def test_a_space_stands_before_a_text_where_the_file_says_so(prefix: bool, token: str, tmp_path: Path) -> None:
    """SentencePiece's old habit, which not all of its tokenizers have."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
    config = LlamaConfig(**{**SMALL, "vocab_size": len(tokens)})
    out = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    add_settings(out, "llama", settings_of(config))
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([float(-place) for place in range(len(tokens))])
    out.add_token_types([2, 3, 3, *[6] * 256, 1, 1, 1])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_add_space_prefix(prefix)
    ask = "{% if add_generation_prompt %}assistant:{% endif %}"
    out.add_chat_template("{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}</s>{% endfor %}" + ask)
    finished(out, tensors_of(model_of(config), "llama"))
    tokenizer = Tokenizer.load(resolve("m.gguf", tmp_path, Silent()))
    assert tokenizer.encode("a") == [tokens.index(token)]
    assert tokenizer.decode(tokenizer.encode("a")) == "a"
