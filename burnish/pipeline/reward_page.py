"""The reward model's section of the report: tables of estimates and a picture of its calibration. Decides nothing.

Who judged is told here, from the stage's own report; the facts that a release carries leave names out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from burnish.pipeline import axis, plots, story
from burnish.release import clauses
from burnish.types import Estimate

_NOTES = {
    "accuracy": "Dot: share of held-out pairs put in the annotators' order, split by prompt. Bar: 95% interval over "
    "prompts. Dashed line: guessing. A reward model is worth using when it stands clear of the length rule and of the "
    "model trained on shuffled labels; above the ceiling it would know more than the labels do.",
    "slices": "The same pairs, sorted by the rows' columns and by length; a quarter more tokens count as longer. Among "
    "many slices some stray by chance: read intervals, not places. A model that scores length does well where the "
    "preferred answer is longer and badly where it is shorter.",
    "annotators": "Of the pairs that an annotator put in order, the share that the model orders alike, and under it "
    "how often the other annotators do. A model cannot be asked to agree with someone more than people do.",
    "probes": "The best answers, changed so that they say nothing more, against themselves. The difference is in "
    "standard deviations of the scores. Policies find what a reward model likes: what it likes here for nothing, they "
    "will do. The added texts are English.",
}


def section(facts: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the page shows of a reward stage, given its facts and what its own report says; None where it shows none."""
    rows = _accuracies(facts)
    if not rows:
        return None
    tables = [
        _table("held-out pairs", "", rows, _NOTES["accuracy"]),
        _table("slice", "Where it is right", [_slice(each) for each in facts.get("slices", ())], _NOTES["slices"]),
        _table(
            "annotator",
            "Whom it agrees with",
            [row for each in report.get("annotators", ()) for row in _annotator(each)],
            _NOTES["annotators"],
        ),
        _table(
            "change",
            "What it likes for nothing",
            [_probe(each) for each in facts.get("probes", ())],
            _NOTES["probes"],
            "change",
        ),
    ]
    return {
        "note": story.REWARD,
        "tables": [table for table in tables if table["rows"]],
        "calibration": _calibration(facts.get("calibration")),
    }


def _table(what: str, title: str, rows: Sequence[dict[str, Any]], note: str, unit: str = "share") -> dict[str, Any]:
    estimates = [row["estimate"] for row in rows]
    line = axis.around_zero(estimates) if unit == "change" else axis.accuracies(estimates)
    mark = 0.0 if unit == "change" else 0.5
    return {"what": what, "title": title, "rows": rows, "note": note, "unit": unit, "axis": line, "mark": mark}


def _row(title: str, note: str, estimate: object, colour: str = "reward", *, more: bool = False) -> dict[str, Any]:
    return {"title": title, "note": note, "estimate": _estimate(estimate), "colour": colour, "more": more}


def _accuracies(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for key, (title, note, colour) in story.ACCURACIES.items():
        if clauses.estimate_in(facts.get(key)):
            rule = f"{facts[key]['rule']}, {note}" if "rule" in facts[key] else note
            rows.append(_row(title, rule, facts[key], colour))
    return rows


def _slice(found: Mapping[str, Any]) -> dict[str, Any]:
    return _row(f"{found['column']}: {found['value']}", f"{clauses.count(found['pairs'])} pairs", found["accuracy"])


def _annotator(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [_row(str(found["annotator"]), "and the model", found["model"])]
    if found["others"]:
        rows.append(_row("", "and the other annotators", found["others"], "other", more=True))
    return rows


def _probe(found: Mapping[str, Any]) -> dict[str, Any]:
    note = f"{found['says']}; preferred on {clauses.percent(found['preferred']['value'])} of the prompts"
    return _row(str(found["probe"]), note, found["difference"])


def _calibration(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Figures and a picture of what its stated chances are worth."""
    if not found:
        return None
    curve = calibration_curve(found)
    return {"says": _says(found), "svg": Markup(plots.draw(curve)), "title": curve.title, "caption": curve.caption}


def calibration_curve(found: Mapping[str, Any]) -> plots.Curve:
    """Of each bin, how often its pairs were right against how sure of them the model was: a half at least."""
    bins = found["bins"]
    return plots.Curve(
        title="Stated and real chances",
        x=[each["confidence"] for each in bins],
        y=[each["right"]["value"] for each in bins],
        ends=[(each["right"]["low"], each["right"]["high"]) for each in bins],
        x_label="chance that it gives to its own choice",
        y_label="share right",
        caption="A dot for pairs of like confidence, as many in each; bars are 95% intervals. On the dashed line, "
        "chances come true as often as they say; below it, the model is too sure of itself.",
        colour="reward",
        share=True,
        diagonal=True,
        x_from=0.49,
        x_to=1.01,
        noisy=False,
    )


def _says(found: Mapping[str, Any]) -> str:
    temperature = _estimate(found["temperature"])
    low, high = (clauses.number(end) for end in (temperature.low, temperature.high))
    reading = "too sure" if temperature.low > 1 else "not sure enough" if temperature.high < 1 else ""
    verdict = (
        f"It is {reading} of itself" if reading else "It is neither too sure of itself nor too unsure, as far as shown"
    )
    return (
        f"Expected calibration error {clauses.rate(found['error'])}; exact chances would show "
        f"{clauses.percent(found['error_by_chance'])} with as many pairs. {verdict}: dividing its score differences by "
        f"{clauses.number(temperature.value)} ({low} to {high}) fits best, and leaves "
        f"{clauses.percent(found['error_at_temperature'])}. Brier score "
        f"{clauses.number(_estimate(found['brier']).value)}, where saying one half of every pair has 0.25."
    )


def _estimate(value: object) -> Estimate:
    found = clauses.estimate_in(value)
    assert found is not None, "a figure has an interval"
    return found
