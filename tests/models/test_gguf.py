"""GGUF: every count and length is held against the file before anything is read by other code."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ModelError
from burnish.models import gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def strings(*values: str) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARCHITECTURE = key("general.architecture", 8, text("llama"))
TOKENS = key("tokenizer.ggml.tokens", 9, strings("a", "b"))
FIRST, SECOND = tensor("x", (8, 2), 0, 0), tensor("y", (32,), 2, 64)  # 64 bytes of F32; one Q4_0 block of 18


def file(
    *keys: bytes, tensors: tuple[bytes, ...] = (FIRST, SECOND), counts: tuple[int, int] | None = None, data: int = 96
) -> bytes:
    counts = counts or (len(tensors), len(keys))
    header = b"GGUF" + struct.pack("<IQQ", 3, *counts) + b"".join(keys) + b"".join(tensors)
    return header + bytes(-len(header) % 32) + bytes(data)


GOOD = file(ARCHITECTURE, TOKENS)
CASES: dict[str, tuple[bytes, str]] = {
    "another kind": (b"GGML" + GOOD[4:], "does not begin with GGUF"),
    "too short": (GOOD[:20], "not a GGUF file"),
    "version": (GOOD[:4] + b"\x63" + GOOD[5:], "version 99"),
    "n_kv 2^60": (file(ARCHITECTURE, TOKENS, counts=(2, 1 << 60)), "keys; 65,536 are possible"),
    "n_tensors 2^60": (file(ARCHITECTURE, TOKENS, counts=(1 << 60, 2)), "tensors; 65,536 are possible"),
    "more keys than there are": (file(ARCHITECTURE, TOKENS, counts=(2, 900)), "byte"),
    "n_dims 2^32-1": (file(ARCHITECTURE, TOKENS, tensors=(text("x") + b"\xff" * 4,)), "4294967295 dimensions"),
    "product overflows": (file(ARCHITECTURE, TOKENS, tensors=(tensor("x", (1 << 32, 1 << 32), 0, 0),)), "does not fit"),
    "empty dimension": (file(ARCHITECTURE, TOKENS, tensors=(tensor("x", (0, 3), 0, 0),)), "do not fill"),
    "broken block": (file(ARCHITECTURE, TOKENS, tensors=(tensor("x", (31,), 2, 0),)), "blocks of 32 do not fill"),
    "unknown type": (file(ARCHITECTURE, TOKENS, tensors=(tensor("x", (8,), 999, 0),)), "of type 999"),
    "offset 2^63": (file(ARCHITECTURE, TOKENS, tensors=(tensor("x", (8,), 0, 1 << 63),)), "does not fit"),
    "crooked offset": (file(ARCHITECTURE, TOKENS, tensors=(tensor("x", (8,), 0, 4),)), "not a multiple of 32"),
    "overlap": (file(ARCHITECTURE, TOKENS, tensors=(FIRST, tensor("y", (32,), 2, 32))), "overlaps"),
    "tensor twice": (file(ARCHITECTURE, TOKENS, tensors=(FIRST, FIRST)), "the tensor x stands twice"),
    "key twice": (file(ARCHITECTURE, ARCHITECTURE, TOKENS), "general.architecture stands twice"),
    "truncated": (GOOD[:-60], "truncated"),
    "text of 2^60": (file(key("a", 8, struct.pack("<Q", 1 << 60)), counts=(0, 1)), "a text of"),
    "array of 2^60": (file(key("a", 9, struct.pack("<IQ", 8, 1 << 60)), counts=(0, 1)), "an array of"),
    "numbers of 2^60": (file(key("a", 9, struct.pack("<IQ", 6, 1 << 60)), counts=(0, 1)), "are announced"),
    "array of arrays": (file(key("a", 9, struct.pack("<IQ", 9, 1)), counts=(0, 1)), "an array of 1 values of type 9"),
    "value of no type": (file(key("a", 77, b""), counts=(0, 1)), "a value of type 77"),
    "tokens as a number": (file(ARCHITECTURE, key("tokenizer.ggml.tokens", 4, b"\0" * 4)), "not a language model"),
    "tokens as numbers": (
        file(ARCHITECTURE, key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 4, 0))),
        "not a language",
    ),
    "architecture as a number": (file(key("general.architecture", 4, b"\1\0\0\0"), TOKENS), "not of type str"),
    "alignment 2^31": (
        file(ARCHITECTURE, TOKENS, key("general.alignment", 4, struct.pack("<I", 1 << 31))),
        "a power of two",
    ),
    "alignment 0": (file(ARCHITECTURE, TOKENS, key("general.alignment", 4, bytes(4))), "a power of two"),
    "alignment as text": (file(ARCHITECTURE, TOKENS, key("general.alignment", 8, text("32"))), "not of type int"),
}


def test_a_good_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD)
    header = gguf.check(path)
    assert header.tensors == {"x": (8, 2), "y": (32,)}
    assert header.keys == {"general.architecture": "llama", "tokenizer.ggml.tokens": "string[]"}


@pytest.mark.parametrize("kind", CASES)
def test_bad_headers_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    data, said = CASES[kind]
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    error, seconds = timed(gguf.check, path)
    assert isinstance(error, ModelError)
    assert said in str(error)
    assert str(path) in str(error)
    assert seconds < 0.1


def test_mutants_give_a_typed_error_or_a_header(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    dice = random.Random(0)
    for _ in range(400):
        data = bytearray(GOOD[: dice.choice([len(GOOD), dice.randrange(len(GOOD))])])
        for _ in range(dice.randrange(1, 4)):
            if data:
                data[dice.randrange(len(data))] = dice.choice([0, 1, 255, dice.randrange(256)])
        path.write_bytes(data)
        error, _ = timed(gguf.check, path)
        assert error is None or isinstance(error, ModelError)


def timed(call: Callable[[Path], Any], path: Path) -> tuple[Exception | None, float]:
    began = time.process_time()
    try:
        call(path)
        error = None
    except ModelError as caught:
        error = caught
    return error, time.process_time() - began
