"""A tiny real model and the documents that the laws are stated on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, adapted
from burnish.models.tiny import write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("laws") / "tiny")


@pytest.fixture(params=["full", "lora"])
def module(tiny: Path, request: pytest.FixtureRequest) -> Trainable:
    """Policy with every head, in fp32, the same weights each time; they train, or an adapter that is not zero."""
    torch.manual_seed(3)
    made = load_trainable(tiny, dtype=torch.float32, value=True, score=True)
    assert made.value is not None
    torch.nn.init.normal_(made.value.weight, std=0.1)
    if request.param == "lora":
        adapt(made, LoraConfig(rank=3, alpha=6), seed=1)
        for layer in adapted(made.backbone).values():
            torch.nn.init.normal_(layer.lora_B, std=0.1)
    return made


@pytest.fixture
def conversations() -> list[Document]:
    """Unequal lengths, some tokens not learned, none of one row all."""
    lengths = (7, 12, 5, 9, 15, 6)
    return [
        Document(
            row=f"c{n}",
            ids=[(31 * n + 7 * i) % 250 for i in range(length)],
            weights=[float((i + n) % 3 > 0) for i in range(length)],
        )
        for n, length in enumerate(lengths)
    ]


@pytest.fixture
def trees() -> list[Document]:
    """Prompts with two to four answers of unequal length."""
    return [
        Document(
            row=f"t{n}",
            ids=[(17 * n + 5 * i) % 250 for i in range(4 + 2 * n)],
            branches=[[(13 * n + 11 * k + 3 * i) % 250 for i in range(2 + k + n)] for k in range(2 + n % 3)],
        )
        for n in range(5)
    ]


@pytest.fixture
def with_extras() -> Callable[[list[Document]], Batch]:
    """Packs trees with what feeds add, every number a function of (row, answer, place), not of the pack."""

    def numbers(batch: Batch, salt: int) -> torch.Tensor:
        place = torch.cat([torch.arange(int((batch.answer_N == b).sum())) for b in range(batch.last_B.numel())])
        seed = torch.tensor([float(ord(batch.rows[int(batch.prompt_B[b])][1])) for b in batch.answer_N])
        return torch.sin(seed * (salt + 1) + place * 1.7 + batch.target_N)

    def packed(documents: list[Document]) -> Batch:
        batch = pack(documents)
        ranks = [1 + (k * 7 + len(d.ids)) % len(d.branches) for d in documents for k in range(len(d.branches))]
        return batch.with_extra(
            ranks_B=torch.tensor(ranks),
            old_logprobs_N=-5.5 + 0.05 * numbers(batch, 0),
            old_values_N=0.3 * numbers(batch, 1),
            advantages_N=numbers(batch, 2),
            returns_N=numbers(batch, 3),
            ref_logprobs_N=-5.5 + 0.05 * numbers(batch, 4),
        )

    return packed
