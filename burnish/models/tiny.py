"""A model that fits in a test: a random Llama of two layers that reads bytes. Made here, fetched from nowhere; saved
and loaded like any other. Knows ChatML.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Vocabulary
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from burnish.chat.tokenizer import CONFIG, TEMPLATE, VOCABULARY, Tokenizer
from burnish.models.attention import NAME, register
from burnish.models.folder import backbone_name
from burnish.models.forward import Trainable
from burnish.models.load import save_trainable
from burnish.records import durable

END = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", END)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny(folder: Path, *, seed: int = 0, dropout: float = 0.0, width: int = 32, layers: int = 2) -> Path:
    """Write the model into `folder`, sealed. The same arguments give the same bytes. `dropout` is that of attention."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.1,
        attention_dropout=dropout,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.end_id,
    )
    return write_random(folder, config, seed=seed)


def write_random(folder: Path, config: PretrainedConfig, *, seed: int = 0, tokenizer: Tokenizer | None = None) -> Path:
    """Write a random model of any configuration that has the vocabulary of `tokenizer`, or of the tiny one, sealed."""
    register()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    module = Trainable(getattr(model, backbone_name(model)), lm=model.get_output_embeddings())
    with durable.folder(folder) as filling:
        save_trainable(module, filling, tokenizer or tiny_tokenizer(), dtype=torch.float32)
    return folder


def tiny_tokenizer() -> Tokenizer:
    """Every byte a token, and ChatML's markers."""
    vocabulary = Vocabulary(models.BPE(vocab=_bytes(), merges=[]))
    vocabulary.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _with_chatml(vocabulary)


def word_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Every word of some texts a token, with the space before it, and ChatML's markers. It knows no other characters,
    so that a model of a small world can say nothing that is not text."""
    vocabulary = Vocabulary(models.BPE())
    vocabulary.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    vocabulary.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=32_000, min_frequency=1, show_progress=False))
    return _with_chatml(vocabulary)


def _with_chatml(vocabulary: Vocabulary) -> Tokenizer:
    vocabulary.decoder = decoders.ByteLevel()
    vocabulary.add_special_tokens(list(SPECIAL))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END}
    files = {VOCABULARY: vocabulary.to_str().encode(), CONFIG: json.dumps(config).encode(), TEMPLATE: CHATML.encode()}
    return Tokenizer(files, "tiny")


def _bytes() -> dict[str, int]:
    return {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
