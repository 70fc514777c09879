"""A graph without a model: each stage writes what a pure function of its key and its inputs gives.

It uses the recipe's own sections, since a stage is a section. A file `kill` in the project stops the stage it names
half-way, after it has left something in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from burnish.pipeline.graph import Step, execute
from burnish.pipeline.recipe_file import load_recipe
from burnish.pipeline.stage import Context, Facts, Stage, Work
from burnish.records.durable import digest_value, folder, write_json
from burnish.types import Silent

RECIPE = """\
name: tiny
model: nowhere/model
seed: 3
sft: {data: rows.jsonl}
collect: {prompts: rows.jsonl, by: people, k: 2}
reward: {}
gate: {thresholds: [{figure: tone.sft, at_least: 0.5}]}
evaluate: {cases: [rows.jsonl]}
"""


class Killed(BaseException):
    """Stands for kill -9: nothing in burnish may catch it."""


def project(path: Path) -> Path:
    """A recipe's folder."""
    path.mkdir(exist_ok=True)
    (path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "Hello"}]}\n')
    (path / "recipe.yaml").write_text(RECIPE)
    return path


def graph() -> list[Stage]:
    return [
        Stage(name="sft", version=1, needs=(), makes="model", run=_work("sft", _sealed)),
        Stage(name="collect", version=1, needs=("sft",), makes="snapshot", run=_work("collect", _snapshot)),
        Stage(name="reward", version=1, needs=("sft", "collect"), makes="model", run=_work("reward", _sealed)),
        Stage(name="ppo", version=1, needs=("sft", "collect", "reward"), makes="model", run=_work("ppo", _sealed)),
        Stage(name="evaluate", version=1, needs=("sft",), makes="evaluation.json", run=_work("evaluate", _file)),
        Stage(name="gate", version=1, needs=("evaluate",), makes=".", run=_work("gate", _itself), shared=("name",)),
    ]


def run(path: Path, *overrides: str, until: str | None = None) -> list[Step]:
    """All steps of `path`'s recipe, in path/run."""
    return list(steps(path, *overrides, until=until))


def steps(path: Path, *overrides: str, until: str | None = None) -> Iterator[Step]:
    recipe = load_recipe(path / "recipe.yaml", overrides)
    yield from execute(recipe, path, path / "run", Silent(), until=until, graph=graph())


def ran(found: list[Step]) -> list[str]:
    return [step.record.stage for step in found if step.ran]


def outputs(found: list[Step]) -> dict[str, str]:
    return {step.record.stage: step.record.output for step in found}


def _work(name: str, make: Callable[[Context, object], None]) -> Work:
    def work(context: Context) -> Facts:
        content = _content(context, name)
        done = context.folder / "progress"
        resumed = done.is_file()
        if (context.base / "kill").is_file() and (context.base / "kill").read_text() == name:
            if name != "gate":
                done.write_text("half")
            raise Killed
        make(context, content)
        return {"resumed": resumed}

    return work


def _content(context: Context, name: str) -> object:
    read = {
        need: (place / made).read_text()
        for need, place in context.inputs.items()
        for made in ("model/weights", "snapshot/weights", "evaluation.json")
        if (place / made).is_file()
    }
    return digest_value([name, context.key, read])


def _sealed(context: Context, content: object) -> None:
    with folder(context.folder / "model") as filling:
        (filling / "weights").write_text(str(content))


def _snapshot(context: Context, content: object) -> None:
    """Of two judgements, which are in no database."""
    said = {"name": "tiny", "question": "", "kind": "ranking", "overlap": 1, "filter": "", "rule": "", "ties": ""}
    made = {"held_out": 0.1, "seed": 3, "counts": {"rows": 1}, "annotators": [], "rows": str(content)}
    with folder(context.folder / "snapshot") as filling:
        (filling / "weights").write_text(str(content))
        write_json(
            filling / "snapshot.json",
            {"version": 1, "campaign": context.key, **said, **made, "judgements": ["one", "two"]},
        )


def _file(context: Context, content: object) -> None:
    write_json(context.folder / "evaluation.json", content)


def _itself(context: Context, content: object) -> None:
    with folder(context.folder) as filling:
        (filling / "weights").write_text(str(content))
