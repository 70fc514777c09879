from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from evidence_of import changed, reseal, write_run

from burnish.errors import BurnishError, DataError, ModelError, VerdictError
from burnish.records import durable
from burnish.release.bundle import build
from burnish.release.verify import verify


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    build(run / "ppo" / "model", run / "release", write_run(run), name="tiny", version="1.2.0", license="mit")
    return run / "release"


@pytest.fixture
def release(tmp_path: Path, built: Path) -> Path:
    return shutil.copytree(built, tmp_path / "release")


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_a_release_says_what_it_is(release: Path) -> None:
    found = verify(release)
    assert (found["name"], found["version"], found["verdict"]) == ("tiny", "1.2.0", "pass")
    assert found["digest"] == durable.digest_folder(release)
    assert set(found["files"]) == {path.name for path in release.iterdir()} - {"manifest.json"}


def test_any_byte_of_any_file_changed_is_refused(release: Path) -> None:
    draw = random.Random(2)
    for path in sorted(release.iterdir()):
        before = path.read_bytes()
        for _ in range(20):
            flip(path, draw.randrange(len(before)), draw.randrange(8))
            with pytest.raises(BurnishError) as caught:
                verify(release)
            assert caught.value.exit_code != 0
            path.write_bytes(before)
    verify(release)


def test_the_manifest_protects_itself_from_end_to_end(release: Path) -> None:
    manifest = release / "manifest.json"
    before = manifest.read_bytes()
    for place in range(0, len(before), 7):
        flip(manifest, place, 0)
        with pytest.raises(BurnishError):
            verify(release)
        manifest.write_bytes(before)


@pytest.mark.parametrize("more", [b"\n", b" ", b"{}"])
def test_a_manifest_with_anything_added_is_refused(release: Path, more: bytes) -> None:
    manifest = release / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + more)
    with pytest.raises(DataError):
        verify(release)


def test_a_manifest_that_says_the_same_in_other_bytes_is_refused(release: Path) -> None:
    manifest = release / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'": "', b'":  "', 1))
    with pytest.raises(DataError, match="changed since it was written"):
        verify(release)


def test_a_file_added_removed_or_renamed_is_refused(release: Path) -> None:
    (release / "extra.txt").write_text("hello")
    with pytest.raises(DataError, match="not in the manifest"):
        verify(release)
    (release / "extra.txt").unlink()
    (release / "chat_template.jinja").rename(release / "template.jinja")
    with pytest.raises(DataError, match="missing"):
        verify(release)


def test_a_manifest_in_a_folder_below_hides_nothing(release: Path) -> None:
    (release / "below").mkdir()
    (release / "below" / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="not in the manifest"):
        verify(release)


def test_other_weights_under_the_same_evidence_are_refused(release: Path) -> None:
    flip(release / "model.safetensors", -1, 0)
    reseal(release)
    durable.verify(release)
    with pytest.raises(VerdictError, match="gathered on other weights") as caught:
        verify(release)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("verdict", "waiver", "allowed"), [("fail", "x", False), ("inconclusive", "", False), ("inconclusive", "x", True)]
)
def test_evidence_must_give_leave(release: Path, verdict: str, waiver: str, allowed: bool) -> None:
    changed(release / "evidence.json", decision={"verdict": verdict, "reasons": []}, waiver=waiver)
    reseal(release)
    if allowed:
        assert verify(release)["waiver"] == waiver
    else:
        with pytest.raises(VerdictError, match="should not have been released"):
            verify(release)


def test_all_missing_parts_are_told_at_once(release: Path) -> None:
    for name in ("README.md", "model.safetensors"):
        (release / name).unlink()
    reseal(release)
    with pytest.raises(ModelError) as caught:
        verify(release)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"files": []}', "{", '{"files": {"config.json": 3}}'])
def test_a_manifest_that_is_none_is_refused(release: Path, text: str) -> None:
    (release / "manifest.json").write_text(text)
    with pytest.raises(DataError):
        verify(release)


def test_a_folder_without_a_manifest_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this is no release"):
        verify(tmp_path)
