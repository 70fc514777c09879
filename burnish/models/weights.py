"""Safetensors files: header checked before anything is read, values checked before anything is used. Knows tensors'
names, types and shapes; knows no architecture.

The safetensors library never crashes on a damaged file, but it reads values without question; so the checks of the
format's rules are ours (header at most 100 MB, no key twice, tensors without gaps or overlaps up to the file's end),
and so is the search for numbers that are not finite.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from burnish.errors import ModelError, Problem

HEADER_BYTES = 100 << 20
FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_WIDTHS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
"""Bytes of a value by its type's name."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
MEND_PICKLE = (
    "Ask for a safetensors version, or convert it where it can do no harm (a container without network): "
    'python -c "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in '
    "torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')\"."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A tensor as the header of its file describes it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def floating(self) -> bool:
        """Whether its values are floating-point numbers, and not whole ones or truth values."""
        return self.dtype.startswith(("F", "BF"))


def is_pickle(path: Path) -> bool:
    """Whether a file's name says that reading it may run code."""
    return path.suffix.lower() in _PICKLES


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a folder's weights. Raises ModelError."""
    if (folder / INDEX).is_file():
        return _indexed(folder)
    if (folder / FILE).is_file():
        return [folder / FILE]
    refuse_pickles(folder)
    raise ModelError(Problem(str(folder), f"no {FILE} here"))


def refuse_pickles(folder: Path, mend: str = MEND_PICKLE) -> None:
    """Raises ModelError, naming the first, where a folder holds pickles; of what else it lacks, nothing."""
    if pickles := sorted(path for path in folder.iterdir() if is_pickle(path)):
        raise pickled(pickles[0], mend)


def pickled(path: Path, mend: str = MEND_PICKLE) -> ModelError:
    """The error about a file of pickles, whatever it was to hold."""
    return ModelError(Problem(str(path), "pickle can run code: refused", mend))


def read_headers(files: list[Path]) -> dict[str, Entry]:
    """Every tensor of the files by name. Raises ModelError with all problems of the headers; reads no values."""
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            found = read_header(file)
        except ModelError as error:
            problems += error.problems
            continue
        problems += [Problem(f"{file}: {name}", "stands in two files") for name in found.keys() & entries.keys()]
        entries |= found
    if problems:
        raise ModelError(*problems)
    return entries


def read_header(file: Path) -> dict[str, Entry]:
    """The tensors of one file. Raises ModelError."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(HEADER_BYTES, size - 8):
            found = f"a header of {length:,} bytes in a file of {size:,}: truncated, or not safetensors"
            raise ModelError(Problem(str(file), found, "Fetch it again."))
        header = _parse(stream.read(length), file)
    header.pop("__metadata__", None)
    spans: list[tuple[int, int, str]] = []
    entries: dict[str, Entry] = {}
    for name, described in header.items():
        entries[name], begin, end = _entry(name, described, file)
        spans.append((begin, end, name))
    _check_spans(sorted(spans), size - 8 - length, file)
    return entries


def read_tensors(
    files: list[Path],
    names: Mapping[str, str],
    dtype: torch.dtype,
    in_fp32: Callable[[str], bool] = lambda name: False,
) -> tuple[dict[str, Tensor], list[str]]:
    """The named tensors (name in the file -> name to give it) in memory of our own, floating ones as `dtype` or, by the
    name that is given, in fp32, and warnings about matrices that are all zero.

    Raises ModelError naming each tensor that holds NaN or infinity, with the count.
    """
    tensors: dict[str, Tensor] = {}
    problems: list[Problem] = []
    warnings: list[str] = []
    for file in files:
        for file_name, stored in load_file(file).items():
            if file_name in names:
                name = names[file_name]
                wanted = torch.float32 if in_fp32(name) else dtype
                tensor = stored.to(dtype=wanted if stored.is_floating_point() else stored.dtype, copy=True)
                tensors[name] = tensor
                bad, zero = _judge(tensor)
                if bad:
                    where = f"{file}: {file_name}"
                    problems.append(Problem(where, f"{bad:,} of {tensor.numel():,} values are not finite as {dtype}"))
                if zero:
                    warnings.append(f"{file}: {file_name}: every value is zero")
    if problems:
        raise ModelError(*problems)
    return tensors, warnings


def write(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file in a folder that is being filled. Raises OSError, as any writing does, where the disk refuses."""
    try:
        save_file(dict(tensors), file, {"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number.group(1)), str(error), str(file)) from error
    file.chmod(0o644)  # the library makes files that only their owner may read


def _judge(tensor: Tensor) -> tuple[int, bool]:
    """How many values are not finite, and whether a matrix is all zero. One quick pass over good tensors."""
    if not tensor.is_floating_point() or not tensor.numel():
        return 0, False
    low, high = (end.item() for end in torch.aminmax(tensor))
    if math.isfinite(low) and math.isfinite(high):
        return 0, low == high == 0 and tensor.ndim > 1
    return int((~torch.isfinite(tensor)).sum()), False


def _indexed(folder: Path) -> list[Path]:
    index = folder / INDEX
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(Problem(str(index), "not an index of weights: it has no weight_map of names")) from error
    problems = [
        Problem(str(index), f"names {name!r}, which is no safetensors file of this folder")
        for name in sorted(names, key=str)
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors")
    ]
    problems = problems or [
        Problem(str(folder / name), "named by the index and missing") for name in names if not (folder / name).is_file()
    ]
    if problems:
        raise ModelError(*problems)
    return [folder / name for name in sorted(names)]


def _parse(data: bytes, file: Path) -> dict[str, Any]:
    try:
        header = json.loads(data, object_pairs_hook=lambda pairs: _once(pairs, file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(Problem(str(file), "the header is not JSON: damaged", "Fetch it again.")) from error
    if not isinstance(header, dict):
        raise ModelError(Problem(str(file), "the header is not a JSON object"))
    return header


def _once(pairs: list[tuple[str, Any]], file: Path) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(Problem(f"{file}: {twice}", "stands twice in the header"))
    return made


def _entry(name: str, described: Any, file: Path) -> tuple[Entry, int, int]:
    where = f"{file}: {name}"
    if not isinstance(described, dict) or described.keys() != {"dtype", "shape", "data_offsets"}:
        raise ModelError(Problem(where, "the header does not give dtype, shape and data_offsets"))
    dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    if dtype not in _WIDTHS:
        raise ModelError(Problem(where, f"dtype {dtype!r} is unknown"))
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        raise ModelError(Problem(where, "shape and data_offsets must be lists of whole numbers from 0"))
    length, taken = offsets[1] - offsets[0], math.prod(shape) * _WIDTHS[dtype]
    if length != taken:
        raise ModelError(Problem(where, f"{length:,} bytes for {dtype} of shape {shape}, which takes {taken:,}"))
    return Entry(file=file, dtype=dtype, shape=tuple(shape)), offsets[0], offsets[1]


def _whole(numbers: Any) -> bool:
    return (
        isinstance(numbers, list)
        and len(numbers) <= 16
        and all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
    )


def _check_spans(spans: list[tuple[int, int, str]], size: int, file: Path) -> None:
    reached = 0
    for begin, end, name in spans:
        if begin != reached:
            kind = "overlaps the tensor before it" if begin < reached else "leaves a gap before it"
            raise ModelError(Problem(f"{file}: {name}", kind))
        reached = end
    if reached != size:
        kind = "truncated" if reached > size else "longer than its header says"
        raise ModelError(
            Problem(str(file), f"{size:,} bytes of tensors, {reached:,} were promised: {kind}", "Fetch it again.")
        )
