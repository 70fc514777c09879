"""Files that are whole or absent, and the digests that say so. Knows bytes and folders, nothing of what they mean.

A file is written aside, flushed to the disk and renamed; a folder likewise, with a manifest of SHA-256 digests as the
last thing inside it. A reader that finds a folder without its manifest, or with one byte changed, refuses it. Nothing
else in burnish opens a file for writing that a later step reads, but for logs that grow line by line (`append_line`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from burnish.errors import DataError, MachineError, Problem

MANIFEST = "manifest.json"
ASIDE = ".tmp-"
"""Prefix of what is being written; a run that finds such a leftover removes it."""
OUTGOING = f"{ASIDE}old-"
"""Prefix of a folder that is being replaced; where its successor did not arrive, it is brought back."""


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN. Digests of settings are taken of it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def readable(value: Any) -> bytes:
    """A value as `write_json` writes it."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """SHA-256 of a JSON value's canonical text."""
    return digest_bytes(canonical(value))


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """The file holds exactly `data`, or what it held before. Raises MachineError when the disk refuses."""
    with written_aside(path, len(data)) as aside:
        aside.write_bytes(data)


@contextmanager
def written_aside(path: Path, size: int = 0) -> Generator[Path, None, None]:
    """A path to write a whole file to; it becomes `path` when the block ends, and nothing at all if that raises."""
    aside = path.with_name(f"{ASIDE}{path.name}")
    with disk_errors(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            with open(aside, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)  # on a full disk the half of it is room that is needed
            raise
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Readable JSON with a final newline; keys keep their order."""
    write_bytes(path, readable(value))


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One JSON value a line."""
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_bytes(path, text.encode())


def append_line(path: Path, value: Any) -> None:
    """One line added to a log. A kill can leave the last line half written: `read_log` drops such a tail."""
    append_lines(path, [value])


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Several at once; a kill may leave some of them, the last one half written."""
    lines = b"".join(canonical(value) + b"\n" for value in values)
    with disk_errors(path, len(lines)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(lines)


def read_log(path: Path) -> list[Any]:
    """Every whole line of a log written by `append_line`; [] where there is none yet."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]


def truncate_log(path: Path, keep: int) -> int:
    """Keep the first `keep` whole lines: what a resumed run will write again must not stand there twice. Returns how
    many there are."""
    rows = read_log(path)[:keep]
    if path.exists():
        write_bytes(path, b"".join(canonical(row) + b"\n" for row in rows))
    return len(rows)


@contextmanager
def folder(path: Path) -> Generator[Path, None, None]:
    """Fill the yielded folder; on leaving it gets its manifest, reaches the disk and takes the name `path`.

    A folder that stands there already is replaced only then. An exception inside leaves `path` as it was.
    """
    aside = path.with_name(f"{ASIDE}{path.name}")
    outgoing = path.with_name(f"{OUTGOING}{path.name}")
    _bring_back(outgoing)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with disk_errors(path, 0):
            aside.mkdir(parents=True)
            yield aside
            seal(aside)
            if path.exists():
                os.rename(path, outgoing)  # a kill between these two renames is made good by `sweep`
            os.rename(aside, path)
            _sync_folder(path.parent)
            shutil.rmtree(outgoing, ignore_errors=True)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def seal(path: Path) -> dict[str, str]:
    """Flush every file of the folder and write its manifest: relative name -> SHA-256."""
    digests = _digests(path)
    for name in digests:
        with open(path / name, "rb") as file:
            os.fsync(file.fileno())
    for inner in {(path / name).parent for name in digests}:
        _sync_folder(inner)
    write_json(path / MANIFEST, {"files": digests})
    return digests


def verify(path: Path) -> dict[str, str]:
    """The digests of a sealed folder, after checking every byte. Raises DataError naming each file that differs, and
    the folder to remove: in a run, a stage that lacks it makes it again."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise DataError(Problem(str(path), f"no {MANIFEST} here: the folder is unfinished or not one of burnish's"))
    mend = f"Remove {path}: the command that made it makes it again."
    if (claimed := _claimed(manifest)) is None:
        raise DataError(Problem(str(manifest), "the manifest is damaged and names no files", mend))
    if manifest.read_bytes() != readable({"files": claimed}):  # the one text that says this; it has no digest itself
        raise DataError(Problem(str(manifest), "changed since it was written", mend))
    found = _digests(path)
    problems = [
        Problem(str(path / name), "changed since it was written" if name in found else "missing", mend)
        for name, digest in claimed.items()
        if found.get(name) != digest
    ]
    problems += [Problem(str(path / name), "not in the manifest", mend) for name in found.keys() - claimed.keys()]
    if problems:
        raise DataError(*problems)
    return claimed


def whole(path: Path) -> bool:
    """Whether a sealed folder is there with every byte as it was written."""
    try:
        verify(path)
    except DataError:
        return False
    return True


def digest_folder(path: Path) -> str | None:
    """One digest for a sealed folder: that of its manifest's file list. None where that is damaged or missing, or a
    file that it names is; what the files hold is not read."""
    claimed = _claimed(path / MANIFEST)
    if claimed is None or not all((path / name).is_file() for name in claimed):
        return None
    return digest_value(claimed)


def sweep(path: Path) -> list[str]:
    """Undo what an interrupted write left among `path`'s children; returns the names removed."""
    if not path.is_dir():
        return []
    for outgoing in list(path.glob(f"{OUTGOING}*")):
        _bring_back(outgoing)
    left = list(path.glob(f"{ASIDE}*"))
    for child in left:
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    return sorted(child.name for child in left)


def _claimed(manifest: Path) -> dict[str, str] | None:
    """The digests that a manifest states; None where it is missing or damaged."""
    try:
        claimed = json.loads(manifest.read_bytes())["files"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return claimed if isinstance(claimed, dict) else None


def _digests(path: Path) -> dict[str, str]:
    names = sorted(child for child in path.rglob("*") if child.is_file() or child.is_symlink())
    for name in names:
        if name.is_symlink():
            raise DataError(Problem(str(name), "a link inside a sealed folder"))
    return {name.relative_to(path).as_posix(): digest_file(name) for name in names if name != path / MANIFEST}


def _bring_back(outgoing: Path) -> None:
    """A folder that was moved away for a successor that never came takes its name again; else it goes."""
    home = outgoing.with_name(outgoing.name.removeprefix(OUTGOING))
    if outgoing.exists() and not home.exists():
        os.rename(outgoing, home)
    shutil.rmtree(outgoing, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(path: Path, size: int) -> Generator[None, None, None]:
    """MachineError in place of a disk's refusals inside. `size`: bytes that are needed, 0 where nobody knows."""
    try:
        yield
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EFBIG,
            errno.EROFS,
            errno.EACCES,
            errno.EIO,
            errno.EDQUOT,
            errno.EPERM,
            errno.ENAMETOOLONG,
        ):
            raise
        free = shutil.disk_usage(next(parent for parent in path.parents if parent.exists())).free
        needed = f", needs {size:,} bytes" if size else ""
        raise MachineError(
            Problem(
                str(path),
                f"cannot be written ({os.strerror(error.errno)}); {free:,} bytes are free{needed}",
                "Make room or choose another folder with --out, then run the same command: it continues.",
            )
        ) from error
