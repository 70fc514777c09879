"""How torch computes in a run: settled once, before a stage. Thread counts change the last bits of sums."""

from __future__ import annotations

import os

import torch


def settle() -> None:
    """Use the cores that this process may use (or OMP_NUM_THREADS), and only kernels that repeat themselves.

    On a GPU an operation without such a kernel runs all the same, with torch's warning: a run there is repeatable only
    as far as the kernels are.
    """
    torch.set_num_threads(threads())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (torch's stub lacks it)


def threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
