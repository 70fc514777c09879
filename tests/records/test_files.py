"""Files that are no JSON lines: the shell line that each is refused with makes some of it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import DataError
from burnish.records.formats import read_prompts
from burnish.records.rows import read_rows

ROWS = [{"prompt": 'Wer? "Ada"\n, oder?', "completion": "Ja, ü", "n": "1"}, {"prompt": "b", "completion": "c", "n": ""}]
TABLE = 'prompt,completion,n\r\n"Wer? ""Ada""\n, oder?","Ja, ü",1\r\nb,c,\r\n'


def mended(path: Path) -> Path:
    with pytest.raises(DataError) as caught:
        read_prompts(path)
    [problem] = caught.value.problems
    assert problem.where == str(path)
    found = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-c", problem.mend[problem.mend.index("un") :].partition(": ")[2]], check=True, env=os.environ | found
    )
    return path.with_name(f"{path.name.split('.')[0]}.mended.jsonl")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.csv", TABLE.encode()),
        ("rows.csv", b"\xef\xbb\xbf" + TABLE.encode()),
        ("rows.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        ("rows.tsv", 'prompt\tcompletion\tn\n"Wer? ""Ada""\n, oder?"\tJa, ü\t1\nb\tc\t\n'.encode()),
    ],
)
def test_tables(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert [row.value for row in read_rows(mended(path))] == ROWS


def test_a_table_with_a_quotation_mark_too_few_is_not_swallowed(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('prompt\tn\n"a\t1\nb\t2\n')
    with pytest.raises(subprocess.CalledProcessError):
        mended(path)


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_other_compressions(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(pack("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    assert [row.value for row in read_rows(mended(path))] == ROWS


def test_a_folder_with_the_files_further_down_names_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.jsonl").touch()
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path)
    assert caught.value.problems[0].mend == f"Name a file itself: {tmp_path}/data/train-00000-of-00001.jsonl"


@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz"])
def test_one_of_several_parts_is_not_taken_for_all(tmp_path: Path, name: str) -> None:
    stem, suffix = name.split(".", 1)
    for number, row in enumerate(ROWS):
        data = (json.dumps(row) + "\n").encode()
        path = tmp_path / f"{stem}-0000{number}-of-00002.{suffix}"
        path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    with pytest.raises(DataError, match="is part 2 of 2") as caught:
        read_rows(tmp_path / f"{stem}-00001-of-00002.{suffix}")
    subprocess.run(["bash", "-c", caught.value.problems[0].mend.removeprefix("Join them: ")], check=True)
    assert [row.value for row in read_rows(tmp_path / name)] == ROWS
    (tmp_path / f"{stem}-00000-of-00002.{suffix}").unlink()
    with pytest.raises(DataError, match=r"is part 2 of 2, and 1 lie there. Put the other parts beside it"):
        read_rows(tmp_path / f"{stem}-00001-of-00002.{suffix}")
