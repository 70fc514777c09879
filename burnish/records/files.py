"""Finding and opening a data file. Knows names, permissions, compression and what a file's first bytes say; no rows."""

from __future__ import annotations

import gzip
import io
import os
import re
import shlex
import stat
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from difflib import get_close_matches
from glob import escape
from pathlib import Path

from burnish.errors import ConfigError, DataError, MachineError, Problem, plain

SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz", ".parquet")
"""What counts as a data file where a folder is given."""
NAME_BYTES = 255
"""File systems have no longer names."""
HUB_ID = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
"""The form of a Hub id, with its revision or without."""
HEAD = 4096
"""Bytes looked at to tell JSON lines from something else."""
_FROM_TABLE = (
    'python -c "import csv, json, sys; csv.field_size_limit(2**30); '
    "sys.stdin.reconfigure(encoding='utf-8-sig', newline=''); [print(json.dumps(row, ensure_ascii=False)) "
    "for row in csv.DictReader(sys.stdin, dialect='{}', strict=True)]\""
)
_TABLES = {".csv": "excel", ".tsv": "excel-tab"}
_FROM_PARQUET = (
    'python -c "import json, sys, pyarrow.parquet as p; [print(json.dumps(row, ensure_ascii=False, default=str)) '
    'for name in sys.argv[1:] for batch in p.ParquetFile(name).iter_batches() for row in batch.to_pylist()]"'
)
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\..+)")
"""One of several files that are one, as the Hub has large ones."""
_UNPACKERS = {"compressed by bzip2": "bzip2 -dc", "compressed by xz": "xz -dc", "compressed by zstd": "zstd -dc"}
_CONVERTED = (".csv", ".tsv", ".zst", ".xz", ".bz2", ".arrow")
"""Of these a folder is told by name, and the file itself how it is converted."""

_MAGIC = (
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a zip archive, as torch.save and numpy write"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"ARROW1", "an Arrow file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"GGUF", "a GGUF model"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
)
_PICKLES = (b"(dp", b"(lp", b"(d.", b"}q\x00", b"]q\x00", *(b"\x80" + bytes([version]) for version in range(2, 6)))

Stream = io.BufferedReader | gzip.GzipFile


def shell(path: Path | str) -> str:
    """A path as one shell word. Control characters are escaped for the screen: such a name cannot be pasted."""
    return plain(shlex.quote(str(path)), 1000)


def rewrite(path: Path, command: str) -> str:
    """A shell line that puts a file through `command` into a new file beside it."""
    kind = ".txt" if ".txt" in path.suffixes else ".jsonl"
    new = shell(path.with_name(f"{path.name.split('.')[0]}.mended{kind}"))
    opener = {".gz": "zcat", ".parquet": _FROM_PARQUET}.get(path.suffix)
    return f"{opener} {shell(path)} | {command} > {new}" if opener else f"{command} < {shell(path)} > {new}"


def cache_folder() -> Path:
    """Where what can be made again is kept, unpacked models and compiled code: $BURNISH_CACHE, or burnish in the user's
    cache folder."""
    own = os.environ.get("BURNISH_CACHE")
    return Path(own) if own else Path.home() / ".cache" / "burnish"


def located(name: str, base: Path) -> Path:
    """Where a path that somebody wrote lies: as it is when absolute, else under `base`; ~ is a home.

    Raises ConfigError for what no file can be called. Whether one is there is not said.
    """
    try:
        path = base / Path(name).expanduser()
    except RuntimeError as error:  # pathlib's
        raise ConfigError(
            Problem(plain(name), "~ and a name that no user of this machine has", "Write it out.")
        ) from error
    if any(len(os.fsencode(part)) > NAME_BYTES for part in path.parts):
        raise ConfigError(
            Problem(plain(name), f"a file's name has {NAME_BYTES} bytes at most", "Give a path that is there.")
        )
    return path


def data_file(path: Path) -> Path:
    """The data file at `path`: itself, or the one data file of a folder. Raises DataError naming what is near."""
    if path.is_dir():
        return _only_file(path)
    if not _exists(path):
        raise DataError(Problem(str(path), "there is no such file", _near(path)))
    if not path.is_file():
        raise DataError(Problem(str(path), "is neither a file nor a folder"))
    if (part := _PART.fullmatch(path.name)) and int(part[3]) > 1:
        raise DataError(_of_several(path, part))
    return path


@contextmanager
def opened(path: Path) -> Generator[Stream, None, None]:
    """A file's bytes, gunzipped where its first two bytes say gzip, whatever its name.

    Raises MachineError when it may not be read, DataError when the compression is damaged or ends early.
    """
    with _read_errors(path), open(path, "rb") as file:
        if file.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield unzipped
        else:
            yield file


