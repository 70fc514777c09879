"""A second device for machines that have none: its tensors are the CPU's, and what mixes the two is an error, as on a
GPU. It goes by torch's name for a device without memory, `meta`, so that nothing else answers to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Adam
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from burnish.models import arithmetic, folder, load

NAME = "meta"
_aten = torch.ops.aten
_MIXING = (_aten._to_copy.default, _aten.copy_.default, _aten.index.Tensor, _aten.index_put_.default)
"""What a GPU takes of the CPU too: copies, and indices."""


class Far(Tensor):
    """A tensor that lies elsewhere; `near` is what it holds."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        made: Far = Tensor._make_wrapper_subclass(
            cls, near.size(), near.stride(), near.storage_offset(), dtype=near.dtype, device=NAME
        )
        made.near = near
        return made

    def tolist(self) -> Any:
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Machine(TorchDispatchMode):
    """Sees what is made and copied: a CPU's tensor does not know that it is wanted elsewhere."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    found: set[str] = set()

    def near(value: Any) -> Any:
        if isinstance(value, Tensor):
            assert isinstance(value, Far) or value.device.type != NAME, "made past dispatch: without a value"
            far = isinstance(value, Far)
            if far or value.dim():  # a single number of the CPU goes with everything, as on a GPU
                found.add(NAME if far else "cpu")
            return value.near if isinstance(value, Far) else value
        return "cpu" if _is_elsewhere(value) else value

    own_args, own_kwargs = tree_map(near, (args, kwargs))
    if len(found) > 1 and func not in _MIXING:
        raise RuntimeError(f"{func}: tensors of two devices")
    result = func(*own_args, **own_kwargs)
    if func is _aten.copy_.default:
        return args[0]
    asked = kwargs.get("device")
    goes = _is_elsewhere(asked) if asked is not None else NAME in found
    return tree_map(lambda value: Far(value) if isinstance(value, Tensor) else value, result) if goes else result


def _is_elsewhere(value: Any) -> bool:
    return isinstance(value, torch.device) and value.type == NAME


class _Numbers(TorchFunctionMode):
    """torch's way from numbers to a device, and from lists to indices, goes past dispatch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]), *args[2:])
        place = kwargs.pop("device") if func is torch.tensor and "device" in kwargs else None
        found = func(*args, **kwargs)
        return found if place is None else found.to(place)


def _here(make: Callable[..., Any]) -> Callable[..., Any]:
    """As it was: transformers makes models where there is no memory, and fills them on the CPU."""

    def made(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return make(*args, **kwargs)

    return made


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Inside, models are loaded to the second device."""
    monkeypatch.setitem(arithmetic._chosen, "device", torch.device(NAME))
    monkeypatch.setattr(sys.modules[Adam.__module__], "_device_dtype_check_for_fused", lambda *_: None)  # by name
    monkeypatch.setattr(load, "plain_model", _here(load.plain_model))
    for name in ("shell", "compare"):
        monkeypatch.setattr(folder, name, _here(getattr(folder, name)))
    torch.__future__.set_swap_module_params_on_conversion(True)  # weights that are one stay one, as on a GPU
    try:
        with _Machine(), _Numbers():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
