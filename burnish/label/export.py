"""A campaign as files for others: rows in a form that trainers read, where they come from, and a data card.

Knows snapshots; freezes one and writes what follows from it. Which prompts are held out is the snapshot's rule: by a
hash of the prompt, so that no prompt stands on both sides of a split.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from burnish.errors import ConfigError, Problem
from burnish.label.card import card
from burnish.records import parquet
from burnish.records.durable import folder, write_bytes, write_json, write_jsonl, written_aside
from burnish.stats.agreement import pairwise_agreement
from burnish.store import events, queries
from burnish.store.kinds import KINDS
from burnish.store.session import Store
from burnish.store.snapshot import SPLITS, SnapshotRow, as_row, first_rows, freeze, read_either
from burnish.store.views import Annotator, Campaign
from burnish.types import Message

Rows = list[dict[str, Any]]


def export(
    store: Store,
    name: str,
    form: str,
    out: Path,
    *,
    held_out: float = 0.0,
    seed: int = 0,
    licence: str = "unknown",
    by: Annotator | None = None,
) -> dict[str, Any]:
    """Write a campaign's judgements as they stand now to the folder `out`, whole or not at all: counts of rows.

    `form` is one of FORMS. That it was written goes into the log, under `by` or the command line. Raises ConfigError
    where `out` holds something, MachineError where pyarrow is wanted and missing, StoreError where there is no such
    campaign or nothing was judged.
    """
    if form not in FORMS:
        raise ConfigError(Problem("form", "there is no such form", f"Choose one of {', '.join(FORMS)}."))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(Problem(str(out), "exists already, and an export replaces nothing", "Give a new folder."))
    if form == "parquet":
        parquet.module("--as parquet")
    with store.reading() as session:
        campaign = queries.named(session, name)
    if form not in forms_of(campaign):
        found = f"{campaign.name} is about single answers, which have no such form"
        raise ConfigError(Problem("form", found, f"Choose one of {', '.join(forms_of(campaign))}."))
    with TemporaryDirectory() as aside, folder(out) as filling:
        snapshot = Path(aside) / "snapshot"
        manifest = freeze(store, campaign.id, snapshot, held_out=held_out, seed=seed)
        rows = {split: read_either(snapshot, split) for split in SPLITS}
        written: dict[str, int] = {}
        for split in SPLITS:
            if form == "snapshot":
                write_bytes(filling / f"{split}.jsonl", (snapshot / f"{split}.jsonl").read_bytes())
                written[split] = len(rows[split])
            else:
                written[split] = _write(filling, form, split, rows[split])
        write_json(filling / "snapshot.json", asdict(manifest))
        agreeing = pairwise_agreement(_votes(store, campaign, [row for part in rows.values() for row in part]))
        text = card(manifest, agreeing, form=form, says=FORMS[form], rows=written, licence=licence)
        write_bytes(filling / "README.md", text.encode())
    told = {"form": form, "rows": written, "judgements": len(manifest.judgements), "digest": manifest.rows}
    with store.transaction() as session:
        actor = by.handle if by else "system"
        events.append(
            session, at=queries.clock(None), actor=actor, verb="campaign.export", target=campaign.key, payload=told
        )
    return {"out": str(out), "form": form, "rows": written, "judgements": len(manifest.judgements)}


def preference(row: SnapshotRow) -> Rows:
    """TRL's conversational preferences: one row for every two answers that the agreed order settles."""
    ranking = row.ranking
    return [
        {
            "prompt": _turns(ranking.prompt.messages),
            "chosen": _said(ranking.completions[better]),
            "rejected": _said(ranking.completions[worse]),
        }
        for i, j in combinations(range(len(ranking.ranks)), 2)
        if ranking.ranks[i] != ranking.ranks[j]
        for better, worse in [(i, j) if ranking.ranks[i] < ranking.ranks[j] else (j, i)]
    ]


def unpaired(row: SnapshotRow) -> Rows:
    """TRL's unpaired preferences: the best answers are good, the worst bad; where all answers tie there is no row. A
    single answer is what it was called."""
    ranking = row.ranking
    if row.label is not None:
        text = ranking.completions[0]
        return [{"prompt": _turns(ranking.prompt.messages), "completion": _said(text), "label": row.label}]
    ends = {min(ranking.ranks): True, max(ranking.ranks): False}
    return [
        {"prompt": _turns(ranking.prompt.messages), "completion": _said(text), "label": ends[rank]}
        for text, rank in zip(ranking.completions, ranking.ranks, strict=True)
        if len(ends) == 2 and rank in ends
    ]


