"""What the JSONL reader accepts, and that what it accepts comes back as it was."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import DataError, Problem
from burnish.records.jsonl import Row, read_jsonl, scan
from burnish.records.places import column, places
from burnish.records.rows import first_row


def test_byte_order_mark_and_blank_lines_are_accepted_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n \n{"a": 2}')
    found = scan(path)
    assert [(row.line, row.value) for row in found.rows] == [(1, {"a": 1}), (4, {"a": 2})]
    assert (found.bom, found.blank) == (True, 2)
    assert found.notes == [
        f"{path}: began with a byte order mark, which was skipped",
        f"{path}: 2 blank lines were skipped",
    ]


def test_nothing_to_note(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    assert scan(path).notes == []


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = "a\u2028b\u2029c\u0085d"
    path.write_text(json.dumps({"a": text}, ensure_ascii=False) + '\n{"a": "\\u000b"}\n')
    assert [(row.line, row.value["a"]) for row in read_jsonl(path)] == [(1, text), (2, "\x0b")]


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "named.jsonl"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": NaN}\n'))
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    assert caught.value.problems[0].where == f"{path}:2:7"


def test_depth_64_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": ' + "[" * 63 + "]" * 63 + "}\n" + '{"b": "' + "[" * 500 + '"}\n')
    assert len(read_jsonl(path)) == 2


def test_what_looks_suspicious_but_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        r'{"a": "NaN 1e999 \\ud800 \\u0000"}',
        r'{"a": "\ud83d\ude00", "b": 1e-999}',
        r'{"a": {"x": 1}, "b": {"x": 1}}',
    ]
    path.write_text("\n".join(rows))
    assert [row.value for row in read_jsonl(path)] == [
        {"a": "NaN 1e999 \\ud800 \\u0000"},
        {"a": "😀", "b": 0.0},
        {"a": {"x": 1}, "b": {"x": 1}},
    ]


def test_where_falls_back_to_what_is_around(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"m": [{"role": "user"}, {}], "é": 1}\n')
    row = read_jsonl(path)[0]
    assert row.where() == f"{path}:1:1"
    assert row.where("m", 0, "role") == f"{path}:1:9"
    assert row.where("m", 1, "content") == f"{path}:1:26"
    assert row.where("é") == f"{path}:1:31"


def test_places_of_a_text() -> None:
    text = ' {"a":[1, "x\\"]", []],\t"b" : {}}'
    assert [(place.keys, place.at, place.value) for place in places(text)] == [
        ((), 1, 1),
        (("a",), 2, 6),
        (("a", 0), 7, 7),
        (("a", 1), 10, 10),
        (("a", 2), 18, 18),
        (("b",), 23, 29),
    ]
    assert column(text, ("b", "c")) == 24


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('aé😀\\"\n[{,: '),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('kü\x7f"\\', max_size=3), inner, max_size=3),
    max_leaves=8,
)


def paths_of(value: object, keys: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [keys, *[path for key, inner in items for path in paths_of(inner, (*keys, key))]]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(value=values, ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_places_finds_every_value(value: object, ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    found = places(text)
    assert [place.keys for place in found] == paths_of(value)
    for place in found:
        here = value
        for key in place.keys:
            here = here[key]
        assert json.JSONDecoder().raw_decode(text, place.value)[0] == here


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(rows=st.lists(st.dictionaries(st.text("ab\u2028\x85é"), values, max_size=4), min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    assert [row.value for row in read_jsonl(path)] == rows


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=60) | st.text('{}[]",:\\u0dNn1e9', max_size=40).map(str.encode))
def test_any_bytes_give_rows_or_problems(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.jsonl"
    path.write_bytes(data)
    rows: list[Row] = []
    problems: tuple[Problem, ...] = ()
    try:
        rows = read_jsonl(path)
    except DataError as error:
        problems = error.problems
    assert bool(rows) != bool(problems)
    assert all(problem.where.startswith(str(path)) for problem in problems)
    json.dumps([row.value for row in rows], ensure_ascii=False, allow_nan=False).encode()


def test_the_first_row_is_told_whatever_stands_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"a": 1}\nno JSON\n')
    assert (first_row(path).value, first_row(path).line) == ({"a": 1}, 2)
    path.write_text('no JSON\n{"a": 1}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1"):
        first_row(path)
