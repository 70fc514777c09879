"""GGUF files: judged in Python before any other code reads them, then turned into an ordinary model folder. Knows the
format's bytes; the arithmetic of its quantised blocks is transformers' and gguf's.

Readers of this format have been overflowed by counts, dimensions and offsets that do not fit the file, so each is held
against the bytes that are there. The check reads the header only and takes a few hundredths of a second.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from burnish.errors import ModelError, Problem

COUNT = 1 << 16
"""Most tensors, and most keys, of a file."""
STRING_BYTES = 1 << 20
ALIGNMENT = 1 << 16
DIMENSIONS = 4
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says about itself. Arrays are left out: only their element type is kept, as `type[]`."""

    keys: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    """Names and dimensions."""


def check(path: Path) -> Header:
    """Read and judge the header. Raises ModelError; reads no further than the file reaches."""
    if path.stat().st_size < 24:
        raise ModelError(Problem(str(path), f"{path.stat().st_size} bytes: not a GGUF file"))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(path, data).header()


class _Reader:
    """A position in a file, and reading from there with every length held against what is left."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.at = 0

    def header(self) -> Header:
        if self.take(4) != b"GGUF":
            raise self.wrong("does not begin with GGUF: another kind of file")
        if (version := self.number("I")) not in (2, 3):
            raise self.wrong(f"version {version}; 2 and 3 are known")
        tensors, keys = self.count("Q", "tensors"), self.count("Q", "keys")
        found: dict[str, Any] = {}
        for _ in range(keys):
            name = self.string()
            if name in found:
                raise self.wrong(f"the key {name} stands twice")
            found[name] = self.value(self.number("I"))
        self.check_keys(found)
        return Header(keys=found, tensors=self.tensors(tensors, found.get("general.alignment", 32)))

    def tensors(self, count: int, alignment: int) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        spans: list[tuple[int, int, str]] = []
        for _ in range(count):
            name = self.string()
            if name in found:
                raise self.wrong(f"the tensor {name} stands twice")
            found[name], begin, length = self.tensor(name)
            spans.append((begin, begin + length, name))
        start = -(-self.at // alignment) * alignment
        reached = 0
        for begin, end, name in sorted(spans):
            if begin % alignment:
                raise self.wrong(f"tensor {name} begins at {begin:,}, which is not a multiple of {alignment}")
            if begin < reached:
                raise self.wrong(f"tensor {name} overlaps the one before it")
            if start + end > self.size:
                raise self.wrong(f"tensor {name} ends at byte {start + end:,} of {self.size:,}: truncated")
            reached = end
        return found

    def tensor(self, name: str) -> tuple[tuple[int, ...], int, int]:
        if not 1 <= (dimensions := self.number("I")) <= DIMENSIONS:
            raise self.wrong(f"tensor {name} has {dimensions} dimensions; 1 to {DIMENSIONS} are possible")
        shape = tuple(self.number("Q") for _ in range(dimensions))
        kind, begin = self.number("I"), self.number("Q")
        if kind not in [known.value for known in GGMLQuantizationType]:
            raise self.wrong(f"tensor {name} is of type {kind}, which is unknown")
        block, width = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if not all(shape) or shape[0] % block:
            raise self.wrong(f"tensor {name} has shape {list(shape)}, which blocks of {block} do not fill")
        length = math.prod(shape) // block * width
        if length > self.size or begin > self.size:
            raise self.wrong(f"tensor {name} of shape {list(shape)} does not fit into {self.size:,} bytes")
        return shape, begin, length

    def check_keys(self, keys: dict[str, Any]) -> None:
        wanted = {"general.architecture": str, "tokenizer.chat_template": str}
        wanted |= {"general.alignment": int, "split.count": int}
        for name, kind in wanted.items():
            if name in keys and type(keys[name]) is not kind:
                raise self.wrong(f"the key {name} is {keys[name]!r}, not of type {kind.__name__}")
        if (parts := keys.get("split.count", 1)) > 1:
            mend = "Join them with llama.cpp: llama-gguf-split --merge FIRST-FILE WHOLE.gguf"
            raise ModelError(Problem(str(self.path), f"one of {parts} files that hold a model together", mend))
        if "general.architecture" not in keys or keys.get("tokenizer.ggml.tokens") != "string[]":
            raise self.wrong("no general.architecture or no tokenizer.ggml.tokens: not a language model")
        alignment = keys.get("general.alignment", 32)
        if not 8 <= alignment <= ALIGNMENT or alignment & (alignment - 1):
            raise self.wrong(f"alignment {alignment:,}; a power of two from 8 to {ALIGNMENT:,} is possible")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or depth:
            raise self.wrong(f"a value of type {kind}, which is unknown here")
        inner, count = self.number("I"), self.number("Q")
        if inner in _NUMBERS:
            self.take(count * struct.calcsize(_NUMBERS[inner]))
            return f"{_NUMBERS[inner]}[]"
        if inner != _STRING or count * 8 > self.size - self.at:
            raise self.wrong(f"an array of {count:,} values of type {inner}, which the file cannot hold")
        for _ in range(count):
            self.take(self.length())
        return "string[]"

    def string(self) -> str:
        return self.take(self.length()).decode(errors="replace")

    def length(self) -> int:
        if (length := self.number("Q")) > STRING_BYTES:
            raise self.wrong(f"a text of {length:,} bytes; {STRING_BYTES:,} are possible")
        return length

    def count(self, code: str, what: str) -> int:
        if (count := self.number(code)) > COUNT:
            raise self.wrong(f"{count:,} {what}; {COUNT:,} are possible")
        return count

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def take(self, length: int) -> bytes:
        if length > self.size - self.at:
            raise self.wrong(f"{length:,} bytes are announced, {self.size - self.at:,} are left: truncated")
        self.at += length
        return self.data[self.at - length : self.at]

    def wrong(self, found: str) -> ModelError:
        return ModelError(Problem(f"{self.path}: byte {self.at:,}", found, "Fetch the file again."))
