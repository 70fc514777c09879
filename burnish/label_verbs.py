"""The verbs of `burnish label` about campaigns and people: one function each, which imports what it needs. Knows verbs,
options, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from burnish.errors import DataError, Problem
from burnish.options import HERE, PLACE, Campaign, Db, Json
from burnish.terminal import columns, emit

label = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="People's judgements.")

Database = Annotated[str, typer.Argument(metavar="RUN|DB", help=PLACE)]
DropBad = Annotated[bool, typer.Option("--drop-bad", help="Leave out unfit rows, and say how many.")]
Host = Annotated[str, typer.Option(help="Where the server listens; beyond the loopback with a certificate only.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="That of the server. It takes any that is free for 0.")]
Certificate = Annotated[Path | None, typer.Option(metavar="FILE", help="PEM: the pages are served over HTTPS.")]
Key = Annotated[Path | None, typer.Option(metavar="FILE", help="PEM: the certificate's key, without a passphrase.")]
CALLED = "A name that people open the pages under, the server's own or a proxy's; repeatable, the first is for links."
Called = Annotated[list[str] | None, typer.Option(metavar="NAME", help=CALLED)]
Source = Literal["rankings", "labels", "hh", "openassistant", "pandalm", "argilla", "labelstudio"]
Kind = Literal["pairwise", "ranking", "scale", "good_bad"]
Form = Literal["preference", "unpaired", "rankings", "parquet", "snapshot"]


@label.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the campaign is called.")],
    source: Annotated[str, typer.Option("--from", metavar="FILE|FOLDER|HUBSET", help="Prompts with their answers.")],
    question: Annotated[str | None, typer.Option(help="What people are asked. Without it: what fits the kind.")] = None,
    overlap: Annotated[int, typer.Option(min=1, help="How many judge each item.")] = 1,
    kind: Annotated[Kind | None, typer.Option(help="Without it: as the rows are, pairwise or ranking.")] = None,
    axes: Annotated[str, typer.Option(help="Of a scale: what is graded from 1 to 7, with commas.")] = "",
    strength: Annotated[bool, typer.Option("--strength", help="Of pairs: ask how far one is ahead.")] = False,
    rationale: Annotated[bool, typer.Option("--rationale", help="A reason must be given.")] = False,
    edits: Annotated[bool, typer.Option("--edits", help="Answers may be written better, for fine-tuning.")] = False,
    gold: Annotated[
        Path | None,
        typer.Option(help="Rankings (of good_bad: labels) known to be right, among the others to measure people by."),
    ] = None,
    drop_bad: DropBad = False,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """Make a campaign of prompts and answers from a file, or add what it lacks. The same command again adds nothing."""
    from burnish.label.campaigns import ask
    from burnish.pipeline.hub import data_of
    from burnish.pipeline.run_folder import opened
    from burnish.records.entries import read_entries, read_gold
    from burnish.store.details import Asks
    from burnish.store.kinds import KINDS

    graded = tuple(axis.strip() for axis in axes.split(",")) if axes else ()
    asks = Asks(axes=graded, strength=strength, rationale=rationale, edits=edits)
    entries, left = _fit(read_entries(data_of(source), KINDS[kind].fewest if kind else 2), drop_bad)
    single = kind is not None and KINDS[kind].holds == "labels"
    known, wrong = _fit(read_gold(gold, single=single), drop_bad) if gold else ([], 0)
    with opened(db, make=True) as store:
        found = ask(store, name, [*entries, *known], question=question, overlap=overlap, kind=kind, asks=asks)
    found |= {"left_out": left + wrong}
    counts = f"{found['items']} items, {found['new_items']} of them new, {found['gold']} to measure people by"
    text = f"{name}: {counts}{_left_out(left + wrong)}"
    emit({"campaign": name, **found}, f"{text}\nTo judge them: burnish label serve {db}", json)


@label.command()
def chat(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the campaign is called.")],
    model: Annotated[
        list[str], typer.Option(metavar="ADDRESS", help="http://HOST:PORT/v1#NAME; two or more, one each time.")
    ],
    question: Annotated[str | None, typer.Option(help="What people are asked. Without it: which is better.")] = None,
    system: Annotated[str, typer.Option(help="The system turn of every conversation.")] = "",
    openings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prompts whose first messages people may begin with.")
    ] = None,
    strength: Annotated[bool, typer.Option("--strength", help="Ask how far one is ahead.")] = False,
    rationale: Annotated[bool, typer.Option("--rationale", help="A reason must be given.")] = False,
    edits: Annotated[bool, typer.Option("--edits", help="Answers may be written better, and go on so.")] = False,
    temperature: Annotated[float, typer.Option(min=0.0)] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = 1024,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long a model may take.")] = 120.0,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """Make a live campaign: people write, two of the models answer, unnamed, and each turn is judged as a pair."""
    from burnish.label.answering import named
    from burnish.label.campaigns import converse
    from burnish.pipeline.run_folder import opened
    from burnish.records.formats import read_prompts
    from burnish.store.details import Asks
    from burnish.store.live import Live, check

    prompts = read_prompts(openings) if openings else []
    first = [next(turn.content for turn in each.messages if turn.role == "user") for each in prompts]
    live = Live(
        models=named(model),
        system=system.strip(),
        openings=tuple(dict.fromkeys(first)),
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seconds=seconds,
    )
    check(live)
    with opened(db, make=True) as store:
        converse(store, name, live, question=question, asks=Asks(strength=strength, rationale=rationale, edits=edits))
    text = (
        f"{name}: {', '.join(live.models)}; {len(live.openings)} openings\nTo talk with them: burnish label serve {db}"
    )
    emit({"campaign": name, **live.as_json()}, text, json)


@label.command("import")
def take_in(
    form: Annotated[
        Source, typer.Argument(metavar="FORMAT", help="Who wrote the file; docs/guide/judgements.md has them all.")
    ],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What was judged elsewhere.")],
    campaign: Annotated[str, typer.Option(help="The campaign that it goes into; made where there is none.")],
    question: Annotated[str | None, typer.Option(help="What people were asked, of a new campaign.")] = None,
    overlap: Annotated[int | None, typer.Option(min=1, help="Of a new campaign. Without it: the most votes.")] = None,
    drop_bad: DropBad = False,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """Take in judgements that others made elsewhere, as theirs. The same file again adds nothing."""
    from burnish.label import campaigns
    from burnish.pipeline.run_folder import opened
    from burnish.records.verdicts import read_verdicts

    entries, left = _fit(read_verdicts(path, form), drop_bad)
    with opened(db, make=True) as store:
        found = campaigns.take_in(store, campaign, entries, question=question, overlap=overlap)
    found |= {"left_out": left}
    text = (
        f"{campaign}: {found['items']} items, {found['new_items']} of them new; "
        f"{found['judgements']} judgements, {found['new_judgements']} of them new{_left_out(left)}"
    )
    emit({"campaign": campaign, "format": form, **found}, text, json)


@label.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None, db: Db = HERE, json: Json = False
) -> None:
    """How far the campaigns are; of one of them who has done what, and how they agree."""
    from burnish.label import service
    from burnish.label.summary import summary
    from burnish.pipeline.run_folder import opened

    with opened(db) as store:
        if name is not None:
            found = summary(store, name)
            emit(found.as_json(), _standing(found), json)
            return
        rows = [(each, service.progress(store, each.id)) for each in service.campaigns(store)]
    told = [
        {
            "campaign": each.name,
            "key": each.key,
            "kind": each.kind,
            "items": counts.items,
            "judged": counts.judged,
            "wanted": counts.wanted,
            "left": counts.left,
        }
        for each, counts in rows
    ]
    head = ("campaign", "kind", "items", "judged", "wanted", "left")
    emit({"campaigns": told}, columns([head, *([each[key] for key in head] for each in told)]), json)


@label.command()
def export(
    name: Campaign,
    form: Annotated[
        Form, typer.Option("--as", metavar="FORM", help="preference, unpaired, rankings, parquet, snapshot.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    held_out: Annotated[float, typer.Option(min=0.0, max=0.99, help="Share of prompts for the held-out side.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the choice of those prompts.")] = 0,
    licence: Annotated[str, typer.Option("--license", "--licence", help="Of the data, for the card.")] = "unknown",
    db: Db = HERE,
    json: Json = False,
) -> None:
    """Write a campaign's judgements for trainers, with a data card that names nobody."""
    from burnish.label.export import export as write
    from burnish.pipeline.run_folder import opened

    with opened(db) as store:
        found = write(store, name, form, out, held_out=held_out, seed=seed, licence=licence)
    rows = ", ".join(f"{count} {split}" for split, count in found["rows"].items())
    emit(found, f"{out}: {rows} rows of {found['judgements']} judgements; {out / 'README.md'} says how", json)


