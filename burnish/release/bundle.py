"""A release: the trained policy as an ordinary model folder, with its card, its evidence and a manifest.

Copies files; never loads a model. Value and score heads stay behind: who talks to the model has no use for them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from burnish import __version__
from burnish.chat.tokenizer import GENERATION
from burnish.errors import InconclusiveError, ModelError, Problem, VerdictError
from burnish.records import durable
from burnish.release.card import write_card
from burnish.release.evidence import Evidence, read_object, sampling_of
from burnish.release.verify import CARD, EVIDENCE, verify, weights
from burnish.types import Verdict

CARRIED = (
    "config.json",
    GENERATION,
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
"""What a user of the model needs. Everything else of the policy's folder stays in the run."""


def build(
    model: Path,
    out: Path,
    evidence: Evidence,
    *,
    policy: str,
    name: str,
    version: str,
    license: str,
    purpose: str = "",
    waiver: str = "",
    licences: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write the release of the sealed folder `model` to `out`, which is replaced only when all is written.

    `evidence` is what `evidence.gather` says of the run, `policy` the stage that made the model; `waiver` is the reason
    to release on an inconclusive gate; `licences` are the texts that came with the base model, and go out too.
    Returns its facts: name, version, verdict, digest, files, bytes. Raises VerdictError or InconclusiveError where the
    gate gives no leave, DataError where the policy's folder was changed, ModelError where a part of it is missing.
    """
    permit(evidence.get("decision", {}), waiver)
    files = durable.verify(model)
    carried = _carried(model, files)
    with durable.folder(out) as filling:
        for file in carried:
            shutil.copyfile(model / file, filling / file)
        for text in licences:
            shutil.copyfile(text, filling / text.name)
        _draw_as_evaluated(filling, evidence)
        record = {
            "burnish": __version__,
            "name": name,
            "version": version,
            "license": license,
            "licences": [text.name for text in licences],
            "purpose": purpose,
            "waiver": waiver,
            "model": describe(filling),
            "policy": policy,
            "weights": weights({file: files[file] for file in carried}),
            **evidence,
        }
        durable.write_json(filling / EVIDENCE, record)
        durable.write_bytes(filling / CARD, write_card(record).encode())
    sealed = verify(out)
    return {
        **{key: sealed[key] for key in ("name", "version", "verdict", "waiver", "digest")},
        "files": len(sealed["files"]),
        "bytes": sum((out / file).stat().st_size for file in sealed["files"]),
        "weights": weights(sealed["files"]),
    }


def permit(decision: dict[str, Any], waiver: str) -> None:
    """Whether the gate lets this go out. Raises with the gate's own reasons where it does not. A waiver is for evidence
    that does not suffice: it lets no figure pass that was not measured."""
    verdict = decision.get("verdict")
    reasons = [Problem("gate", str(reason).rstrip(".")) for reason in decision.get("reasons", ())]
    missing = [str(each["figure"]) for each in decision.get("thresholds", ()) if each.get("missing")]
    if verdict == Verdict.INCONCLUSIVE.value and missing:
        found = f"the gate asks for figures that are not there ({', '.join(missing)}), so nothing was released"
        raise InconclusiveError(Problem("release", found, "Correct gate.thresholds, or remove them there."), *reasons)
    if verdict == Verdict.PASS.value or (verdict == Verdict.INCONCLUSIVE.value and waiver):
        return
    if verdict == Verdict.INCONCLUSIVE.value:
        mend = "Evaluate more cases, or give release.allow_inconclusive a reason in the recipe: the card prints it."
        raise InconclusiveError(Problem("release", "the gate is inconclusive, so nothing was released", mend), *reasons)
    found = "the gate said no" if verdict == Verdict.FAIL.value else "no gate has decided"
    mend = "The report shows what failed; change the data or the training and run the same command."
    raise VerdictError(Problem("release", f"{found}, so nothing was released", mend), *reasons)


def describe(model: Path) -> dict[str, Any]:
    """Architecture, context length, number of parameters and their types, from the folder's own files."""
    config = read_object(model / "config.json")
    parameters, dtypes = 0, set[str]()
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (not a mapping: it cannot be iterated)
                entry = tensors.get_slice(key)
                parameters += prod(entry.get_shape())
                dtypes.add(entry.get_dtype())
    return {
        "architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0],
        "context": config.get("max_position_embeddings"),
        "parameters": parameters,
        "dtypes": sorted(dtypes),
    }


def _draw_as_evaluated(folder: Path, evidence: Evidence) -> None:
    """Say in `generation_config.json` how the answers were drawn that the gate has judged: what serves such folders
    goes by it where a request says nothing. How long an answer may be stays with whoever serves."""
    sampling = sampling_of(evidence)
    if not sampling:
        return
    drawn: dict[str, Any] = {"do_sample": bool(sampling["temperature"])}
    if sampling["temperature"]:
        drawn |= {"temperature": sampling["temperature"], "top_k": sampling.get("top_k") or 0}
        drawn |= {name: sampling[name] for name in ("top_p", "min_p") if sampling.get(name)}
    if sampling.get("repetition_penalty"):
        drawn["repetition_penalty"] = sampling["repetition_penalty"]
    path = folder / GENERATION
    durable.write_json(path, (read_object(path) if path.is_file() else {}) | drawn)


def _carried(model: Path, files: dict[str, str]) -> list[str]:
    """Names of what goes out."""
    carried = sorted(name for name in files if any(fnmatch(name, pattern) for pattern in CARRIED))
    missing = [name for name in ("config.json", "tokenizer.json") if name not in carried]
    missing += [] if weights(dict.fromkeys(carried, "")) else ["model.safetensors"]
    if missing:
        mend = "Run the stage that makes this model again."
        raise ModelError(
            *(Problem(str(model / name), "missing, so there is nothing to release", mend) for name in missing)
        )
    return carried
