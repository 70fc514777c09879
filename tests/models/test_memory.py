"""Freed memory stays with the process: counted in page faults, which do not depend on how fast the machine is."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from burnish.models.memory import keep_freed

_PROGRAM = """
import resource, sys
import torch
from burnish.models.memory import keep_freed

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    torch.ones(4 << 20)
before = faults()
for _ in range(20):
    torch.ones(4 << 20)
print(faults() - before)
"""


def faults(mode: str) -> int:
    """Page faults of 20 tensors of 16 MB, each freed before the next; 50 more came before them."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, mode], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_a_tensor_reuses_the_pages_of_the_one_before_it() -> None:
    assert faults("leave") > 1000
    assert faults("keep") < 100


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed.__wrapped__() is False
