"""What led to what: a release's weights back to the judgements behind them, over as many runs as they took.

Reads records, manifests and database; opens no model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from burnish.errors import DataError, Problem
from burnish.pipeline import run_folder
from burnish.pipeline.graph import GRAPH
from burnish.pipeline.recipe import POLICIES
from burnish.pipeline.record import Record, Source, output_digest, read_record
from burnish.records.durable import MANIFEST, digest_file, digest_folder, verify
from burnish.records.files import located
from burnish.release.evidence import read_object
from burnish.release.verify import EVIDENCE
from burnish.runs import RECIPE
from burnish.store import queries
from burnish.store.session import open_store
from burnish.store.snapshot import judgement_ids

Records = Mapping[str, Record]
"""Of stages of one run, by name, in their order."""
_STAGES = {stage.name: stage for stage in GRAPH}


def lineage(path: Path) -> dict[str, Any]:
    """The chain behind a run, or behind a release that lies in its run, into the earlier runs that it read.

    Every link is checked: the bytes of the release and the snapshots, that each stage read what lies there now, and
    that the judgements are in the database. "broken" lists what does not hold. Of an unsealed folder that was read it
    is only seen that it is there. Raises DataError where no chain is.
    """
    run = path.parent if (path / EVIDENCE).is_file() else path
    if not (run / RECIPE).is_file():
        mend = "Name the run folder or the release inside it; of a moved release, evidence.json names the digests."
        raise DataError(Problem(str(path), "no run lies here or beside it", mend))
    records = {stage.name: found for stage in GRAPH if (found := read_record(stage, run))}
    broken: list[str] = []
    release = _release(run, records, broken)
    return {
        "run": str(run),
        "release": release,
        **_chain(run, records, broken),
        "earlier": {str(place): _chain(place, found, broken, f"{place}: ") for place, found in earlier(run, records)},
        "broken": broken,
    }


def earlier(run: Path, records: Records) -> list[tuple[Path, Records]]:
    """The runs that made what these stages read, the nearest first, each with the stages that had part in it.

    A run that no longer holds what was read is none of them.
    """
    found: dict[Path, Records] = {run: records}
    left = list(_made(run, records))
    while left:
        place, behind = left.pop(0)
        new = {name: record for name, record in behind.items() if name not in found.get(place, {})}
        known = {**found.get(place, {}), **new}
        found[place] = {stage.name: known[stage.name] for stage in GRAPH if stage.name in known}
        left += _made(place, new)
    return [(place, each) for place, each in found.items() if place.resolve() != run.resolve()]


def broken_links(run: Path, records: Records) -> list[str]:
    """What stages read that does not lie there any more, a sentence each."""
    broken = [
        f"{name} read another {source} than the one that lies here"
        for name, record in records.items()
        for source, digest in record.inputs.items()
        if source not in records or records[source].output != digest
    ]
    for name, record in records.items():
        for source in record.sources:
            if not _lies_there(run, source):
                there = located(source.name, run).exists()
                lost = (
                    f"another {source.name} than the one that lies there" if there else f"{source.name}, which is gone"
                )
                broken.append(f"{name} read {lost}")
    return broken


def as_text(found: dict[str, Any]) -> str:
    """The same for people, from the release down to the clicks, and on into earlier runs."""
    lines: list[str] = []
    if found["release"]:
        lines.append(
            f"release    {found['release']['folder']}  weights {_short(*found['release']['weights'].values())}"
        )
    lines += _chain_lines(found)
    for place, chain in found["earlier"].items():
        lines += [f"in {place}", *_chain_lines(chain)]
    lines += [f"broken: {each}" for each in found["broken"]]
    return "\n".join(lines)


def _chain_lines(chain: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, link in reversed(chain["stages"].items()):
        read = [f"{stage} {digest[:8]}" for stage, digest in link["inputs"].items()]
        read += [Source(**each).said(8) for each in link["sources"]]
        lines.append(f"{name:<10} made {link['output'][:8]}" + (f" from {', '.join(read)}" if read else ""))
    if chain["snapshot"]:
        lines.append(f"snapshot   {chain['snapshot']['digest'][:8]}, {chain['snapshot']['rows']} prompts")
    if chain["judgements"]:
        said = chain["judgements"]
        lines.append(f"judgements {said['in_database']} of {said['count']} are in {said['database']}")
    return lines


def _short(*digests: str) -> str:
    return " ".join(digest[:8] for digest in digests)


def _chain(run: Path, records: Records, broken: list[str], where: str = "") -> dict[str, Any]:
    """Stages, snapshot and judgements of one run; what does not hold is added to `broken`, after `where` it is."""
    lost = broken_links(run, records)
    chain = {
        "stages": {name: _link(record) for name, record in records.items()},
        "snapshot": _snapshot(run, records, lost),
        "judgements": _judgements(run, records, lost),
    }
    broken += [f"{where}{each}" for each in lost]
    return chain


def _link(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "output": record.output,
        "inputs": dict(record.inputs),
        "sources": [asdict(source) for source in record.sources],
        "finished": record.finished,
    }


def _made(run: Path, records: Records) -> Iterator[tuple[Path, Records]]:
    """For each source that a stage made and that still lies there: the stage's run, and the stages behind it."""
    for source in (each for record in records.values() for each in record.sources if each.digest):
        place = Path(os.path.normpath(located(source.name, run)))
        for folder in (place, *place.parents):
            stage = _STAGES.get(folder.name)
            record = read_record(stage, folder.parent) if stage else None
            if stage and record:
                if record.output == output_digest(stage, folder.parent) and _lies_there(run, source):
                    yield folder.parent, dict(_behind(folder.parent, record))
                break


