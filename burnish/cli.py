"""The command line: one function a verb, each imports what it needs. Knows verbs and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from burnish import __version__, answering_verbs, asking_verbs
from burnish.errors import BurnishError, ConfigError, Problem, nearest
from burnish.label_verbs import label
from burnish.options import (
    HERE,
    Budget,
    ByKernels,
    Data,
    Db,
    Json,
    Model,
    Out,
    Prompts,
    RecipeFile,
    RunFolder,
    Set,
    Warmth,
    writable,
)
from burnish.terminal import emit, fail, marker, progress, say

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn a pre-trained model into a deployed assistant, with people in the loop.",
    epilog="Exit codes: 0 done, 1 our bug, 2 input, 3 machine, 4 verdict no, 5 inconclusive, 6 waiting for people.",
)
config = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a recipe.")
app.add_typer(config, name="config")
app.add_typer(label, name="label")
for verb in asking_verbs.VERBS:
    label.command()(verb)


@app.command()
def run(
    recipe: RecipeFile,
    out: Annotated[Path | None, typer.Option(help="The run folder. Without it: runs/NAME.")] = None,
    overrides: Set = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    json: Json = False,
) -> None:
    """Do what a recipe says, from the first stage that is not done. The same command again continues."""
    from burnish.pipeline.recipe_file import load_recipe

    settings = load_recipe(recipe, overrides or ())
    if until is not None and until not in settings.stages():
        raise ConfigError(Problem("--until", f'the recipe has no stage "{until}"', nearest(until, settings.stages())))
    _work(settings, recipe.parent, out or Path("runs") / settings.name, until, json)


@app.command()
def rounds(
    recipe: RecipeFile,
    campaign: Annotated[str, typer.Option(metavar="NAME", help="What people are asked in; made where there is none.")],
    prompts: Prompts,
    judgements: Annotated[int, typer.Option(min=1, help="Of all rounds together.")],
    count: Annotated[int, typer.Option("--rounds", min=1)] = 5,
    half_life: Annotated[
        float | None,
        typer.Option(min=0.1, help="Rounds after which half as many are asked for. Without it: always as many."),
    ] = None,
    answers: Annotated[int, typer.Option("--n", min=2, max=9, help="Answers a prompt.")] = 2,
    overlap: Annotated[int, typer.Option(min=1, help="How many judge each item.")] = 1,
    pool: Annotated[float, typer.Option(min=1.0, help="Asked about, of what is needed; what tells most first.")] = 2.0,
    temperature: Warmth = 1.0,
    max_new_tokens: Budget = 128,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="For the run, and what each round asked.")] = Path("runs/rounds"),
    db: Db = HERE,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Let the policy answer, people judge, and the recipe train anew from what they said, again and again.
    People judge meanwhile: burnish label serve."""
    import sys

    from burnish.narrator import KEPT
    from burnish.pipeline import rounds as loop
    from burnish.pipeline.run_folder import opened
    from burnish.release.clauses import clauses
    from burnish.types import Sampling

    def told(stage: str, facts: Any) -> None:
        say(f"  {stage:<9} {', '.join(clauses(stage, facts))}", sys.stderr if json else sys.stdout)

    plan = loop.Plan(
        campaign=campaign,
        prompts=prompts,
        rounds=count,
        judgements=judgements,
        half_life=half_life,
        answers=answers,
        overlap=overlap,
        pool=pool,
        sampling=Sampling(temperature=temperature, max_new_tokens=max_new_tokens),
        seed=seed,
    )
    with opened(db, make=True) as store:
        place = loop.Place(
            recipe=recipe,
            overrides=overrides or (),
            out=out,
            store=store,
            named=db,
            progress=progress(),
            tell=told,
            patient=sys.stdin.isatty() and sys.stderr.isatty(),
        )
        try:
            found = loop.rounds(plan, place)
        except BurnishError as error:
            raise typer.Exit(fail(error, KEPT, json)) from None
    emit({"rounds": found, "run": str(place.run)}, loop.as_text(found, place), json)


