"""What burnish asks of the C library's allocator. Knows no model.

glibc gives large freed blocks back to the kernel, so every intermediate tensor of a step is asked for anew and its
pages are zeroed anew. What that costs stands in docs/decisions/0011-freed-memory-is-kept.md.
"""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # glibc's malloc.h
_NEVER = 2**31 - 1
_GROWTH = 1 << 28


@cache
def keep_freed() -> bool:
    """Have this process keep what it frees for its next tensor. False where the C library is not glibc.

    A setting of the whole process, made once and never undone; results do not change.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    wanted = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _GROWTH}
    return all(bool(mallopt(name, value)) for name, value in wanted.items())
