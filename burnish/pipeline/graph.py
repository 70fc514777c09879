"""The stages of a run, and their execution: done ones are skipped, a half-done one continues, a changed one reruns.

Knows order, keys and records. A stage's work is imported only when it runs: to see that all is done loads no torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from burnish.pipeline import run_folder
from burnish.pipeline.key import contents, settings, sources, stage_key
from burnish.pipeline.preflight import check_files
from burnish.pipeline.recipe import POLICIES, Recipe
from burnish.pipeline.record import Record, Source, claim, is_done, output_digest, read_record
from burnish.pipeline.stage import Context, Stage, computed, imported
from burnish.records.durable import write_json
from burnish.runs import Run
from burnish.types import Progress

Graph = Sequence[Stage]

GRAPH: Graph = (
    Stage(
        name="sft",
        version=4,
        needs=(),
        makes="model",
        run=computed("burnish.pipeline.sft"),
        shared=("model", "seed", "dtype", "rankings"),
    ),
    Stage(name="collect", version=4, needs=("sft",), makes="snapshot", run=computed("burnish.pipeline.collect")),
    Stage(name="reward", version=7, needs=("sft", "collect"), makes="model", run=computed("burnish.pipeline.reward")),
    Stage(
        name="dpo",
        version=4,
        needs=("sft", "collect"),
        makes="model",
        run=computed("burnish.pipeline.dpo"),
        shared=("model", "seed", "dtype", "rankings"),
    ),
    Stage(name="kto", version=4, needs=("sft", "collect"), makes="model", run=computed("burnish.pipeline.kto")),
    Stage(
        name="distill",
        version=6,
        needs=("sft", "collect", "reward"),
        makes="model",
        run=computed("burnish.pipeline.distill"),
    ),
    Stage(
        name="rft",
        version=6,
        needs=("sft", "collect", "reward"),
        makes="model",
        run=computed("burnish.pipeline.rft"),
    ),
    Stage(
        name="online_dpo",
        version=6,
        needs=("sft", "collect", "reward"),
        makes="model",
        run=computed("burnish.pipeline.online_dpo"),
    ),
    Stage(
        name="ppo",
        version=10,
        needs=("sft", "collect", "reward"),
        makes="model",
        run=computed("burnish.pipeline.ppo"),
    ),
    Stage(
        name="grpo",
        version=7,
        needs=("sft", "collect", "reward"),
        makes="model",
        run=computed("burnish.pipeline.grpo"),
    ),
    Stage(
        name="evaluate",
        version=5,
        needs=("collect", "reward", *POLICIES),
        makes="evaluation.json",
        run=computed("burnish.pipeline.evaluate"),
    ),
    Stage(
        name="gate",
        version=3,
        needs=("evaluate",),
        makes="decision.json",
        run=imported("burnish.pipeline.gate_stage"),
        facts=("reward",),
        shared=(),
    ),
    Stage(
        name="release",
        version=3,
        needs=("collect", "reward", *POLICIES, "evaluate", "gate"),
        makes=".",
        run=imported("burnish.pipeline.release_stage"),
        facts=("collect", "reward", *POLICIES, "evaluate", "gate"),
        shared=("name", "model"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stage that is done."""

    record: Record
    ran: bool
    """False when it was done before."""
    taken_back: bool
    """True when it was done under these settings before others superseded it: it lies in its place again."""


def execute(
    recipe: Recipe,
    base: Path,
    folder: Path,
    progress: Progress,
    *,
    until: str | None = None,
    graph: Graph = GRAPH,
    patient: bool = False,
) -> Iterator[Step]:
    """Do what is left of a recipe in a run folder, and yield each stage as it is done.

    `base` is the recipe file's folder, `until` the last stage wanted, `patient` whether a stage may wait for people.
    Raises ConfigError when the folder holds something else, MachineError when another process works in it, and whatever
    a stage raises; the same call continues. `check` says beforehand what is wrong with the files.
    """
    run_folder.admit(folder, recipe.name)
    with Run.create(folder).lock():
        run_folder.prepare(folder, recipe, base)
        for stage, key, inputs, read in _walk(recipe, base, folder, chosen(recipe, graph, until)):
            context = _context(stage, recipe, base, folder, progress, key, inputs, patient)
            done = is_done(stage, folder, key)
            ran = not done and _do(stage, context, inputs, read)
            record = read_record(stage, folder)
            assert record is not None, "a stage that is done has a record"
            yield Step(record=record, ran=ran, taken_back=not done and not ran)


def check(recipe: Recipe, base: Path, folder: Path, *, until: str | None = None, graph: Graph = GRAPH) -> list[str]:
    """Names of the stages that are left to do, after reading every file that they name. Writes nothing.

    Raises ConfigError when the folder holds something else, DataError with every problem of the files.
    """
    run_folder.admit(folder, recipe.name)
    left = [stage.name for stage in chosen(recipe, graph, until)]
    for stage, key, *_ in _walk(recipe, base, folder, chosen(recipe, graph, until)):
        if not is_done(stage, folder, key):
            break
        left.remove(stage.name)
    check_files(recipe, base, left)
    return left


def chosen(recipe: Recipe, graph: Graph, until: str | None) -> list[Stage]:
    """The stages that a recipe asks for, up to and with `until`."""
    wanted = [stage for stage in graph if stage.name in recipe.stages()]
    names = [stage.name for stage in wanted]
    return wanted if until is None else wanted[: names.index(until) + 1]


def _walk(
    recipe: Recipe, base: Path, folder: Path, stages: Sequence[Stage]
) -> Iterator[tuple[Stage, str, Mapping[str, str], tuple[Source, ...]]]:
    """Each stage with its key, its inputs' digests and its sources, as soon as the stages before it are done."""
    done: dict[str, Record] = {}
    for stage in stages:
        inputs = {name: done[name].output for name in stage.needs if name in done}
        facts = {name: done[name].facts for name in stage.facts if name in done}
        found = contents(recipe, base, stage)
        key = stage_key(recipe, stage, found, inputs, facts)
        yield stage, key, inputs, sources(recipe, base, folder, found, inputs)
        record = read_record(stage, folder)
        assert record is not None, "the walk goes on when the stage is done"
        done[stage.name] = record


def _context(
    stage: Stage,
    recipe: Recipe,
    base: Path,
    folder: Path,
    progress: Progress,
    key: str,
    inputs: Mapping[str, str],
    patient: bool,
) -> Context:
    return Context(
        recipe=recipe,
        key=key,
        run=folder,
        folder=folder / stage.name,
        inputs={name: folder / name for name in inputs},
        base=base,
        store=run_folder.store_of(folder, recipe),
        progress=progress,
        patient=patient,
    )


def _do(stage: Stage, context: Context, inputs: Mapping[str, str], read: tuple[Source, ...]) -> bool:
    """Take back or run a stage; whether it ran."""
    now = _utc()
    begin = claim(stage, context.run, context.key, now)
    if is_done(stage, context.run, context.key):
        return False
    stage.record(context.run).unlink(missing_ok=True)
    clock = time.monotonic()
    facts = stage.run(context)
    output = output_digest(stage, context.run)
    assert output is not None, f"{stage.name} left no {stage.makes}"
    record = Record(
        stage=stage.name,
        key=context.key,
        version=stage.version,
        settings=settings(context.recipe, stage),
        inputs=inputs,
        sources=read,
        output=output,
        facts=facts,
        seconds=round(time.monotonic() - clock, 1),
        started=begin["started"],
        finished=_utc(),
        resumed=begin["started"] != now,
    )
    write_json(stage.record(context.run), record.as_json())
    return True


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
