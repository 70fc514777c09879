"""Plain text: rows with a column, or one file."""

import gzip
from pathlib import Path

import pytest

from burnish.errors import DataError
from burnish.records.texts import holds_texts, read_texts


def test_rows_of_a_text_column_are_texts_named_by_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    path.write_text('{"text": "One."}\n\n{"text": "Two.", "source": "a"}\n')
    assert [(each.id, each.content) for each in read_texts(path)] == [
        ("book.jsonl:1", "One."),
        ("book.jsonl:3", "Two."),
    ]
    assert holds_texts(path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_txt_file_is_one_text_whatever_its_compression(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("book.txt.gz" if packed else "book.txt")
    data = "\ufeffFirst line.\nSecond: grüße.\n".encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert [(each.id, each.content) for each in read_texts(path)] == [(path.name, "First line.\nSecond: grüße.\n")]
    assert holds_texts(path)


def test_conversations_are_not_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": []}\n')
    assert not holds_texts(path)
    path.write_text('{"text": "of the page", "messages": []}\n')
    assert not holds_texts(path), "a column beside the conversation"


@pytest.mark.parametrize(
    ("row", "found"),
    [('{"txt": "a"}', '"text" is missing'), ('{"text": 3}', "text is wanted"), ('{"text": " "}', '"text" is empty')],
)
def test_every_row_without_a_text_is_named(tmp_path: Path, row: str, found: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "Fine."}\n' + row + "\n")
    with pytest.raises(DataError, match=found) as caught:
        read_texts(path)
    assert f"{path}:2" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "found", "where"),
    [
        ("Good.\nBäd.".encode("cp1252"), "byte 0xe4 is not UTF-8", ":2"),
        (b" \n", "empty", ""),
        ("wide".encode("utf-16"), "UTF-16", ""),
    ],
)
def test_a_txt_file_that_cannot_be_read_says_where_and_why(tmp_path: Path, data: bytes, found: str, where: str) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=found) as caught:
        read_texts(path)
    assert f"{path}{where}" in str(caught.value)
    if where:
        assert "book.mended.txt" in str(caught.value)