ALONE = {
    "sft": ("sft", (), "Fine-tune a model on conversations: the sft stage alone."),
    "reward": ("reward", (), "Train a reward model on pairs or rankings, and measure it: the reward stage alone."),
    "dpo": ("dpo", (), "Teach preferences from pairs or rankings, without a reward model: the dpo stage alone."),
    "orpo": ("dpo", ("dpo.loss=orpo",), "The dpo stage alone with ORPO's loss, which needs no reference model."),
    "kto": ("kto", (), "Teach a model from answers called good or bad, one at a time: the kto stage alone."),
    "distill": ("distill", (), "Learn what a teacher would say in one's own answers: the distill stage alone."),
    "rft": ("rft", (), "Answer, keep the best answers, fine-tune on them, in rounds: the rft stage, and its reward."),
    "online-dpo": ("online_dpo", (), "Direct preference on fresh answers: the online_dpo stage, and its reward."),
    "ppo": ("ppo", (), "Reinforce answers with a critic, held near by a KL: the ppo stage, and its reward."),
    "grpo": ("grpo", (), "Reinforce answers that beat others to their prompt: the grpo stage, and its reward."),
}
"""Verbs that do one stage: its name, settings, help."""


def _alone(verb: str) -> None:
    stage, preset, text = ALONE[verb]

    def alone(model: Model, data: Data, out: Out, overrides: Set = None, json: Json = False) -> None:
        from burnish.pipeline.recipe_file import stage_alone

        settings = stage_alone(stage, model, data, out.resolve().name, (*preset, *(overrides or ())))
        _work(settings, Path(), out, None, json)

    app.command(verb, help=text)(alone)


for _each in ALONE:
    _alone(_each)


@app.command()
def status(run: RunFolder, json: Json = False) -> None:
    """Which stages of a run are done."""
    from burnish.pipeline import status as stages

    found = stages.status(run)
    emit(found, stages.as_text(found), json)


@app.command()
def report(run: RunFolder, json: Json = False) -> None:
    """Write report.html of a run again."""
    from burnish.pipeline.report import write_report

    path = write_report(run)
    emit({"report": str(path)}, f"{path}", json)


