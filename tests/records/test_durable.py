"""Files are whole or absent: after kill -9, with a byte changed, and when the disk refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from disk import small_files

from burnish.errors import DataError, MachineError
from burnish.records import durable

WRITE = """
import sys
from itertools import count
from pathlib import Path
from burnish.records import durable
path = Path(sys.argv[1])
for version in count(int(sys.argv[2])):
    with durable.folder(path) as filling:
        for name in range(6):
            (filling / f"{name}.bin").write_bytes(version.to_bytes(4, "big") * 30_000)
    print(version, flush=True)
"""


def versions(folder: Path) -> set[bytes]:
    return {child.read_bytes()[:4] for child in folder.glob("*.bin")}


def test_a_killed_writer_leaves_the_old_folder_or_the_new(tmp_path: Path) -> None:
    path, seen = tmp_path / "model", 0
    for kill in range(10):
        command = [sys.executable, "-c", WRITE, str(path), str(seen)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.003 * kill)  # spread over the steps of a write
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        durable.sweep(tmp_path)
        assert os.listdir(tmp_path) == ["model"]
        assert len(durable.verify(path)) == 6
        (version,) = versions(path)
        assert int.from_bytes(version, "big") >= seen
        seen = int.from_bytes(version, "big") + 1


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with durable.folder(path) as filling:
        (filling / "a.bin").write_bytes(b"old")
    before = durable.verify(path)
    with pytest.raises(FileNotFoundError), durable.folder(path) as filling:
        (filling / "a.bin").write_bytes((filling / "none").read_bytes())
    assert durable.verify(path) == before
    assert os.listdir(tmp_path) == ["model"]


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with durable.folder(path) as filling:
        (filling / "sub").mkdir()
        for name in ("a.bin", "sub/b.bin"):
            (filling / name).write_bytes(bytes(1000))
    for name in ("a.bin", "sub/b.bin"):
        with open(path / name, "r+b") as file:
            file.seek(500)
            file.write(b"\x01")
        with pytest.raises(DataError, match=f"{name}: changed since it was written") as caught:
            durable.verify(path)
        assert len(caught.value.problems) == 1
        (path / name).write_bytes(bytes(1000))
    durable.verify(path)


def test_missing_added_and_unsealed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with durable.folder(path) as filling:
        (filling / "a.bin").write_bytes(b"a")
    (path / "a.bin").rename(path / "c.bin")
    with pytest.raises(DataError) as caught:
        durable.verify(path)
    mend = f"Remove {path}: the command that made it makes it again."
    assert [str(problem) for problem in caught.value.problems] == [
        f"{path}/a.bin: missing. {mend}",
        f"{path}/c.bin: not in the manifest. {mend}",
    ]
    assert not durable.whole(path)
    (path / durable.MANIFEST).write_text('{"files": ')
    with pytest.raises(DataError, match="the manifest is damaged"):
        durable.verify(path)
    (path / durable.MANIFEST).unlink()
    with pytest.raises(DataError, match=r"no manifest\.json here"):
        durable.verify(path)


def test_a_link_is_not_sealed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a link inside a sealed folder"), durable.folder(tmp_path / "m") as filling:
        (filling / "a").symlink_to("/etc/passwd")
    assert os.listdir(tmp_path) == []


FULL = """
import sys
from pathlib import Path
from burnish.errors import BurnishError
from burnish.records import durable
path = Path(sys.argv[1])
try:
    if sys.argv[2] == "file":
        durable.write_bytes(path / "a.bin", b"new" * 100_000)
    else:
        with durable.folder(path / "model") as filling:
            (filling / "a.bin").write_bytes(b"new" * 100_000)
except BurnishError as error:
    print(error)
    durable.sweep(path)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_full_disk_leaves_what_was(tmp_path: Path, what: str) -> None:
    """On a real file system of 256 KB, mounted in a namespace of its own."""
    script = (
        'mount -t tmpfs -o size=256k none "$1" && mkdir "$1/model"'
        ' && echo old > "$1/a.bin" && echo old > "$1/model/a.bin"'
        ' && { "$2" -c "$3" "$1" "$4"; code=$?; cat "$1/a.bin" "$1/model/a.bin"; ls -A "$1"; exit $code; }'
    )
    command = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        script,
        "sh",
        str(tmp_path),
        sys.executable,
        FULL,
        what,
    ]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if "mount:" in ran.stderr or "unshare:" in ran.stderr:
        pytest.skip("this machine lets no test mount a file system")
    assert ran.returncode == 3, ran.stderr
    assert "cannot be written (No space left on device)" in ran.stdout
    assert "bytes are free" in ran.stdout
    assert ran.stdout.endswith("old\nold\na.bin\nmodel\n")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    durable.write_json(path, {"a": "é"})
    with small_files(4096), pytest.raises((MachineError, OSError)):
        durable.write_bytes(path, bytes(10_000))
    assert path.read_text() == '{\n "a": "é"\n}\n'
    durable.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["a.json"]


def test_canonical_text_is_one() -> None:
    assert durable.canonical({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()
    assert durable.digest_value({"a": 1, "b": 2}) == durable.digest_value({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.canonical(float("nan"))


def test_log_drops_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert durable.read_log(path) == []
    for number in range(5):
        durable.append_line(path, {"n": number})
    with open(path, "ab") as file:
        file.write(b'{"n": 5')
    assert [row["n"] for row in durable.read_log(path)] == [0, 1, 2, 3, 4]
    durable.truncate_log(path, 2)
    assert path.read_bytes() == b'{"n":0}\n{"n":1}\n'


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for version in (b"old", b"new"):
        with durable.folder(path) as filling:
            (filling / "a.bin").write_bytes(version)
        path.rename(tmp_path / f"{durable.OUTGOING}model")  # where such a kill leaves it
        durable.sweep(tmp_path)
        assert (path / "a.bin").read_bytes() == version
        durable.verify(path)
        assert os.listdir(tmp_path) == ["model"]


def test_the_manifest_has_one_text(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with durable.folder(path) as filling:
        (filling / "inner").mkdir()
        (filling / "inner" / durable.MANIFEST).write_bytes(b"{}")
    text = (path / durable.MANIFEST).read_bytes()
    for place in range(len(text)):
        (path / durable.MANIFEST).write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
        with pytest.raises(DataError):
            durable.verify(path)
    (path / durable.MANIFEST).write_bytes(text)
    durable.verify(path)
    (path / "inner" / durable.MANIFEST).write_bytes(b"[]")
    with pytest.raises(DataError, match="changed since it was written"):
        durable.verify(path)
