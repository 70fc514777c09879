"""How torch computes in this process: on which device, with how many threads, by which kernels. Settled once, before a
stage: thread counts and devices change the last bits of sums.

One process computes on one device. Of several ranks of a machine each takes the GPU of its own number.
"""

from __future__ import annotations

import os
from typing import Literal

import torch

from burnish.errors import MachineError, Problem
from burnish.models.processor import cores, gains_bfloat16

Device = Literal["auto", "cpu", "cuda"]
_chosen = {"device": torch.device("cpu")}


def settle(asked: Device = "auto") -> None:
    """Choose the device, use the cores that this process may use (or OMP_NUM_THREADS), and only kernels that repeat
    themselves.

    On a GPU an operation without such a kernel runs all the same, with torch's warning: a run there is repeatable only
    as far as the kernels are. Raises MachineError for a GPU that is not there.
    """
    choose(asked)
    torch.set_num_threads(threads())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device().type == "cuda")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (torch's stub lacks it)


def choose(asked: Device) -> None:
    """The device on which this process loads models from now on; auto: a GPU where torch has one. Raises
    MachineError."""
    count = torch.cuda.device_count()
    if asked == "cpu" or (asked == "auto" and not count):
        _chosen["device"] = torch.device("cpu")
        return
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= count:
        found = f"cuda, and process {number + 1} of this machine finds {count} GPUs"
        mend = "Set device to cpu, or start fewer processes; `python -m torch.utils.collect_env` says what torch sees."
        raise MachineError(Problem("device", found, mend))
    _chosen["device"] = torch.device("cuda", number)
    torch.cuda.set_device(number)


def device() -> torch.device:
    """Where models are loaded to; the CPU until something else is chosen."""
    return _chosen["device"]


def gains_from_bfloat16() -> bool:
    """Whether the chosen device is faster in bfloat16."""
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return gains_bfloat16()


def threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else cores()
