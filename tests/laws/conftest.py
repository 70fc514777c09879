"""A small real model, and the documents that the loop is tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.batches import Document
from burnish.models.tiny import write_tiny
from burnish.proof.material import read_rows
from burnish.proof.subject import Subject


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout: where it is left on, two runs differ."""
    return write_tiny(tmp_path_factory.mktemp("laws") / "tiny", dropout=0.1)


@pytest.fixture
def subject(tiny: Path) -> Subject:
    """Made afresh, so that no test finds what another has left."""
    return Subject(tiny, read_rows(None))


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
