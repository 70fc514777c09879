"""The rows of a Parquet file, each as the JSON text that it would be. Knows pyarrow, which is loaded for such files
alone; nothing of what a row means."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from burnish.errors import DataError, MachineError, Problem

MAGIC = b"PAR1"
_AT_ONCE = 1024
"""Rows that are turned into Python's at once."""


def module(where: str) -> Any:
    """pyarrow.parquet. Raises MachineError, about `where`, without it."""
    if find_spec("pyarrow") is None:
        raise MachineError(Problem(where, "needs the package pyarrow", "Try: pip install 'burnish[parquet]'"))
    return import_module("pyarrow.parquet")


def json_rows(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, JSON text) of each row. A number that is not one, as tables have it where a number is missing,
    is null; days and times are texts. Raises DataError where the file is damaged, or holds bytes."""
    parquet = module(str(path))
    try:
        file = parquet.ParquetFile(path)
        batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=_AT_ONCE))
        for number, row in enumerate((row for batch in batches for row in batch), start=1):
            yield number, _text(path, number, row)
    except (ValueError, OSError) as error:  # pyarrow's are of these kinds, and so are ours
        if isinstance(error, DataError):
            raise
        found = f"the Parquet data are damaged ({error})"
        raise DataError(Problem(str(path), found, "Copy it again, whole.")) from error


def _text(path: Path, number: int, row: dict[str, Any]) -> str:
    try:
        return json.dumps(_said(row), ensure_ascii=False, default=_written)
    except TypeError as error:
        mend = "Write the file without that column."
        raise DataError(Problem(f"{path}:{number}", f"a value is {error}, which is no text", mend)) from error


def _said(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {name: _said(each) for name, each in cast("dict[str, Any]", value).items()}
    return [_said(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def _written(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)
