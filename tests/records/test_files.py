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
from burnish.records.formats import read_labelled, read_prompts
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
        ("rows.csv.gz", gzip.compress(TABLE.encode())),
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


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    turns = [{"role": "user", "content": "Hi"}]
    rows = [{"prompt": turns, "completion": "Ja, ü", "label": label, "score": None} for label in (True, False)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet")
    path = mended(tmp_path / "train-00000-of-00001.parquet")
    assert [row.value for row in read_rows(path)] == rows
    assert [each.desirable for each in read_labelled(path)] == [True, False]


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_other_compressions(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(pack("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    assert [row.value for row in read_rows(mended(path))] == ROWS


def test_a_folder_with_the_files_further_down_names_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path)
    assert caught.value.problems[0].mend == f"Name a file itself: {tmp_path}/data/train-00000-of-00001.parquet"
