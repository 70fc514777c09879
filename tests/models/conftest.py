from __future__ import annotations

from pathlib import Path

import pytest
import torch

from burnish.models.forward import Trainable
from burnish.models.load import load_trainable
from burnish.models.tiny import write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def module(tiny: Path) -> Trainable:
    return load_trainable(tiny, dtype=torch.float32, value=True, score=True)