@label.command()
def about(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name that they sign in with, or their handle.")],
    out: Annotated[Path | None, typer.Option(help="Write it here. Without it: to the output.")] = None,
    db: Db = HERE,
    json: Json = False,
) -> None:
    """All that is kept about one person, as JSON, for that person: account, what they were shown and said, log."""
    from burnish.pipeline.run_folder import opened
    from burnish.records.durable import write_json
    from burnish.store.person import about as kept

    with opened(db) as store, store.reading() as session:
        found = kept(session, name)
    if out is None:
        emit(found, "", True)
    else:
        write_json(out, found)
        emit({"out": str(out), "tasks": len(found["tasks"])}, f"{out}: {len(found['tasks'])} tasks", json)


@label.command()
def serve(
    place: Database = HERE,
    host: Host = "127.0.0.1",
    port: Port = 8600,
    certificate: Certificate = None,
    key: Key = None,
    called: Called = None,
) -> None:
    """Serve the labelling pages; the first time, prints a link for their owner."""
    from burnish.label.app import serve as serve_pages
    from burnish.label.reach import Reach
    from burnish.pipeline.run_folder import database

    reach = Reach(host=host, port=port, certificate=certificate, key=key, called=tuple(called or ()))
    serve_pages(database(place), reach)


@label.command()
def invite(
    place: Database = HERE,
    role: Literal["owner", "manager", "adjudicator", "annotator", "viewer"] = "annotator",
    languages: Annotated[str, typer.Option(help="Those they read, for example fr,ar. Without it: all.")] = "",
    host: Host = "127.0.0.1",
    port: Port = 8600,
    certificate: Certificate = None,
    key: Key = None,
    called: Called = None,
    json: Json = False,
) -> None:
    """Make a link that lets one person in, once, within a week. Say where the server is reached as it was told."""
    from burnish.label.app import link
    from burnish.label.reach import Reach
    from burnish.pipeline.run_folder import opened

    reach = Reach(host=host, port=port, certificate=certificate, key=key, called=tuple(called or ()))
    with opened(place) as store:
        found = link(store, role, languages, reach)
    emit({"link": found, "role": role}, found, json)


