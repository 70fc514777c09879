"""The LM head in chunks: kept or computed again, the numbers are the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from burnish.batches import Document, pack
from burnish.models import forward
from burnish.models.forward import Trainable
from burnish.train.objectives import Sft

BATCH = pack([Document(row=str(n), ids=[n, 9, 3, 7, 2 + n, 4], weights=[0, 1, 1, 1, 1, 1]) for n in range(3)])


def gradients(module: Trainable) -> list[Tensor]:
    module.zero_grad()
    Sft().loss(module, BATCH).sums["nll"].backward()
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def test_logits_computed_again_give_the_same_gradients_bit_for_bit(
    module: Trainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.chunk = 4  # 15 targets: four chunks
    made: list[int] = []
    assert module.lm is not None
    module.lm.register_forward_hook(lambda *_: made.append(1))
    monkeypatch.setattr(forward, "KEPT", 0)
    again = [gradient.clone() for gradient in gradients(module)]
    assert len(made) == 8, "each chunk in the forward pass and in the backward pass"
    made.clear()
    monkeypatch.setattr(forward, "KEPT", 4)
    kept = gradients(module)
    assert len(made) == 4
    assert len(again) == len(kept) > 0
    assert all(torch.equal(a, b) for a, b in zip(again, kept, strict=True))