def foreign(path: Path, head: bytes) -> Problem | None:
    """What a file is instead of UTF-8 text, judged by its first bytes; None where nothing speaks against it."""
    if head.startswith(_PICKLES):
        return Problem(
            str(path),
            "not JSON (pickle header): a pickle can run code and is never opened",
            "Ask for it as JSON lines.",
        )
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return Problem(str(path), f"not JSON lines but {what}", _conversion(path, what))
    encoding = _wide_encoding(head)
    if encoding:
        mend = f"Run: {rewrite(path, f'iconv -f {encoding} -t UTF-8')}"
        return Problem(str(path), f"the text is {encoding}; UTF-8 is wanted", mend)
    suffix = path.suffixes[-2:-1] if path.suffix == ".gz" else path.suffixes[-1:]
    dialect = _TABLES.get("".join(suffix).lower())
    if dialect and not head.lstrip().startswith((b"{", b"[")):
        quoted = (
            " (with quoting=csv.QUOTE_NONE for strict=True, if quotation marks are text)" if suffix == [".tsv"] else ""
        )
        mend = f"Run{quoted}: {rewrite(path, _FROM_TABLE.format(dialect))}"
        return Problem(str(path), "a table of separated values; one JSON object a line is wanted", mend)
    return None


def _conversion(path: Path, what: str) -> str:
    return f"Run: {rewrite(path, _UNPACKERS[what])}" if what in _UNPACKERS else "Convert it to JSON lines first."


def _wide_encoding(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "UTF-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    if head.count(0) * 4 < len(head) or not head:
        return None
    return "UTF-16LE" if head[0] else "UTF-16BE"


def _only_file(folder: Path) -> Path:
    with _read_errors(folder):
        children = sorted(folder.iterdir())
    found = [child for child in children if child.name.endswith(SUFFIXES) and not child.name.startswith(".")]
    names = ", ".join(child.name for child in found[:8])
    first = f"Name the data file itself: {shell(found[0])}" if found else ""
    scripts = [child.name for child in children if child.suffix == ".py"]
    if scripts:
        raise DataError(Problem(str(folder), f"the folder contains code ({scripts[0]}), which is not run", first))
    if not found:
        found = f"the folder holds no data file ({', '.join(SUFFIXES)})"
        raise DataError(Problem(str(folder), found, _deeper(folder)))
    if len(found) > 1:
        raise DataError(Problem(str(folder), f"the folder holds {len(found)} data files ({names})", first))
    return found[0]


def _deeper(folder: Path) -> str:
    """A data file in a folder below, or one that can be converted."""
    with _read_errors(folder):
        files = sorted(path for path in folder.rglob("*") if path.name.endswith((*SUFFIXES, *_CONVERTED)))
    return f"Name a file itself: {shell(files[0])}" if files else ""


def _of_several(path: Path, part: re.Match[str]) -> Problem:
    """The problem of a part: what is read is one file."""
    name, number, count, suffix = part.groups()
    whole = path.with_name(f"{name}.jsonl{'.gz' if suffix.endswith('.gz') else ''}")
    parts = f"{shell(path.with_name(name))}-*-of-{count}{suffix}"
    join = f"{_FROM_PARQUET} {parts}" if suffix == ".parquet" else f"cat {parts}"
    there = len([*path.parent.glob(f"{escape(name)}-*-of-{count}{suffix}")])
    mend = f"Join them: {join} > {shell(whole)}" if there == int(count) else "Put the other parts beside it."
    return Problem(str(path), f"is part {int(number) + 1} of {int(count)}, and {there} lie there", mend)


def _exists(path: Path) -> bool:
    with _read_errors(path):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
            return False
        return True


def _near(path: Path) -> str:
    """The nearest existing name, in the deepest folder of the path that exists."""
    parent, name = path.parent, path.name
    while not parent.is_dir() and parent != parent.parent:
        parent, name = parent.parent, parent.name
    with _read_errors(parent):
        close = get_close_matches(name, [child.name for child in parent.iterdir()], n=1, cutoff=0.5)
    return f"Did you mean {shell(parent / close[0])}?" if close else f"Nothing like it lies in {shell(parent)}."


@contextmanager
def _read_errors(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except PermissionError as error:
        raise MachineError(_forbidden(path)) from error
    except EOFError as error:
        raise DataError(
            Problem(str(path), "the gzip data end early: the file looks truncated", "Copy it again, whole.")
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(Problem(str(path), f"the gzip data are damaged ({error})", "Copy it again, whole.")) from error
    except OSError as error:
        raise MachineError(Problem(str(path), f"cannot be read ({error.strerror or error})")) from error


def _forbidden(path: Path) -> Problem:
    try:
        found = path.stat()
    except OSError:
        return Problem(str(path), "may not be read: one of the folders above it may not be entered")
    return Problem(
        str(path),
        f"may not be read by this user (owner {_owner(path)}, mode {stat.filemode(found.st_mode)})",
        f"Run as its owner: chmod a+r {shell(path)}",
    )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # a numeric owner without a name, as in containers
        return str(path.stat().st_uid)
