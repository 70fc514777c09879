"""Rows that take long to make, made some at a time: what is done is kept beside the file until all are there, so that
a kill costs one part. Knows JSON lines and files; knows nothing of what makes a row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from burnish.records.durable import digest_value, write_jsonl
from burnish.types import Progress

T = TypeVar("T")


class Parts:
    """The parts of one file."""

    def __init__(self, out: Path | None, key: Any = None) -> None:
        """Args: out, the file; None keeps nothing. key, all that the rows follow from, as JSON: parts that were made
        of anything else are not taken up."""
        self._out = out
        self._key = digest_value(key)[:16]

    def rows(
        self,
        label: str,
        asked: Sequence[T],
        at_once: int,
        make: Callable[[Sequence[T]], Iterable[Any]],
        progress: Progress,
    ) -> list[Any]:
        """What `make` makes of `asked`, `at_once` of them a part; parts that are there already are read."""
        found: list[Any] = []
        progress.start(label, len(asked))
        for start in range(0, len(asked), at_once):
            part = asked[start : start + at_once]
            found += self._part(start, lambda part=part: list(make(part)))
            progress.advance(len(part))
        progress.finish()
        return found

    def finish(self, rows: Iterable[Any]) -> None:
        """Write the file, and drop its parts and those that earlier attempts left."""
        if self._out is None:
            return
        write_jsonl(self._out, rows)
        for folder in self._out.parent.glob(f".{escape(self._out.name)}.*.parts"):
            shutil.rmtree(folder, ignore_errors=True)

    def _part(self, start: int, make: Callable[[], list[Any]]) -> list[Any]:
        if self._out is None:
            return make()
        path = self._out.parent / f".{self._out.name}.{self._key}.parts" / f"{start}.jsonl"
        if not path.is_file():
            write_jsonl(path, make())
        return [json.loads(line) for line in path.read_bytes().splitlines()]