def _behind(run: Path, record: Record) -> Iterator[tuple[str, Record]]:
    """A stage and those of its run that it rests on."""
    yield record.stage, record
    for name, digest in record.inputs.items():
        read = read_record(_STAGES[name], run)
        if read and read.output == digest:
            yield from _behind(run, read)


def _lies_there(run: Path, source: Source) -> bool:
    place = located(source.name, run)
    if source.digest is None or not place.exists():
        return source.digest is None
    if place.is_file():
        return digest_file(place) == source.digest
    return not (place / MANIFEST).is_file() or digest_folder(place) == source.digest


def _release(run: Path, records: Records, broken: list[str]) -> dict[str, Any] | None:
    if "release" not in records or not (run / "release").is_dir():
        return None
    files = verify(run / "release")
    policy = [name for name in POLICIES if name in records["release"].inputs][-1]
    trained = read_object(run / policy / "model" / "manifest.json")["files"]
    weights = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    if records["release"].output != digest_folder(run / "release"):
        broken.append("the release is not the one that this run built")
    broken += [
        f"release/{name} is not the file that {policy} made" for name in weights if trained.get(name) != weights[name]
    ]
    return {
        "folder": str(run / "release"),
        "digest": digest_folder(run / "release"),
        "weights": weights,
        "from": policy,
    }


def _snapshot(run: Path, records: Records, broken: list[str]) -> dict[str, Any] | None:
    folder = run / "collect" / "snapshot"
    if "collect" not in records or not folder.is_dir():
        return None
    digest = digest_folder(folder)
    if digest != records["collect"].output:
        broken.append("the snapshot is not the one that collect made")
    manifest = read_object(folder / "snapshot.json")
    return {"digest": digest, "rows": manifest["counts"]["rows"], "campaign": manifest["campaign"]}


def _judgements(run: Path, records: Records, broken: list[str]) -> dict[str, Any] | None:
    folder = run / "collect" / "snapshot"
    if "collect" not in records or not folder.is_dir():
        return None
    ids = judgement_ids(folder)
    database = run_folder.store_of(run, run_folder.read_copy(run))
    known = set[str]() if isinstance(database, Path) and not database.is_file() else _known(database, ids)
    missing = [each for each in ids if each not in known]
    if missing:
        broken.append(f"{len(missing)} of {len(ids)} judgements are not in {database}")
    return {
        "count": len(ids),
        "in_database": len(ids) - len(missing),
        "database": str(database),
        "ids": ids,
        "missing": missing,
    }


def _known(database: Path | str, ids: list[str]) -> set[str]:
    with closing(open_store(database)) as store, store.reading() as session:
        return queries.exists(session, ids)