def rankings(row: SnapshotRow) -> Rows:
    """Our rankings: all answers with their ranks, and the judgements behind them."""
    ranking = row.ranking
    return [
        {
            "prompt_id": ranking.prompt.id,
            "prompt": _turns(ranking.prompt.messages),
            "completions": list(ranking.completions),
            "ranks": list(ranking.ranks),
            "judgements": list(ranking.judgements),
        }
    ]


def table(row: SnapshotRow) -> Rows:
    """As `rankings`, with single votes, agreement, and the prompt's other columns as one JSON text, of one type."""
    votes = [
        {"annotator": name, "ranks": list(ranks), "assistance": row.assistance.get(name, "none")}
        for name, ranks in row.votes
    ]
    meta = json.dumps(dict(row.ranking.prompt.meta), ensure_ascii=False, sort_keys=True)
    return [{**each, "votes": votes, "agreement": row.agreement, "meta": meta} for each in rankings(row)]


FORMS = {
    "preference": "a row for every two answers that the agreed order settles: TRL's prompt, chosen and rejected",
    "unpaired": "a row for each best and each worst answer: TRL's prompt, completion and label",
    "rankings": "a row for each item: prompt, completions, ranks (1 is best, equal is a tie)",
    "parquet": "a row for each item, with every single vote, in Parquet",
    "snapshot": "what burnish trains from: a row for each item, with every single vote",
}
"""What can be exported, and what it is."""
_MADE: dict[str, Callable[[SnapshotRow], Rows]] = {
    "preference": preference,
    "unpaired": unpaired,
    "rankings": rankings,
    "parquet": table,
}


OF_LABELS = ("unpaired", "snapshot")
"""Those of a campaign whose answers are called good or bad, one by one."""
PREVIEWED, LOOKED_AT = 3, 20
"""Rows that are shown before a download, and items that are read for them."""
LONGEST = 200
"""Characters of a text that are shown of such a row."""


def forms_of(campaign: Campaign) -> dict[str, str]:
    """What a campaign can be exported as, and what each is."""
    labels = KINDS[campaign.kind].holds == "labels"
    return {form: says for form, says in FORMS.items() if form in OF_LABELS or not labels}


def preview(store: Store, campaign: Campaign) -> dict[str, Rows]:
    """The first rows of each form, as `export` would write them now of the first items that were judged, with long
    texts cut. Nothing is written, and no more is read."""
    with store.reading() as session:
        found = first_rows(session, campaign.id, LOOKED_AT)
    rows = list(map(as_row, found))
    made = {form: [each for row in rows for each in make(row)] for form, make in _MADE.items()} | {"snapshot": found}
    return {form: [_cut(row) for row in made[form][:PREVIEWED]] for form in forms_of(campaign)}


def _votes(store: Store, campaign: Campaign, rows: Sequence[SnapshotRow]) -> list[list[tuple[int, ...]]]:
    """By item. Single answers that as many call good as bad have no row, and are just what people disagree about."""
    if KINDS[campaign.kind].holds == "rankings":
        return [[ranks for _, ranks in row.votes] for row in rows]
    found = defaultdict[int, list[tuple[int, ...]]](list)
    with store.reading() as session:
        for judgement in queries.judgements(session, campaign.id):
            found[judgement.item].append(judgement.compared)
    return list(found.values())


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_cut(each) for each in cast("list[Any]", value)]
    return f"{value[:LONGEST]}…" if isinstance(value, str) and len(value) > LONGEST else value


def _write(filling: Path, form: str, split: str, found: Sequence[SnapshotRow]) -> int:
    rows = [each for row in found for each in _MADE[form](row)]
    if rows and form == "parquet":
        with written_aside(filling / f"{split}.parquet") as aside:
            parquet.module("--as parquet").write_table(import_module("pyarrow").Table.from_pylist(rows), aside)
    elif rows:
        write_jsonl(filling / f"{split}.jsonl", rows)
    return len(rows)


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [message.as_json() for message in messages]


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
