"""A law of the loop with compiled kernels. In a file of its own and the last: torch's compiler stays in the process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiling import OF_THE_COMPILER, compile_here
from test_loop import Run

from burnish.batches import Document
from burnish.models import compiled
from burnish.models.layers import recompute_layers
from burnish.models.tiny import write_tiny


@pytest.fixture
def dropping(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", dropout=0.1)


@OF_THE_COMPILER
def test_a_run_with_compiled_kernels_resumes_to_the_same_bits_and_with_layers_computed_again(
    dropping: Path, tmp_path: Path, conversations: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run with no code made before it: what is resumed begins with another batch."""
    compile_here(monkeypatch)
    bits: list[dict[str, bytes]] = []
    for name, until in (("straight", 12), ("cut", 8), ("cut", 12), ("again", 12)):
        compiled._code.cache_clear()
        run = Run(dropping, tmp_path / name, conversations, torch.bfloat16)
        if name == "again":
            recompute_layers(run.module)
        run.fit(until)
        bits.append(run.bits())
    assert bits[2] == bits[0]
    assert bits[3] == bits[0]
