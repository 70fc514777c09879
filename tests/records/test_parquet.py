"""Parquet as a data file: typed rows, what JSON has no word for, parts, and damage."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError, MachineError
from burnish.records import parquet
from burnish.records.formats import holds_rankings, read_examples, read_labelled, read_rankings
from burnish.records.rows import read_rows

arrow = pytest.importorskip("pyarrow")
HI, HELLO, WORSE = (
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "assistant", "content": "What?"},
)


def written(path: Path, *rows: dict[str, Any]) -> Path:
    parquet.module("").write_table(arrow.Table.from_pylist(list(rows)), path)
    return path


def run(line: str) -> None:
    """A shell line, with the Python that has pyarrow."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", line], check=True, env=os.environ | {"PATH": path})


def test_columns_of_lists_and_objects_are_turns(tmp_path: Path) -> None:
    rows = [{"prompt": [HI], "completion": [HELLO if good else WORSE], "label": good} for good in (True, False)]
    found = read_labelled(written(tmp_path / "labels.parquet", *rows))
    assert [(each.completion, each.desirable) for each in found] == [("Hello.", True), ("What?", False)]
    pairs = written(tmp_path / "pairs.parquet", {"chosen": [HI, HELLO], "rejected": [HI, WORSE], "score": 1.5})
    assert holds_rankings(pairs) is True
    assert read_rankings(pairs, strength="score")[0].strengths == (1.5, 0.0)


def test_members_that_a_table_gives_to_every_turn_say_nothing_where_they_are_null(tmp_path: Path) -> None:
    called = {**HELLO, "tool_calls": [{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"y": "2"}}]}
    results = [{"role": "tool", "content": "a", "tool_call_id": None}] * 2
    path = written(tmp_path / "rows.parquet", {"messages": [HI, HELLO]}, {"messages": [HI, called, *results, HELLO]})
    plain, calling = read_examples(path)
    assert plain.messages[1].as_json() == HELLO
    assert [dict(call.arguments) for call in calling.messages[1].calls] == [{"x": 1}, {"y": "2"}]


def test_what_json_has_no_word_for(tmp_path: Path) -> None:
    row = {"day": date(2026, 1, 2), "price": Decimal("1.50"), "score": float("nan"), "n": 3, "at": None}
    [found] = read_rows(written(tmp_path / "rows.parquet", row))
    assert found.value == {"day": "2026-01-02", "price": "1.50", "score": None, "n": 3, "at": None}
    for name, value, says in (("n", float("inf"), "no finite number"), ("picture", b"x", "a value is bytes")):
        with pytest.raises(DataError, match=says) as caught:
            read_rows(written(tmp_path / "rows.parquet", {name: None}, {name: value}))
        assert caught.value.problems[0].where.startswith(f"{tmp_path}/rows.parquet:2")


def test_damage_and_emptiness(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.parquet", {"a": "x" * 1000})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="the Parquet data are damaged"):
        read_rows(path)
    parquet.module("").write_table(arrow.table({"a": []}), path)
    with pytest.raises(DataError, match="0 rows"):
        read_rows(path)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "rows.parquet", {"a": "x"})
    monkeypatch.setattr(parquet, "find_spec", lambda _: None)
    with pytest.raises(MachineError, match=r"pip install 'burnish\[parquet\]'"):
        read_rows(path)


def test_parts_are_joined_by_the_line(tmp_path: Path) -> None:
    for number in range(2):
        written(tmp_path / f"train-0000{number}-of-00002.parquet", {"messages": [HI, HELLO], "n": number})
    with pytest.raises(DataError, match="is part 1 of 2") as caught:
        read_examples(tmp_path / "train-00000-of-00002.parquet")
    run(caught.value.problems[0].mend.removeprefix("Join them: "))
    assert [each.meta["n"] for each in read_examples(tmp_path / "train.jsonl")] == [0, 1]


def test_lines_for_other_columns_are_for_parquet_too(tmp_path: Path) -> None:
    path = written(tmp_path / "dolly.parquet", {"instruction": "Hi", "context": None, "response": "Hello."})
    with pytest.raises(DataError) as caught:
        read_examples(path)
    run(caught.value.problems[0].mend.removeprefix("Run: "))
    [found] = read_examples(tmp_path / "dolly.mended.jsonl")
    assert [turn.content for turn in found.messages] == ["Hi", "Hello."]
