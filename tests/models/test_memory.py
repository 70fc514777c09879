"""Freed memory stays with the process: counted in page faults, which do not depend on how fast the machine is."""

from __future__ import annotations

import platform
import resource
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
before = faults()
for _ in range(60):
    torch.ones(10 << 20)
print(faults() - before)
"""


def faults(mode: str) -> int:
    """Page faults of 60 tensors of 40 MB (glibc never keeps those by itself), each freed before the next is made."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, mode], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_a_tensor_reuses_the_pages_of_the_one_before_it() -> None:
    """Not always the very same pages: a small object may take the first of them, and the tensor moves on a little."""
    pages = 60 * (40 << 20) // resource.getpagesize()
    assert faults("leave") > 0.9 * pages
    assert faults("keep") < 0.5 * pages


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_between_two_works_what_lies_free_is_given_back() -> None:
    """Every other tensor of 8 MB lives on: what is freed between them fits nothing larger, and is 160 MB."""
    program = """
import torch
from burnish.models.memory import give_back, keep_freed

resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
keep_freed()
tensors = [torch.ones(2 << 20) for _ in range(40)]
kept = tensors[::2]
del tensors
before = resident()
give_back()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 120


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed.__wrapped__() is False
