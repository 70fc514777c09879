"""What led to what: a release's weights back to the judgements behind them. Reads records, manifests and database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from burnish.errors import DataError, Problem
from burnish.pipeline import run_folder
from burnish.pipeline.graph import GRAPH
from burnish.pipeline.recipe import POLICIES
from burnish.pipeline.record import Record, read_record
from burnish.records.durable import digest_folder, verify
from burnish.release.evidence import read_object
from burnish.release.verify import EVIDENCE
from burnish.runs import RECIPE
from burnish.store import queries
from burnish.store.session import open_store
from burnish.store.snapshot import judgement_ids


def lineage(path: Path) -> dict[str, Any]:
    """The chain behind a run, or behind a release that lies in its run.

    Every link is checked: the bytes of the release and the snapshot, that each stage read what the one before made, and
    that the judgements are in the database. "broken" lists what does not hold. Raises DataError where no chain is.
    """
    run = path.parent if (path / EVIDENCE).is_file() else path
    if not (run / RECIPE).is_file():
        mend = "Name the run folder or the release inside it; of a moved release, evidence.json names the digests."
        raise DataError(Problem(str(path), "no run lies here or beside it", mend))
    records = {stage.name: found for stage in GRAPH if (found := read_record(stage, run))}
    broken = _broken_links(records)
    return {
        "run": str(run),
        "release": _release(run, records, broken),
        "stages": {name: _link(record) for name, record in records.items()},
        "snapshot": _snapshot(run, records, broken),
        "judgements": _judgements(run, records, broken),
        "broken": broken,
    }


def as_text(found: dict[str, Any]) -> str:
    """The same for people, from the release down to the clicks."""
    lines: list[str] = []
    if found["release"]:
        lines.append(
            f"release    {found['release']['folder']}  weights {_short(*found['release']['weights'].values())}"
        )
    for name, link in reversed(found["stages"].items()):
        source = ", ".join(f"{stage} {digest[:8]}" for stage, digest in link["inputs"].items())
        lines.append(f"{name:<10} made {link['output'][:8]}" + (f" from {source}" if source else ""))
    if found["snapshot"]:
        lines.append(f"snapshot   {found['snapshot']['digest'][:8]}, {found['snapshot']['rows']} prompts")
    if found["judgements"]:
        said = found["judgements"]
        lines.append(f"judgements {said['in_database']} of {said['count']} are in {said['database']}")
    lines += [f"broken: {each}" for each in found["broken"]]
    return "\n".join(lines)


def _short(*digests: str) -> str:
    return " ".join(digest[:8] for digest in digests)


def _link(record: Record) -> dict[str, Any]:
    return {"key": record.key, "output": record.output, "inputs": dict(record.inputs), "finished": record.finished}


def _broken_links(records: dict[str, Record]) -> list[str]:
    return [
        f"{name} read another {source} than the one that lies here"
        for name, record in records.items()
        for source, digest in record.inputs.items()
        if source not in records or records[source].output != digest
    ]


def _release(run: Path, records: dict[str, Record], broken: list[str]) -> dict[str, Any] | None:
    if "release" not in records or not (run / "release").is_dir():
        return None
    files = verify(run / "release")
    policy = [name for name in POLICIES if name in records["release"].inputs][-1]
    trained = read_object(run / policy / "model" / "manifest.json")["files"]
    weights = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    broken += [
        f"release/{name} is not the file that {policy} made" for name in weights if trained.get(name) != weights[name]
    ]
    return {
        "folder": str(run / "release"),
        "digest": digest_folder(run / "release"),
        "weights": weights,
        "from": policy,
    }


def _snapshot(run: Path, records: dict[str, Record], broken: list[str]) -> dict[str, Any] | None:
    folder = run / "collect" / "snapshot"
    if "collect" not in records or not folder.is_dir():
        return None
    digest = digest_folder(folder)
    if digest != records["collect"].output:
        broken.append("the snapshot is not the one that collect made")
    manifest = read_object(folder / "snapshot.json")
    return {"digest": digest, "rows": manifest["counts"]["rows"], "campaign": manifest["campaign"]}


def _judgements(run: Path, records: dict[str, Record], broken: list[str]) -> dict[str, Any] | None:
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
