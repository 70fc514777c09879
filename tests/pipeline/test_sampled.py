"""Which sampled answers a report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fabricated import SAID, write_run

from burnish.errors import DataError
from burnish.pipeline import sampled
from burnish.pipeline.report import LONG, write_report
from burnish.pipeline.sampled import chosen
from burnish.records.durable import append_line


def write(path: Path, *iterations: str, **more: Any) -> Path:
    """A file with two answers to each prompt of each iteration; a prompt is a letter."""
    for number, names in enumerate(iterations):
        for name in names:
            for place in (1, 2):
                row = {"iteration": number, "id": name, "prompt": [{"role": "user", "content": name}]}
                said = {"text": f"{name}{number}{place}", "stop": "eos", "score": 0.5, "parts": {"rule": 0.5}}
                append_line(path, row | said | more)
    return path


def texts(path: Path, count: int = 3) -> list[tuple[str, ...]]:
    return [tuple(answer.text for answer in asked.answers) for asked in chosen(path, count)]


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_the_same_prompts_are_shown_where_both_ends_asked_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(sampled, "_BLOCK", block)
    found = texts(write(tmp_path / "s.jsonl", "abcd", "xyz", "cdef"))
    assert sorted(found[:2]) == [("c01", "c21"), ("d01", "d21")]
    assert found[2] in [("a01",), ("b01",)]
    assert found[3] in [("e21",), ("f21",)]
    assert len(found) == 4


def test_one_iteration_is_shown_once(tmp_path: Path) -> None:
    assert sorted(texts(write(tmp_path / "s.jsonl", "ab"))) == [("a01",), ("b01",)]
    assert chosen(tmp_path / "absent.jsonl", 3) == []
    (tmp_path / "empty.jsonl").touch()
    assert chosen(tmp_path / "empty.jsonl", 3) == []


def test_the_middle_of_a_long_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "_BLOCK", 64)
    path = write(tmp_path / "s.jsonl", "ab")
    append_line(path, {"iteration": 1})
    with path.open("ab") as file:
        file.write(b"{no JSON here}\n")
    append_line(path, {"iteration": 2})
    head = path.read_bytes()
    write(path.with_name("last.jsonl"), "", "", "", "ab")
    path.write_bytes(head + path.with_name("last.jsonl").read_bytes() + b'{"iteration": 3, "torn')
    assert sorted(texts(path)) == [("a01", "a31"), ("b01", "b31")]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text("{oops}\n")
    with pytest.raises(DataError, match=r"s\.jsonl"):
        chosen(tmp_path / "s.jsonl", 3)


def test_where_nothing_is_paid_for_there_is_no_score(tmp_path: Path) -> None:
    [found] = chosen(write(tmp_path / "s.jsonl", "a", parts={}, score=0.0, stop="length"), 3)
    assert (found.answers[0].score, found.answers[0].ended) == (None, "cut by the budget")


def test_a_report_shows_them_and_folds_long_ones(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("ppo",), say={"ppo": "<b>" + LONG * "a" + "</b>"})
    page = write_report(run).read_text()
    assert f"score −0.25 · {len(SAID['base'])} characters · cut by the budget" in page
    assert f"score 1.75 · {LONG + 7} characters · ended by itself" in page
    assert f"&lt;b&gt;{(LONG - 3) * 'a'}</p><details><summary>7 more characters</summary>" in page
    assert "<b>aaa" not in page
