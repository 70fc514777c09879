"""Compiled kernels, for the tests that choose them."""

from __future__ import annotations

import pytest
import torch

from burnish.errors import MachineError
from burnish.models import arithmetic

OF_THE_COMPILER = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
"""torch warns of itself when it compiles."""


def compile_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled lies with burnish's own files, and the test is skipped where nothing can be."""
    monkeypatch.setitem(arithmetic._chosen, "device", torch.device("cpu"))
    monkeypatch.setitem(arithmetic._chosen, "kernels", "torch")
    try:
        arithmetic.choose("cpu", "compiled")
    except MachineError as error:
        pytest.skip(error.problems[0].found)
