"""Rows made in parts: what a kill leaves is taken up, and only where it was made of the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from burnish.records.parts import Parts
from burnish.types import Silent

ASKED = list(range(10))


def made(seen: list[Sequence[int]], fails_at: int | None = None) -> Callable[[Sequence[int]], list[dict[str, object]]]:
    def make(part: Sequence[int]) -> list[dict[str, object]]:
        if fails_at in part:
            raise KeyboardInterrupt
        seen.append(part)
        return [{"z": number, "a": "line\u2028end\n", "score": number / 3} for number in part]

    return make


def written(out: Path, parts: Parts, seen: list[Sequence[int]], fails_at: int | None = None) -> None:
    parts.finish(parts.rows("rows", ASKED, 4, made(seen, fails_at), Silent()))


def test_what_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "[torn].jsonl"
    written(whole, Parts(whole, "key"), [])
    first: list[Sequence[int]] = []
    with pytest.raises(KeyboardInterrupt):
        written(torn, Parts(torn, "key"), first, fails_at=9)
    assert [list(part) for part in first] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert not torn.exists()
    then: list[Sequence[int]] = []
    written(torn, Parts(torn, "key"), then)
    assert [list(part) for part in then] == [[8, 9]]
    assert torn.read_bytes() == whole.read_bytes()
    assert [json.loads(line)["z"] for line in torn.read_text().split("\n")[:-1]] == ASKED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["[torn].jsonl", "whole.jsonl"]


def test_parts_that_follow_from_something_else_are_not_taken_up(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        written(out, Parts(out, {"seed": 1}), [], fails_at=9)
    seen: list[Sequence[int]] = []
    written(out, Parts(out, {"seed": 2}), seen)
    assert len(seen) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_without_a_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Sequence[int]] = []
    assert len(Parts(None).rows("rows", ASKED, 4, made(seen), Silent())) == 10
    assert not list(tmp_path.iterdir())
