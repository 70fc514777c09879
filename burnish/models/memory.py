"""What burnish asks of the C library's allocator, and of torch's on a GPU. Knows no model.

glibc gives large freed blocks back to the kernel, so every intermediate tensor of a step is asked for anew and its
pages are zeroed anew. What that costs stands in docs/decisions/0011-freed-memory-is-kept.md.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # glibc's malloc.h
_NEVER = 2**31 - 1
_GROWTH = 1 << 28


def give_back() -> None:
    """Hand to the system what lies free, on a GPU too. For between two works: what is kept of the one is in pieces that
    the other, whose tensors have other sizes, may not fit into, and so it grows; and another process on the GPU (vLLM)
    has what is left. Harmless where there is nothing to give.
    """
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def free_bytes(device: torch.device) -> int | None:
    """What this process can still take of a GPU's memory, with what torch holds and does not use; None for a CPU, whose
    memory is everybody's."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


@cache
def keep_freed() -> bool:
    """Have this process keep what it frees for its next tensor. False where the C library is not glibc.

    A setting of the whole process, made once and never undone; results do not change.
    """
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _GROWTH}
    return all(bool(mallopt(name, value)) for name, value in wanted.items())


def _library() -> Any:
    """The C library of this process; None where it cannot be had by no name (Windows)."""
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
