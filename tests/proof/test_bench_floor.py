"""The floor of `burnish bench`: operations of given documents, by hand, and what is read from a module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.batches import Document
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt
from burnish.models.tiny import tiny_tokenizer, write_tiny
from burnish.proof.bench.floor import (
    Machine,
    Sizes,
    decoding,
    forward_operations,
    measure,
    prefill_operations,
    sizes_of,
    training_operations,
)

GIGA = 1e9
LAYER = ((576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536))
SMOLLM2 = Sizes(
    layers=LAYER * 30,
    head=(49_152, 576),
    attention=4 * 30 * 9 * 64,
    adapter=0,
    kept=2 * 30 * 3 * 64,
    trained=134_515_008,
)
"""SmolLM2-135M: 30 layers of width 576 with 9 heads of 64, 3 of them for keys and values."""
SCORED = Sizes(layers=LAYER * 30, head=(0, 0), attention=4 * 30 * 9 * 64, adapter=0, kept=0, trained=0)


def tree(answers: int) -> Document:
    """A prompt of 128 tokens and answers of 128."""
    return Document(row="", ids=[0] * 128, branches=[[0] * 128] * answers)


def test_the_weights_of_smollm2_are_counted() -> None:
    assert SMOLLM2.body == 106_168_320
    assert SMOLLM2.head[0] * SMOLLM2.head[1] == 28_311_552
    assert SMOLLM2.attention == 69_120


def test_a_token_of_fine_tuning_costs_860_million_operations() -> None:
    """512 tokens, of which the first is never predicted: 212.3 for the body, 56.6 · 511/512 for the head, and
    69,120 · 513/2 = 17.7 for attention, a forward pass."""
    conversation = Document(row="", ids=[0] * 512, weights=[1.0] * 512)
    body, head, attention = 2 * 106_168_320 * 512, 2 * 28_311_552 * 511, 69_120 * 512 * 513 // 2
    assert forward_operations(SMOLLM2, [conversation]) == body + head + attention
    assert training_operations(SMOLLM2, [conversation], 3) / 512 == pytest.approx(860e6, rel=1e-3)


def test_what_is_not_learned_costs_no_head() -> None:
    half = Document(row="", ids=[0] * 512, weights=[0.0] * 256 + [1.0] * 256)
    whole = Document(row="", ids=[0] * 512, weights=[1.0] * 512)
    saved = forward_operations(SMOLLM2, [whole]) - forward_operations(SMOLLM2, [half])
    assert saved == 2 * 28_311_552 * 255


@pytest.mark.parametrize(
    ("sizes", "answers", "passes", "expected"),
    [(SMOLLM2, 2, 4, 400), (SMOLLM2, 2, 3, 300), (SCORED, 2, 3, 257), (SCORED, 4, 3, 430)],
    ids=["DPO, one epoch", "DPO, many epochs", "reward pair", "reward K=4"],
)
def test_preferences_at_128_and_128(sizes: Sizes, answers: int, passes: int, expected: float) -> None:
    """Attention joins 8,256 pairs in the prompt, and 128 · 128 + 8,256 for each answer."""
    tokens, pairs = 128 * (1 + answers), 8_256 + answers * 24_640
    learned = 128 * answers if sizes.head[0] else 0
    by_hand = passes * (2 * 106_168_320 * tokens + 2 * 28_311_552 * learned + 69_120 * pairs)
    assert training_operations(sizes, [tree(answers)], passes) == by_hand
    assert by_hand / GIGA == pytest.approx(expected, rel=2e-3)


def test_a_prompt_that_is_answered_costs_no_head() -> None:
    assert prefill_operations(SMOLLM2, 128) == 2 * 106_168_320 * 128 + 69_120 * 8_256


def test_a_decoding_step_reads_weights_and_a_prompt_once_for_all_its_answers() -> None:
    """Prompts of 3 and 5 tokens, with answers of 1, 2 and of 2 tokens: three first tokens, of which the prompts' last
    hidden states are there already, then a token each of two answers, which see 3 + 1 and 5 + 1."""
    sizes = Sizes(layers=((4, 3),), head=(5, 4), attention=7, adapter=0, kept=11, trained=0)
    first, second = decoding(sizes, [(3, [1, 2]), (5, [2])], width=2)
    assert first == (2 * 20 * 3, 2 * 20)
    assert second == (2 * (20 + 12) * 2 + 7 * (4 + 6), 2 * (20 + 12 + 11 * (3 + 1 + 5 + 1)))
    assert decoding(sizes, [], width=2) == []


def test_adapters_cost_three_passes_of_their_own() -> None:
    sizes = Sizes(layers=((4, 3),), head=(5, 4), attention=7, adapter=11, kept=0, trained=11)
    document = Document(row="", ids=[0, 0, 0], weights=[0.0, 1.0, 0.0])
    forward = 2 * 12 * 3 + 2 * 20 * 1 + 7 * (1 + 2 + 3)
    assert forward_operations(sizes, [document]) == forward
    assert training_operations(sizes, [document], 2) == 2 * forward + 3 * 2 * 11 * 3


def test_the_floor_adds_arithmetic_and_the_optimisers_bytes() -> None:
    """100 operations at 10 a second, and 28 · 5 bytes at 14 a second."""
    assert Machine(operations=10, bandwidth=14).seconds(100, 5) == pytest.approx(10 + 10)


def test_sizes_are_read_from_the_module(tmp_path: Path) -> None:
    """Width 32, two layers, 4 heads of 8 (2 for keys and values), 64 wide inside. Norms are trained, and no product."""
    folder = write_tiny(tmp_path / "tiny")
    layer = ((32, 32), (16, 32), (16, 32), (32, 32), (64, 32), (64, 32), (32, 64))
    vocabulary = tiny_tokenizer().vocab_size
    module = load_trainable(folder, dtype=torch.float32)
    found = sizes_of(module)
    assert sorted(found.layers) == sorted(layer * 2)
    assert found.head == (vocabulary, 32)
    assert found.attention == 4 * 2 * 4 * 8
    assert found.kept == 2 * 2 * 2 * 8
    assert found.trained == 2 * 9_216 + 32 * vocabulary + (2 * 2 + 1) * 32
    assert found.adapter == 0
    adapt(module, LoraConfig(rank=4, alpha=8), seed=0)
    lora = sizes_of(module)
    assert lora.adapter == lora.trained == 2 * 4 * sum(outputs + inputs for outputs, inputs in layer)
    assert lora.body == found.body
    scored = load_trainable(folder, dtype=torch.float32, lm=False, score=True)
    assert sizes_of(scored).head == (0, 0)


def test_the_machine_is_measured() -> None:
    sizes = Sizes(layers=((16, 8), (16, 8), (8, 16)), head=(32, 8), attention=0, adapter=0, kept=0, trained=0)
    found = measure(sizes, 32, 8, torch.ones(1))
    assert 1e5 < found.operations < 1e15
    assert 1e8 < found.bandwidth < 1e14
