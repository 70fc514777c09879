from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from evidence_of import changed, reseal, write_run

from burnish.errors import BurnishError, ConfigError, DataError, ModelError, VerdictError
from burnish.records import durable
from burnish.release.bundle import build
from burnish.release.verify import verify, verify_any


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    named = {"policy": "ppo", "name": "tiny", "version": "1.2.0", "license": "mit"}
    build(run / "ppo" / "model", run / "release", write_run(run), **named)
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
def test_evidence_must_give_leave(release: Path, tmp_path: Path, verdict: str, waiver: str, allowed: bool) -> None:
    evidence = write_run(tmp_path / "run", verdict)
    changed(release / "evidence.json", **evidence, waiver=waiver)
    reseal(release)
    if allowed:
        assert verify(release)["waiver"] == waiver
    else:
        with pytest.raises(VerdictError, match="should not have been released"):
            verify(release)


def test_a_verdict_that_the_evidence_does_not_come_to_is_refused(release: Path, tmp_path: Path) -> None:
    """Who writes "pass" over a "fail" and seals it anew would have to make figures too."""
    (tmp_path / "run").mkdir()
    failed = write_run(tmp_path / "run", "fail")
    changed(release / "evidence.json", **{**failed, "decision": {**failed["decision"], "verdict": "pass"}})
    reseal(release)
    with pytest.raises(VerdictError, match="not the one that thresholds and evaluation come to"):
        verify(release)


@pytest.mark.parametrize(
    "wrong",
    [{"decision": []}, {"decision": "pass"}, {"stages": []}, {"evaluation": 3}, {"stages": {"gate": {"settings": 1}}}],
)
def test_evidence_of_another_shape_is_refused_in_words(release: Path, wrong: dict[str, object]) -> None:
    changed(release / "evidence.json", **wrong)
    reseal(release)
    with pytest.raises(VerdictError):
        verify(release)


def test_a_digest_that_was_told_another_way_is_proof_of_origin(release: Path) -> None:
    digest = verify(release)["digest"]
    for told in (digest, digest[:16], digest.upper()):
        assert verify_any(release, told)["digest"] == digest
    changed(release / "evidence.json", purpose="another one")
    reseal(release)
    verify(release)
    with pytest.raises(VerdictError, match="not what was asked for"):
        verify_any(release, digest)
    for none in (digest[:15], "g" * 16, "", "0x" + digest[:20]):
        with pytest.raises(ConfigError, match="is no digest"):
            verify_any(release, none)


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