@label.command("backup")
def back_up(
    place: Database = HERE,
    out: Annotated[Path, typer.Option(help="The copy; a new file.")] = Path("preferences.backup.db"),
    json: Json = False,
) -> None:
    """Copy the database while people go on judging; the copy is checked, and is a database itself."""
    from burnish.pipeline.run_folder import opened
    from burnish.store.backup import backup

    with opened(place) as store:
        lines, head = backup(store, out)
    text = f"{out}: whole; the last of {lines} lines of its log is {head}"
    emit({"out": str(out), "lines": lines, "head": head}, text, json)


def _fit(found: tuple[list[Any], list[Problem]], drop_bad: bool) -> tuple[list[Any], int]:
    """What was read, and how many rows were left out. Raises DataError for them unless they may be."""
    entries, problems = found
    if problems and not (drop_bad and entries):
        raise DataError(*problems)
    return entries, len(problems)


def _left_out(count: int) -> str:
    return f"; {count} rows left out as unfit" if count else ""


def _standing(found: Any) -> str:
    """A `burnish.label.summary.Summary` for people."""
    counts, campaign = found.counts, found.campaign
    lines = [
        f"{campaign.name}: {counts.judged} of {counts.wanted} judgements of {counts.items} items, {counts.left} left, "
        f"{counts.skipped} skips",
        f"two of them agree    {_figure(found.agreeing)}",
        *([f"  of all, not the chosen  {_figure(found.agreeing_of_all)}"] if found.agreeing_of_all else []),
        f"Krippendorff's α     {_figure(found.alpha)}",
        f"first shown wins     {_figure(found.first)}",
    ]
    rows: list[Sequence[object]] = [("annotator", "kind", "judged", "skipped", "seconds", "counts")]
    for each in found.done:
        rows.append(
            (each.name, each.kind, each.judged, each.skipped, f"{each.seconds:.0f}", "yes" if each.counts else "no")
        )
    lines += ["", columns(rows)]
    for each in found.models:
        lines.append(
            f"{each.name} orders as people do: {_figure(each.agreeing)}, on {each.items} items that they judged"
        )
    return "\n".join(lines)


def _figure(estimate: Any) -> str:
    return f"{estimate.value:.2f}  [{estimate.low:.2f}, {estimate.high:.2f}]" if estimate else "nothing to tell it by"
