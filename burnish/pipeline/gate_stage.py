"""The gate stage: thresholds against the evaluation. It states a verdict; a bad one is raised by release, not here."""

from __future__ import annotations

from burnish.pipeline.stage import Context, Facts
from burnish.records.durable import write_json
from burnish.release.doubt import doubtful
from burnish.release.evidence import gather, read_object
from burnish.release.gate import decide

DECISION = "decision.json"


def run(context: Context) -> Facts:
    """Write decision.json."""
    gate = context.recipe.gate
    assert gate is not None
    evaluation = read_object(context.inputs["evaluate"] / "evaluation.json")
    decision = decide(evaluation, gate.thresholds, doubtful(gather(context.run)))
    write_json(context.folder / DECISION, decision.as_json())
    return {"verdict": decision.verdict.value, "thresholds": len(gate.thresholds), "reasons": list(decision.reasons)}
