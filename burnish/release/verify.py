"""Whether a release is what it says: every byte, and that its evidence is about these very weights. Loads no model.

What it proves is integrity, not origin: who can write the folder can seal another one. Its digest, told another way, is
proof of origin; signatures are not here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, DataError, ModelError, Problem, VerdictError
from burnish.records import durable
from burnish.release.doubt import doubtful
from burnish.release.evidence import read_object
from burnish.release.gate import Threshold, decide
from burnish.types import Verdict

EVIDENCE = "evidence.json"
CARD = "README.md"
REQUIRED = ("config.json", "tokenizer.json", CARD, EVIDENCE)


def verify(folder: Path) -> dict[str, Any]:
    """What the release is, after checking every byte of it.

    Raises DataError where a byte, a name or the manifest itself was changed, ModelError where a part is missing, and
    VerdictError where the evidence is about other weights or gives no leave to release.
    """
    _check_manifest(folder)
    files = durable.verify(folder)
    _check_parts(folder, files)
    evidence = read_object(folder / EVIDENCE)
    _check_evidence(folder, evidence, files)
    return {
        "folder": str(folder),
        "name": evidence["name"],
        "version": evidence["version"],
        "verdict": evidence["decision"]["verdict"],
        "waiver": evidence["waiver"],
        "files": files,
        "digest": durable.digest_folder(folder),
    }


def verify_any(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """A release as `verify` has it; another sealed folder's files and digest, after checking every byte.

    `digest`: what its digest should be, as somebody who is trusted has said it, or its first 16 digits and more. Raises
    as `verify` does, ConfigError for what is no digest, and VerdictError for a folder with another one.
    """
    if digest is not None and not re.fullmatch(r"[0-9a-f]{16,64}", digest.lower()):
        raise ConfigError(Problem("--digest", f"{digest!r} is no digest", "Give 16 to 64 hexadecimal digits."))
    found: dict[str, Any] = {"folder": str(folder)}
    if (folder / EVIDENCE).is_file():
        found = verify(folder)
    else:
        found |= {"files": durable.verify(folder), "digest": durable.digest_folder(folder)}
    if digest is not None and not found["digest"].startswith(digest.lower()):
        raise VerdictError(Problem(str(folder), f"its digest is {found['digest']}: it is not what was asked for"))
    return found


def weights(files: dict[str, str]) -> dict[str, str]:
    """The weight files among a sealed folder's files."""
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}


def _check_manifest(folder: Path) -> None:
    """The manifest cannot hold its own digest; instead exactly one text is allowed for what it says."""
    manifest = folder / durable.MANIFEST
    if not manifest.is_file():
        raise DataError(Problem(str(folder), f"no {durable.MANIFEST} here: this is no release", "Name its folder."))
    files = read_object(manifest).get("files")
    if not isinstance(files, dict) or manifest.read_bytes() != _manifest_text(files):
        raise DataError(Problem(str(manifest), "changed since it was written"))
    hidden = [path for path in folder.rglob(durable.MANIFEST) if path != manifest]
    if hidden:
        raise DataError(*(Problem(str(path), "not in the manifest") for path in hidden))


def _manifest_text(files: dict[str, Any]) -> bytes:
    ordered = {name: files[name] for name in sorted(files, key=Path)}
    return (json.dumps({"files": ordered}, indent=1, ensure_ascii=False) + "\n").encode()


def _check_parts(folder: Path, files: dict[str, str]) -> None:
    missing = [name for name in REQUIRED if name not in files]
    missing += [] if weights(files) else ["*.safetensors"]
    if missing:
        raise ModelError(*(Problem(str(folder / name), "missing: the release is not whole") for name in missing))


def _check_evidence(folder: Path, evidence: dict[str, Any], files: dict[str, str]) -> None:
    where = str(folder / EVIDENCE)
    lacking = [key for key in ("name", "version", "waiver", "decision") if key not in evidence]
    lacking += [] if isinstance(evidence.get("decision", {}), dict) else ["decision"]
    if lacking:
        raise VerdictError(Problem(where, f"no evidence of a release: {', '.join(lacking)} missing"))
    if evidence.get("weights") != weights(files):
        raise VerdictError(Problem(where, "the evidence was gathered on other weights than these"))
    verdict = _verdict(evidence)
    if verdict is None or verdict != evidence["decision"].get("verdict"):
        raise VerdictError(Problem(where, "the verdict is not the one that thresholds and evaluation come to"))
    waived = verdict == Verdict.INCONCLUSIVE.value and bool(evidence["waiver"])
    if verdict != Verdict.PASS.value and not waived:
        raise VerdictError(Problem(where, f'the gate said "{verdict}": this should not have been released'))


def _verdict(evidence: dict[str, Any]) -> str | None:
    """What the gate says of the evidence, decided anew; None where the evidence cannot be judged."""
    try:
        asked = evidence["stages"]["gate"]["settings"]["thresholds"]
        thresholds = [Threshold.model_validate(each) for each in asked]
        return decide(evidence["evaluation"], thresholds, doubtful(evidence)).verdict.value
    except (LookupError, TypeError, AttributeError, ValueError):
        return None