@app.command()
def lineage(
    path: Annotated[Path, typer.Argument(help="A release, or the run that made it.")], json: Json = False
) -> None:
    """What led to what: weights, reward model, snapshot, judgements. Exits 4 where the chain is broken."""
    from burnish.pipeline import lineage as trail

    found = trail.lineage(path)
    emit(found, trail.as_text(found), json)
    raise typer.Exit(4 if found["broken"] else 0)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A release, or another sealed folder of a run.")],
    digest: Annotated[
        str | None, typer.Option(help="What its digest should be, as its maker told you; 16 digits are enough.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every byte of a release against its manifest, and that its evidence is about these weights."""
    from burnish.release.verify import verify_any

    found = verify_any(path, digest)
    emit(found, f"{path}: {len(found['files'])} files, every byte as written (digest {found['digest']})", json)


for called, verb in answering_verbs.VERBS.items():
    app.command(called)(verb)


@app.command()
def doctor(
    model: Annotated[str, typer.Argument(help="A model folder, a GGUF file, a Hub id or smollm2-135m.")],
    data: Annotated[Path | None, typer.Option(help="Conversations or rankings. Without it: a few of our own.")] = None,
    kernels: ByKernels = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the JSON here too.")] = None,
    json: Json = False,
) -> None:
    """Try on your model that training is exact: packed = alone, resumed = uninterrupted and more. Exits 4 if not."""
    writable(out, "doctor.json")
    from burnish.models.arithmetic import settle
    from burnish.proof.doctor import as_text, examine

    settle(kernels=kernels)
    found = examine(model, Path.cwd(), data, progress())
    _keep(found.as_json(), out)
    emit(found.as_json(), as_text(found, marker(), out), json)
    raise typer.Exit(0 if found.passed else 4)


@app.command()
def bench(
    kind: Annotated[Literal["train", "rl"], typer.Argument(help="Training, or reinforcement learning and sampling.")],
    model: Model = "smollm2-135m",
    data: Annotated[str | None, typer.Option(help="As for recipes. Without it: a few short rows of our own.")] = None,
    works: Annotated[str | None, typer.Option(help="What to time, with commas. Without it: all.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows of a step (8), or prompts of a rollout (64).")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed steps of each side, in turn.")] = 3,
    max_length: Annotated[int, typer.Option(min=8, help="Leave out rows of more tokens, answers included.")] = 512,
    micro_tokens: Annotated[int, typer.Option(min=16, help="Token budget of our micro-batches.")] = 2048,
    new_tokens: Annotated[int, typer.Option(min=1, help="Most of a sampled answer.")] = 64,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Time others too, at their best settings.")] = True,
    kernels: ByKernels = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the JSON here too.")] = None,
    json: Json = False,
) -> None:
    """Time burnish beside others, step by step in turn, and against what this machine can do at all."""
    writable(out, "bench.json")
    from burnish.models.arithmetic import choose, chosen_kernels
    from burnish.pipeline.sources import data_path
    from burnish.proof.bench import compare, reinforcement, report, training

    choose("auto", kernels)  # said here where it cannot be: each side is a process of its own
    plan = compare.Plan(works, batch, rounds, max_length, micro_tokens, new_tokens, peer, chosen_kernels())
    contests = training.contests if kind == "train" else reinforcement.contests
    found = contests(model, Path.cwd(), data_path(data, Path.cwd()) if data else None, plan, progress())
    rows = list[compare.Row]()
    for row in compare.compare(f"bench {kind}", found, rounds, progress()):
        rows.append(row)
        _keep(report.as_json(rows, model, data, max_length), out)
    emit(report.as_json(rows, model, data, max_length), report.as_text(rows, model), json)


@app.command()
def gold(
    recipe: RecipeFile = Path("recipes/goldreward.yaml"),
    out: Out = Path("runs/goldreward"),
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 1 on.")] = 5,
    json: Json = False,
) -> None:
    """Pay policies by reward models of few and many labels: where their true worth peaks, and where the watch stops."""
    from burnish.pipeline.gold.study import Plan, publish

    emit(*publish(recipe, out, Plan(seeds=range(1, seeds + 1)), progress()), json)


@config.command()
def show(recipe: RecipeFile, overrides: Set = None, json: Json = False) -> None:
    """Every setting of a recipe with its value, defaults and overrides included; beside a null, what is in force."""
    from burnish.config import resolved
    from burnish.pipeline.recipe_file import load_recipe, shown

    found = load_recipe(recipe, overrides or ())
    emit(resolved(found), shown(found).rstrip(), json)


@config.command("check")
def check_recipe(recipe: RecipeFile, overrides: Set = None, json: Json = False) -> None:
    """Check a recipe and every row of the files that it names. Trains nothing, writes nothing."""
    from burnish.pipeline.preflight import check_files
    from burnish.pipeline.recipe_file import load_recipe

    settings = load_recipe(recipe, overrides or ())
    rows = check_files(settings, recipe.parent, settings.stages())
    lines = [f"{recipe}: {' → '.join(settings.stages())}", *(f"  {count:>6} in {name}" for name, count in rows.items())]
    emit({"recipe": settings.name, "stages": settings.stages(), "rows": rows}, "\n".join(lines), json)


@config.command()
def schema(json: Json = False) -> None:
    """The JSON schema of a recipe, for editors."""
    from burnish.config import schema as schema_of
    from burnish.pipeline.recipe import Recipe

    emit(schema_of(Recipe), "", True)


@app.command()
def env(json: Json = False) -> None:
    """The machine and the versions that a run would stand on."""
    from burnish.pipeline.environment import environment

    found = environment()
    emit(found, "\n".join(f"{name}: {value}" for name, value in found.items()), json)


def _keep(found: dict[str, Any], out: Path | None) -> None:
    from burnish.records.durable import write_json

    if out is not None:
        write_json(out, found)


def _work(recipe: Any, base: Path, folder: Path, until: str | None, json: bool) -> NoReturn:
    from burnish.pipeline.graph import check

    left = check(recipe, base, folder, until=until)
    from burnish.narrator import Narrator

    raise typer.Exit(Narrator(recipe=recipe, base=base, folder=folder, as_json=json).work(left, until))


def _version(wanted: bool) -> None:
    if wanted:
        emit({}, __version__, False)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Turn a pre-trained model into a deployed assistant, with people in the loop."""
