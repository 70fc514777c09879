"""How far a run is, from its own files. Knows records; opens no data file, no model and no database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from burnish.pipeline import run_folder
from burnish.pipeline.graph import GRAPH, Graph, chosen
from burnish.pipeline.record import begun, output_digest, read_record
from burnish.pipeline.stage import Stage
from burnish.release.clauses import clauses


def status(run: Path, graph: Graph = GRAPH) -> dict[str, Any]:
    """Each stage with its state: done, stale (an input has changed since, or its output has), begun, or to do."""
    recipe = run_folder.read_copy(run)
    outputs: dict[str, str] = {}
    stages = [_state(stage, run, outputs) for stage in chosen(recipe, graph, None)]
    return {
        "run": str(run),
        "recipe": recipe.name,
        "done": all(stage["state"] == "done" for stage in stages),
        "stages": stages,
    }


def as_text(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{found['recipe']} in {found['run']}"]
    lines += [f"  {each['stage']:<9} {each['state']:<6} {each['found']}".rstrip() for each in found["stages"]]
    return "\n".join(lines)


def _state(stage: Stage, run: Path, outputs: dict[str, str]) -> dict[str, Any]:
    record = read_record(stage, run)
    if record is None:
        state = "begun" if begun(stage, run) else "to do"
        return {"stage": stage.name, "state": state, "key": None, "output": None, "found": ""}
    fresh = all(outputs.get(name) == digest for name, digest in record.inputs.items())
    whole = output_digest(stage, run) == record.output
    if fresh and whole:
        outputs[stage.name] = record.output
    return {
        "stage": stage.name,
        "state": "done" if fresh and whole else "stale",
        "key": record.key,
        "output": record.output,
        "seconds": record.seconds,
        "finished": record.finished,
        "found": ", ".join(clauses(stage.name, record.facts)),
        "facts": record.facts,
    }
