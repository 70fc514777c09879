"""What this machine's processor gives: how many cores this process may use, and whether bfloat16 is fast on it."""

from __future__ import annotations

import math
import os
import time
from functools import cache
from pathlib import Path

import torch

GAIN = 1.3
"""bfloat16 products must be so many times as fast as fp32 ones: what surrounds them gets slower by conversions."""
_SIDE = 512
_ROUNDS = 5
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


@cache
def gains_bfloat16() -> bool:
    """Whether products of matrices are faster in bfloat16: measured, once a process, in about 30 ms.

    A processor may know the format and emulate it, so what it says of itself decides nothing. With instructions for it
    bfloat16 is two to five times as fast, without them fp32 is faster. One thread is timed, by its own clock, which
    stands while others run: on a machine with more work than cores the time of day took one for the other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        narrow, wide = (_seconds(dtype) for dtype in (torch.bfloat16, torch.float32))
    finally:
        torch.set_num_threads(threads)
    return wide > GAIN * narrow


@cache
def has_tiles() -> bool:
    """Whether this processor has tiles for products of bfloat16 matrices (AMX): what torch says of it."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.11 says nothing: then it has none
    return bool(capabilities.get("amx_bf16", False))


def _seconds(dtype: torch.dtype) -> float:
    """The shortest of several products, after one that warms up."""
    left, right = (torch.ones(_SIDE, _SIDE, dtype=dtype) for _ in range(2))
    took: list[float] = []
    for _ in range(_ROUNDS + 1):
        began = time.thread_time()
        torch.mm(left, right)
        took.append(time.thread_time() - began)
    return min(took[1:])


def limit_threads() -> int:
    """Have torch use no more threads than this process may have cores, unless OMP_NUM_THREADS says how many.

    torch counts the machine's cores: in a container with a quota of two of 64 it would run 64 threads in turns on two,
    many times slower than two. Returns the number in use.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores():
        torch.set_num_threads(cores())
    return torch.get_num_threads()


def cores() -> int:
    """Cores that this process may use: of its affinity, and within the quota of its control group (Linux, v2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def _quota() -> float:
    """The smallest quota of this process's group and of those above it, in cores; infinite where none says one."""
    own = _OWN_GROUP.read_text(encoding="utf-8").splitlines() if _OWN_GROUP.is_file() else []
    path = next((line.removeprefix("0::/") for line in own if line.startswith("0::/")), "")
    groups = [_GROUPS / path, *(_GROUPS / path).parents]
    return min((_quota_of(group / "cpu.max") for group in groups), default=math.inf)


def _quota_of(file: Path) -> float:
    """`MICROSECONDS PERIOD`, or `max PERIOD`."""
    if not file.is_file():
        return math.inf
    quota, _, period = file.read_text(encoding="utf-8").strip().partition(" ")
    return math.inf if quota == "max" else int(quota) / int(period)
