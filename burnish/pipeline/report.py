"""report.html: one page on what a run did and what came of it. Reads the run's files; decides nothing.

The page holds everything it shows, loads nothing and runs no script; all recorded text is escaped. A run of some stages
only gives a page of the sections that it has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from burnish import __version__
from burnish.pipeline import axis, curves, lineage, plots, reward_page, sampled, samples, story
from burnish.pipeline.graph import GRAPH
from burnish.pipeline.recipe import POLICIES
from burnish.pipeline.record import read_record
from burnish.records.durable import write_bytes
from burnish.release import card, clauses, doubt, figures
from burnish.release.evidence import Evidence, facts_of, gather, read_object, read_rows, rests_on, snapshot_of

MODELS = ("base", *POLICIES)
SHOWN = 12
WORST = 6
SAMPLED = 3
LONG = 600
"""Characters of a sampled answer, or of its prompt, that are shown before somebody asks for the rest."""


def write_report(run: Path) -> Path:
    """Write `run`/report.html and return its path. Raises DataError where a file of the run is damaged."""
    evidence = gather(run)
    release = read_object(run / "release.json") if (run / "release.json").is_file() else {}
    if release and rests_on(release, evidence["stages"]):
        evidence["stages"]["release"] = release
    page = _environment().get_template("report.html.jinja").render(**_page(run, evidence))
    path = run / "report.html"
    write_bytes(path, page.encode())
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("burnish.pipeline", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _page(run: Path, evidence: Evidence) -> dict[str, Any]:
    found = figures.read_figures(evidence["evaluation"], doubt.doubtful(evidence))
    stages = evidence["stages"]
    recipe = run / "recipe.yaml"
    page: dict[str, Any] = {
        "name": evidence["recipe"].get("name", run.name),
        "lead": story.lead(evidence),
        "doubts": doubt.doubts(evidence),
        "flattery": doubt.flattery(evidence),
        "verdict": story.verdict(run, evidence),
        "tiles": story.tiles(evidence, found),
        "stages": [_stage_row(name, record) for name, record in stages.items()],
        "total_seconds": sum(record.get("seconds") or 0 for record in stages.values()),
        "comparisons": found.comparisons,
        "comparisons_says": found.says,
        "suites": _suite_groups(found),
        "differences": _difference_groups(found),
        "reward": reward_page.section(facts_of(evidence, "reward"), _own_report(run, evidence, "reward")),
        "curves": _curves(run),
        "sampled": _sampled(run),
        "sampled_note": story.SAMPLED.format(SAMPLED),
        "long": LONG,
        "samples": _samples(run),
        "chain": _chain(run, evidence),
        "environment": story.machine(evidence["environment"]),
        "recipe": recipe.read_text("utf-8") if recipe.is_file() else "",
        "version": __version__,
    }
    page["axes"] = {"share": axis.SHARES}
    return page | {"contents": _contents(page)}


def _own_report(run: Path, evidence: Evidence, stage: str) -> dict[str, Any]:
    """What a stage that is done says in its own folder."""
    path = run / stage / "report.json"
    return read_object(path) if stage in evidence["stages"] and path.is_file() else {}


def _stage_row(name: str, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "made": clauses.clauses(name, record.get("facts", {})),
        "seconds": record.get("seconds"),
        "key": record.get("key", ""),
    }


def _suite_groups(found: figures.Figures) -> list[dict[str, Any]]:
    """Suites that share a scale stand in one table; a score without natural ends stands alone."""
    groups: dict[str, dict[str, Any]] = {}
    for suite in found.suites:
        key = suite.title if suite.unit == "score" else f"{suite.unit}{suite.signed}"
        group = groups.setdefault(key, {"unit": suite.unit, "suites": [], "mark": 0.0 if suite.signed else None})
        group["suites"].append(suite)
    for group in groups.values():
        group["axis"] = _axis_of(group["suites"])
    return list(groups.values())


def _axis_of(suites: Sequence[figures.Suite]) -> axis.Axis:
    estimates = [estimate for suite in suites for estimate in suite.models.values()]
    if suites[0].unit == "score":
        return axis.holding(estimates)
    return axis.around_zero(estimates) if suites[0].signed else axis.SHARES


def _difference_groups(found: figures.Figures) -> list[dict[str, Any]]:
    """Shares and grades in points on one axis; each score in its own unit."""
    groups: dict[str, dict[str, Any]] = {}
    for row in found.differences:
        alone = row.suite.unit == "score"
        key = row.suite.title if alone else "points"
        groups.setdefault(key, {"unit": "change" if alone else "points", "rows": []})["rows"].append(row)
    for group in groups.values():
        group["axis"] = axis.around_zero(row.estimate for row in group["rows"])
    return list(groups.values())


def _tick(value: float, unit: str) -> str:
    """An axis's label: round, so without the figures' decimals."""
    if unit == "share":
        return f"{value:.0%}"
    return f"{100 * value:+g}".replace("-", "−").replace("+0", "0") if unit == "points" else figures.shown(value, unit)


def _p_value(p: float | None) -> str:
    if p is None:
        return "—"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _curves(run: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    for stage, title in card.TITLES.items():
        drawn = [
            {"title": each.title, "caption": story.caption(each), "svg": Markup(plots.draw(each))}
            for each in curves.curves(stage, read_rows(run / stage / "metrics.jsonl"))
        ]
        if drawn:
            groups.append({"title": title, "curves": drawn})
    return groups


def _sampled(run: Path) -> list[dict[str, Any]]:
    groups = [
        {"stage": stage, "title": title, "asked": sampled.chosen(run / stage / sampled.SAMPLES, SAMPLED)}
        for stage, title in card.TITLES.items()
    ]
    return [group for group in groups if group["asked"]]


def _samples(run: Path) -> dict[str, Any]:
    files = {model: run / "evaluate" / f"answers-{model}.jsonl" for model in MODELS}
    found = samples.align({model: read_rows(path) for model, path in files.items() if path.is_file()})
    last = next((model for model in reversed(MODELS) if files[model].is_file()), "")
    preferred = last not in ("", "base", "sft")
    return {
        "chosen": samples.choose(found, SHOWN),
        "worst": samples.worst(found, last, WORST) if preferred else [],
        "last": last,
        "of": len(found),
        "note": story.samples_note(found),
    }


def _chain(run: Path, evidence: Evidence) -> list[dict[str, Any]]:
    """What led to what: earlier runs first, as far as they still hold what was read, then this one."""
    nodes = story.chain(evidence)
    mine = {
        stage.name: record
        for stage in GRAPH
        if stage.name in evidence["stages"] and (record := read_record(stage, run))
    }
    lost = lineage.broken_links(run, mine)
    for place, found in lineage.earlier(run, mine):
        where = os.path.relpath(place, run)
        stages = {name: record.as_json() for name, record in found.items()}
        before = {"recipe": {}, "stages": stages, "snapshot": snapshot_of(place) if "collect" in stages else {}}
        nodes = story.chain(before, f" of {where}") + nodes
        lost += [f"in {where}, {each}" for each in lineage.broken_links(place, found)]
    return nodes + story.broken(lost)


def _contents(page: dict[str, Any]) -> list[tuple[str, str]]:
    there = [
        ("stages", "What was done", True),
        ("wins", "Win rates", page["comparisons"]),
        ("suites", "Suites", page["suites"]),
        ("reward", "Reward model", page["reward"]),
        ("curves", "Curves", page["curves"]),
        ("sampled", "Sampled answers", page["sampled"]),
        ("answers", "Answers", page["samples"]["chosen"]),
        ("lineage", "What led to what", True),
        ("settings", "Settings", True),
    ]
    return [(anchor, title) for anchor, title, shown in there if shown]


_FILTERS: dict[str, Callable[..., str]] = {
    "count": clauses.count,
    "number": clauses.number,
    "duration": clauses.duration,
    "figure": figures.shown,
    "spread": figures.spread,
    "title_of": figures.title_of,
    "p_value": _p_value,
    "tick": _tick,
}
