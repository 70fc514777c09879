"""The verbs of `burnish label` in which a model helps: it judges, criticises, and says what to ask people next. One
function each, which imports what it needs. Knows verbs, options, and tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from burnish.options import HERE, Campaign, Db, Json
from burnish.terminal import columns, emit, progress


def judge(
    name: Campaign,
    model: Annotated[str, typer.Option(help="A model folder, a Hub id, smollm2-135m, or http://HOST:PORT/v1#NAME.")],
    rubric: Annotated[str, typer.Option(help="What makes an answer good: a text, or a file of text.")],
    samples: Annotated[int, typer.Option(min=1, help="Replies an order; more than one give finer chances.")] = 1,
    counts: Annotated[bool, typer.Option("--counts", help="Let it take seats, and go into snapshots.")] = False,
    called: Annotated[str | None, typer.Option("--called", help="Its name. Without it: the model's.")] = None,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """Let a model judge a campaign in both orders. It stands beside the people, marked as a model."""
    from burnish.pipeline.model_judge import Adviser, advise, principles
    from burnish.pipeline.run_folder import opened
    from burnish.pipeline.talk import opened as generator_of

    told = principles(rubric)
    adviser = Adviser(model=model, principles=told, samples=samples, counts=counts, name=called)
    with opened(db) as store:
        found = advise(store, name, generator_of(model, progress()), adviser, progress())
    text = (
        f"{found['annotator']}: {found['judged']} items judged, {found['unreadable']} not to be read, "
        f"{found['full']} full; both orders alike in {found['consistent']} of {found['pairs']} pairs"
    )
    emit(found, f"{text}\nBeside people: burnish label status {name} --db {db}", json)


def critique(
    name: Campaign,
    model: Annotated[str, typer.Option(help="A model folder, a Hub id, smollm2-135m, or http://HOST:PORT/v1#NAME.")],
    rubric: Annotated[str | None, typer.Option(help="What makes an answer good: a text, or a file of text.")] = None,
    called: Annotated[str | None, typer.Option("--called", help="Its name. Without it: the model's.")] = None,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """Let a model write a critique of each answer that has none. Who is shown them, `assistance` says."""
    from burnish.judge.critique import CRITERIA
    from burnish.pipeline.critic import criticise
    from burnish.pipeline.model_judge import principles
    from burnish.pipeline.run_folder import opened
    from burnish.pipeline.talk import opened as generator_of

    criteria = CRITERIA if rubric is None else principles(rubric)
    with opened(db) as store:
        critic = generator_of(model, progress())
        found = criticise(store, name, critic, model=called or model, criteria=criteria, progress=progress())
    text = f"{found['model']}: {found['critiques']} critiques, {found['unreadable']} not to be read"
    emit(found, f"{text}\nTo show them: burnish label assistance {name} --show before --db {db}", json)


def assistance(
    name: Campaign,
    show: Annotated[
        Literal["none", "before", "after"] | None, typer.Option(help="When critiques are shown from here on.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Of pairs of a person and an item that get them.")
    ] = None,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """What critiques do for people, on items whose right judgement is known; and whether and when they are shown."""
    from burnish.label import service
    from burnish.label.assistance import told
    from burnish.pipeline.run_folder import opened
    from burnish.store.queries import named

    with opened(db) as store:
        with store.reading() as session:
            campaign = named(session, name)
        if show is not None or share is not None:
            given, part = show or campaign.assistance, campaign.assisted if share is None else share
            service.set_assistance(store, campaign.id, given, part, by=None)
            campaign = service.campaign(store, campaign.id)
        found = service.assistance(store, campaign.id)
    shown = {"show": campaign.assistance, "share": campaign.assisted}
    emit({"campaign": campaign.name, **shown, **found.as_json()}, told(campaign, found), json)


def suggest(
    name: Campaign,
    budget: Annotated[int, typer.Option(min=1, help="How many items come first.")],
    floor: Annotated[float, typer.Option("--random", min=0.0, max=1.0, help="Share of them drawn by chance.")] = 0.2,
    reward: Annotated[Path | None, typer.Option(metavar="RUN", help="A run whose reward model has members.")] = None,
    model: Annotated[str, typer.Option(help="Without --reward: the model whose features are used.")] = "smollm2-135m",
    by: Annotated[Literal["information", "disagreement"], typer.Option(help="What is worth asking.")] = "information",
    seed: int = 0,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """Put those items first that people's judgement would tell most about; the chance of each is kept."""
    from burnish.pipeline import suggest as selection
    from burnish.pipeline.run_folder import opened

    wanted = selection.Wanted(budget=budget, floor=floor, by=by, seed=seed)
    with opened(db) as store:
        found = selection.suggest(store, name, wanted, reward=reward, model=model, progress=progress())
    emit(found, selection.told(found), json)


def curve(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="Rankings or pairs whose order is known.")],
    model: Annotated[str, typer.Option(help="The model whose features are used.")] = "smollm2-135m",
    seeds: Annotated[int, typer.Option(min=2)] = 10,
    labels: Annotated[int, typer.Option(min=40, help="Most labels of a curve; one point every 20.")] = 200,
    floor: Annotated[float, typer.Option("--random", min=0.0, max=1.0, help="Share drawn by chance.")] = 0.2,
    error: Annotated[float, typer.Option(min=0.0, max=0.5, help="How often the simulated person errs.")] = 0.2,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows of the file.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for curve.json, and for features that are kept.")] = None,
    json: Json = False,
) -> None:
    """What choosing would have saved: accuracy by number of labels, chosen against by chance, on known orders."""
    from burnish.pipeline.label_curve import Plan, table
    from burnish.pipeline.label_curve import curve as measured
    from burnish.records.durable import write_json

    plan = Plan(seeds=seeds, most=labels, floor=floor, error=error, limit=limit)
    found = measured(data, model, plan, out, progress())
    if out is not None:
        write_json(out / "curve.json", found)
    emit(found, columns(table(found)), json)


VERBS = (judge, critique, assistance, suggest, curve)
