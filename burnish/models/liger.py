"""Liger's Triton kernels (Hsu et al. 2024). Knows their functions; knows no module.

Liger's own way to patch a model puts its functions into transformers' modules, and so changes every model of the
process; here `burnish.models.fused` hands them to the modules of one backbone.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from itertools import product
from typing import Any

import torch
from torch import Tensor

from burnish.models.fused import Kernels

_NARROW, _MANY = 256, 1 << 15
"""Of rows no wider than the first, as many as the second have kernels of their own in Liger 0.8: a pack's heads."""


def kernels() -> Kernels:
    """Those of the package liger-kernel. Raises ImportError where it is not installed.

    A norm's gradient is not written over the one that it is given, as Liger does where nobody objects: of a norm before
    an addition that one belongs to the other summand too.
    """
    functions: Any = import_module("liger_kernel.transformers.functional")
    return Kernels(
        owner="Liger's",
        norm=partial(functions.liger_rms_norm, in_place=False),
        products=(functions.liger_swiglu, functions.liger_geglu),
        rotation=functions.liger_rope,
        trials=_trials,
    )


def _trials(weight: Tensor, dtype: torch.dtype) -> list[tuple[int, torch.dtype]]:
    many = weight.is_cuda and weight.dim() == 1 and weight.numel() <= _NARROW
    return list(product((3, _MANY) if many else (3,), {torch.float32, dtype}))
