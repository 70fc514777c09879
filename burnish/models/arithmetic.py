"""How torch computes in this process: on which device, with how many threads, by which kernels. Settled once, before a
stage: thread counts and devices change the last bits of sums.

One process computes on one device. Of several ranks of a machine each takes the GPU of its own number.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Literal

import torch

from burnish.errors import ConfigError, MachineError, Problem
from burnish.models.compiled import refusal
from burnish.models.processor import cores, gains_bfloat16
from burnish.records.files import cache_folder
from burnish.types import KernelName

Device = Literal["auto", "cpu", "cuda"]
_chosen: dict[str, Any] = {"device": torch.device("cpu"), "kernels": "torch"}


def settle(asked: Device = "auto", kernels: KernelName = "auto") -> None:
    """Choose device and kernels, use the cores that this process may use (or OMP_NUM_THREADS), and only kernels that
    repeat themselves.

    On a GPU an operation without such a kernel runs all the same, with torch's warning: a run there is repeatable only
    as far as the kernels are. Raises what `choose` raises.
    """
    choose(asked, kernels)
    torch.set_num_threads(threads())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device().type == "cuda")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (torch's stub lacks it)


def choose(asked: Device, kernels: KernelName = "auto") -> None:
    """The device on which this process loads models from now on, and the kernels with which. auto: a GPU where torch
    has one; torch's kernels. Raises MachineError for a GPU or a package that is not there, ConfigError for kernels that
    do not run on the device."""
    place = _place(asked)
    if kernels == "liger":
        _require_liger(place)
    if kernels == "compiled":
        _require_compiler(place)
    if place.type == "cuda":
        torch.cuda.set_device(place.index)
    _chosen.update(device=place, kernels="torch" if kernels == "auto" else kernels)


def _place(asked: Device) -> torch.device:
    count = torch.cuda.device_count()
    if asked == "cpu" or (asked == "auto" and not count):
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= count:
        found = f"cuda, and process {number + 1} of this machine finds {count} GPUs"
        mend = "Set device to cpu, or start fewer processes; `python -m torch.utils.collect_env` says what torch sees."
        raise MachineError(Problem("device", found, mend))
    return torch.device("cuda", number)


def _require_liger(place: torch.device) -> None:
    if place.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":  # by which tests run the kernels on CPUs
        found = "liger, whose kernels run on GPUs, and models are computed on the CPU here"
        raise ConfigError(Problem("kernels", found, "Set kernels to torch."))
    if not all(find_spec(name) for name in ("liger_kernel", "triton")):
        mend = "Try: pip install 'burnish[liger]', or set kernels to torch."
        raise MachineError(Problem("kernels", "liger, which needs the packages liger-kernel and triton", mend))


def _require_compiler(place: torch.device) -> None:
    """Compiled code is kept with burnish's own files, where nobody else can lay any."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    if why := refusal(place):
        needs = "a C++ compiler and Python's headers" if place.type == "cpu" else "Triton and a C compiler"
        mend = "Try: apt install g++ python3-dev, or set kernels to torch."
        raise MachineError(Problem("kernels", f"compiled, which needs {needs}: {why}", mend))


def device() -> torch.device:
    """Where models are loaded to; the CPU until something else is chosen."""
    return _chosen["device"]


def chosen_kernels() -> Literal["torch", "liger", "compiled"]:
    """With whose kernels models are loaded; torch's until something else is chosen."""
    return _chosen["kernels"]


def gains_from_bfloat16() -> bool:
    """Whether the chosen device is faster in bfloat16."""
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return gains_bfloat16()


def threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else cores()
