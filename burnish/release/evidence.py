"""What a run folder says of itself, in one JSON value. Knows the names of files; opens no model and no database.

A run of some stages only is fine: what was not done is absent, and the card says "Not assessed".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.config import load_yaml
from burnish.errors import DataError, Problem
from burnish.records import durable

STAGES = ("sft", "collect", "reward", "dpo", "kto", "distill", "rft", "online_dpo", "ppo", "grpo", "evaluate", "gate")
"""The stages that a release can rest on, in the order of a run."""
FACTS = "stage.json"
"""Written last by a stage: where it lies, the stage is done."""

Evidence = dict[str, Any]


def gather(run: Path) -> Evidence:
    """Everything that the run's files record: recipe, environment, stages, snapshot, evaluation and decision.

    Only what hangs together counts: a stage that the recipe no longer has, or that read something else than what lies
    there now, is left out with all that rests on it. Raises DataError where a file is no JSON object, or where `run`
    holds no finished stage.
    """
    recipe = load_yaml(run / "recipe.yaml").value if (run / "recipe.yaml").is_file() else {}
    stages: dict[str, Any] = {}
    for name in STAGES:
        record = _object_if_there(run / name / FACTS)
        if record and (recipe.get(name) is not None or not recipe) and rests_on(record, stages):
            stages[name] = record
    if not stages:
        raise DataError(Problem(str(run), "holds no finished stage", "Run: burnish run RECIPE --out FOLDER"))
    for section in (recipe.get("collect"), stages.get("collect", {}).get("settings")):
        _keep_address(section or {})
    return {
        "recipe": recipe,
        "environment": _object_if_there(run / "env.json"),
        "stages": stages,
        "snapshot": snapshot_of(run) if "collect" in stages else {},
        "evaluation": _object_if_there(run / "evaluate" / "evaluation.json") if "evaluate" in stages else {},
        "decision": _object_if_there(run / "gate" / "decision.json") if "gate" in stages else {},
    }


def _keep_address(section: dict[str, Any]) -> None:
    """Of the address of a preference database its kind alone goes out: no host, and nobody's name."""
    if "://" in str(section.get("store")):
        section["store"] = section["store"].partition("://")[0]


def rests_on(record: Mapping[str, Any], stages: Mapping[str, Any]) -> bool:
    """Whether all that a stage read is what these stages made."""
    inputs: Mapping[str, str] = record.get("inputs", {})
    return all(name in stages and stages[name]["output"] == digest for name, digest in inputs.items())


def facts_of(evidence: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The facts that a stage recorded; {} where it did not run."""
    return evidence.get("stages", {}).get(stage, {}).get("facts", {})


def sampling_of(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """How the answers were drawn that the evaluation is of; {} where there is none."""
    return evidence.get("stages", {}).get("evaluate", {}).get("settings", {}).get("sampling") or {}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises DataError naming the line where it stops being one."""
    try:
        value = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"{path}:{error.lineno}:{error.colno}", f"no JSON here ({error.msg})")) from error
    except UnicodeDecodeError as error:
        raise DataError(Problem(str(path), f"no UTF-8 text at byte {error.start}")) from error
    if not isinstance(value, dict):
        raise DataError(Problem(str(path), "holds no JSON object"))
    return value


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file that burnish wrote; [] without one. Raises DataError for a damaged one."""
    try:
        return durable.read_log(path)
    except ValueError as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: ValueError) -> DataError:
    """What is raised where a line of a JSON-lines file is no JSON."""
    return DataError(Problem(str(path), f"a line of it is no JSON ({error})"))


def _object_if_there(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def snapshot_of(run: Path) -> dict[str, Any]:
    """The record of a run's snapshot; the judgements' ids become their count and digest, and languages are counted."""
    folder = run / "collect" / "snapshot"
    if not folder.is_dir():
        return {}
    record = _object_if_there(folder / "snapshot.json")
    ids = sorted(record.pop("judgements", []))
    rows = [row for split in ("train", "heldout") for row in read_rows(folder / f"{split}.jsonl")]
    languages = Counter(str(row.get("meta", {}).get("language", "")) for row in rows)
    return {
        **record,
        "judgements": {"count": len(ids), "digest": durable.digest_value(ids)},
        "languages": {name: count for name, count in sorted(languages.items()) if name},
    }
