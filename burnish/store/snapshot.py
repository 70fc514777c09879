"""Freezing a campaign into files that training reads, so that training never reads the live database.

A snapshot is a sealed folder: `train.jsonl` and `heldout.jsonl`, one row an item, and `snapshot.json`, which says how
they were made and from which judgements. Where people wrote answers better, `edits.jsonl` has those to prompts of the
training side as conversations to learn. Its bytes are a pure function of the judgements, the campaign and the
settings: no time, row number or order of arrival is in it, so that the same judgements give the same digest anywhere.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from sqlalchemy.orm import Session

from burnish.errors import DataError, Problem, StoreError
from burnish.records.durable import canonical, digest_value, folder, verify, write_json, write_jsonl
from burnish.stats.agreement import counted_agreement
from burnish.store import assistance, critiques, queries, settlements
from burnish.store.assistance import Beside
from burnish.store.critiques import Critiques
from burnish.store.details import Details
from burnish.store.kinds import KINDS
from burnish.store.session import Store
from burnish.store.settlements import Settlement
from burnish.store.views import Annotator, Campaign, CampaignKind, Item, Judgement
from burnish.types import Labelled, Message, Prompt, Ranking

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")
SETTLED = {
    "rankings": "; an adjudicator's order where one settled the item, with the votes beside it",
    "labels": "; an adjudicator's word where one settled the item, with the votes beside it",
}
"""What the rule's name goes on with where an item was settled."""
FILTER = "each annotator's latest revision, without skips, withdrawn work, gold questions, and items that nobody ranked"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotManifest:
    """What `snapshot.json` says."""

    version: int
    campaign: str
    """The campaign's key."""
    name: str
    question: str
    kind: str
    overlap: int
    filter: str
    rule: str
    """How annotators are agreed, and `ties` what becomes of their ties; see `store.kinds.Kind`."""
    ties: str
    held_out: float
    """Share of prompts meant to be held out; what came of it is in `counts`."""
    seed: int
    counts: dict[str, int]
    """items, rows, left_out, judgements, skipped, train, heldout, pairs_agreeing, pairs_compared: the last two over all
    that was judged, also where people are so evenly at odds that there is no row."""
    annotators: list[dict[str, Any]]
    """Name (a person's handle, if they have an account), kind and number of judgements of each; of a model also
    `about`: which one, and the principles that it judged by."""
    judgements: list[str]
    """Ids of all judgements behind the rows, sorted."""
    rows: str
    """Digest of all rows: the training rows, then the held-out ones."""
    settlements: list[str] = field(default_factory=list[str])
    """Ids of the settlements whose order rows have, sorted."""
    asks: dict[str, Any] = field(default_factory=dict[str, Any])
    """What was asked beside the order, as `store.details.Asks` writes it."""
    assistance: dict[str, Any] = field(default_factory=dict[str, Any])
    """Where it was drawn who reads critiques: `judgements`, how many of those that count were made with them none,
    before or after a first judgement; `aided`, the ids of those made with them; `critics`, how many critiques of which
    model they stood beside."""
    models: dict[str, int] = field(default_factory=dict[str, int])
    """How many answers of its items each model wrote."""
    split_by: Literal["prompt", "conversation"] = "prompt"
    """What is never cut in two. conversation: of a live campaign, whose items are turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """One item of a snapshot, with what each annotator said."""

    ranking: Ranking
    votes: tuple[tuple[str, tuple[int, ...]], ...]
    """(annotator, ranks) by handle; ranks as in `ranking`."""
    agreement: float | None
    """Share of pairs on which two annotators agree; None where no two of them ordered the same pair."""
    details: Mapping[str, Details]
    """By handle, what they said beside the order, in the order of `ranking`."""
    assistance: Mapping[str, str]
    """By handle, whether critiques were before them, where that was drawn; see `store.assistance.Beside.given`."""
    label: bool | None = None
    """Of a single answer: whether it is good."""


def freeze(store: Store, campaign_id: int, path: Path, *, held_out: float, seed: int) -> SnapshotManifest:
    """Write the campaign's judgements as they stand now to the folder `path`, whole or not at all.

    A prompt is held out by a hash of its messages and the seed: never cut in two, and next round on the same side. The
    turns of a live campaign's conversation go by what it began with, and so to one side.
    Raises StoreError when nothing was judged, or when a side would be empty though `held_out` asks for it.
    """
    if not 0 <= held_out < 1:
        raise StoreError(Problem("held_out", f"a share from 0 to under 1 was expected, not {held_out}"))
    with store.reading() as session:
        campaign = queries.campaign(session, campaign_id)
        people = queries.annotators(session)
        items = queries.items(session, campaign_id)
        said = queries.judgements(session, campaign_id)
        settled = {each.item: each for each in settlements.settled(session, campaign_id)}
        models = queries.writers(session, campaign_id)
        made, said_of = assistance.beside(session, campaign_id), critiques.by_item(session, campaign_id)
    ranked = [judgement for judgement in said if judgement.ranks]
    rows = [
        row | _assisted(row, made, said_of.get(item, ()))
        for item, row in _rows(campaign, items, ranked, settled).items()
    ]
    decided = sorted(row["settled"] for row in rows if "settled" in row)
    sides: dict[Split, list[dict[str, Any]]] = {"train": [], "heldout": []}
    for row in rows:
        sides[_side(_deciding(campaign, row["prompt"]), held_out, seed)].append(row)
    _refuse_empty(campaign, sides, held_out)
    edits = [
        edit
        for edit in _edits(items, ranked)
        if _side(_deciding(campaign, edit["messages"][:-1]), held_out, seed) == "train"
    ]
    kind = KINDS[campaign.kind]
    manifest = SnapshotManifest(
        version=VERSION,
        campaign=campaign.key,
        name=campaign.name,
        question=campaign.question,
        kind=campaign.kind,
        overlap=campaign.overlap,
        filter=FILTER,
        rule=kind.rule + (SETTLED[kind.holds] if decided else ""),
        ties=kind.ties,
        held_out=held_out,
        seed=seed,
        counts=_counts(items, rows, said, sides),
        annotators=_annotators(people, ranked),
        judgements=sorted(judgement for row in rows for judgement in row["judgements"]),
        rows=digest_value(sides["train"] + sides["heldout"]),
        settlements=decided,
        asks=campaign.asks.as_json(),
        assistance=_assistance(rows, made),
        models=models,
        split_by="conversation" if campaign.live else "prompt",
    )
    with folder(path) as filling:
        for split, part in sides.items():
            write_jsonl(filling / f"{split}.jsonl", part)
        if edits:
            write_jsonl(filling / "edits.jsonl", edits)
        write_json(filling / "snapshot.json", asdict(manifest))
    return manifest


def first_rows(session: Session, campaign_id: int, most: int) -> list[dict[str, Any]]:
    """As `freeze` would write them now, of the first `most` items that somebody judged; nothing is written."""
    campaign, items = queries.campaign(session, campaign_id), queries.first_judged(session, campaign_id, most)
    ids = [item.id for item in items]
    ranked = [said for said in queries.judgements_of(session, ids) if said.ranks]
    decided = (settlements.settlement(session, item) for item in ids)
    found = _rows(campaign, items, ranked, {each.item: each for each in decided if each and each.counts})
    made = assistance.beside(session, campaign_id, ids)
    return [row | _assisted(row, made, critiques.of_item(session, item)) for item, row in found.items()]


def read_manifest(path: Path) -> SnapshotManifest:
    """What a snapshot says of itself, after its bytes were checked. Raises DataError for a damaged or newer one."""
    verify(path)
    found = json.loads((path / "snapshot.json").read_bytes())
    if found["version"] != VERSION:
        problem = f"a snapshot of version {found['version']}; this burnish reads version {VERSION}"
        raise DataError(Problem(str(path), problem, "Freeze the campaign again."))
    return SnapshotManifest(**found)


def read_rows(path: Path, split: Split) -> list[SnapshotRow]:
    """One side of a snapshot, by prompt id. Raises DataError for one that holds labels."""
    return [as_row(row) for row in _read(path, split, "rankings")]


def read_either(path: Path, split: Split) -> list[SnapshotRow]:
    """One side of a snapshot, whichever it holds."""
    return [as_row(row) for row in _read(path, split, None)]


def read_labels(path: Path, split: Split) -> list[Labelled]:
    """One side of a snapshot of answers called good or bad. Raises DataError for one that holds rankings."""
    return [
        Labelled(prompt=_prompt(row), completion=row["completion"], desirable=row["label"])
        for row in _read(path, split, "labels")
    ]


def _read(path: Path, split: Split, wanted: str | None) -> list[dict[str, Any]]:
    found = KINDS[cast(CampaignKind, read_manifest(path).kind)].holds
    if wanted not in (None, found):
        mend = "kto learns from labels; reward, dpo and what follows from them learn from rankings."
        raise DataError(Problem(str(path), f"holds {found}, and {wanted} are wanted", mend))
    lines = (path / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def read_snapshot(path: Path, split: Split) -> list[Ranking]:
    """One side of a snapshot, without the single votes."""
    return [row.ranking for row in read_rows(path, split)]


def judgement_ids(path: Path) -> list[str]:
    """Ids of all judgements and settlements behind a snapshot: the trail from weights back to clicks."""
    manifest = read_manifest(path)
    return [*manifest.judgements, *manifest.settlements]


def _rows(
    campaign: Campaign, items: Sequence[Item], ranked: Iterable[Judgement], settled: Mapping[int, Settlement]
) -> dict[int, dict[str, Any]]:
    """By item, in the order of prompt ids, judgements and votes by annotator: `items` and `ranked` come so."""
    by_item: dict[int, list[Judgement]] = {}
    for judgement in ranked:
        by_item.setdefault(judgement.item, []).append(judgement)
    told = [item for item in items if item.id in by_item]
    rows = {item.id: _row(campaign, item, by_item[item.id], settled.get(item.id)) for item in told}
    return {item: row for item, row in rows.items() if row}


def _row(
    campaign: Campaign, item: Item, judgements: Sequence[Judgement], settlement: Settlement | None
) -> dict[str, Any] | None:
    """What people said of an item; where somebody settled it, with that order in place of the agreed one."""
    kind, ranks = KINDS[campaign.kind], [each.ranks or () for each in judgements]
    said = kind.row(item.answers, ranks, [each.details for each in judgements], campaign.asks)
    if settlement:
        said = kind.settle(item.answers, said or {}, settlement.ranks)
    if said is None:
        return None
    agreeing, compared = counted_agreement([each.compared for each in judgements])
    beside = [[each.annotator, each.details.as_json()] for each in judgements if each.details.said]
    chances = [[each.annotator, list(each.chances)] for each in judgements if each.chances]
    return {
        "id": item.prompt.id,
        "prompt": _turns(item),
        "meta": _meta(item),
        **said,
        "judgements": [judgement.id for judgement in judgements],
        "agreement": agreeing / compared if compared else None,
        "votes": [[judgement.annotator, list(judgement.compared)] for judgement in judgements],
        **({"details": json.loads(canonical(beside))} if beside else {}),
        **({"chances": chances} if chances else {}),
        **({"settled": settlement.id} if settlement else {}),
    }


def _assisted(row: Mapping[str, Any], made: Mapping[str, Beside], said: Critiques) -> dict[str, Any]:
    """What a row says of critiques, where it was drawn who reads them: who did, what they said without, the texts."""
    by = {
        handle: made[judgement]
        for judgement, (handle, _) in zip(row["judgements"], row["votes"], strict=True)
        if judgement in made
    }
    found: dict[str, Any] = {"assistance": [[handle, each.given] for handle, each in by.items()]} if by else {}
    if unaided := [[handle, list(each.unaided)] for handle, each in by.items() if each.unaided]:
        found["unaided"] = unaided
    if any(each.given != "none" for each in by.values()):
        found["critiques"] = [each and each.as_json() for each in said]
    return found


def _assistance(rows: Sequence[Mapping[str, Any]], made: Mapping[str, Beside]) -> dict[str, Any]:
    drawn = [each for row in rows for each in row["judgements"] if each in made]
    if not drawn:
        return {}
    aided = sorted(each for each in drawn if made[each].given != "none")
    told = Counter(made[each].given for each in drawn)
    critics = Counter(each["model"] for row in rows for each in row.get("critiques", ()) if each)
    return {"judgements": dict(sorted(told.items())), "aided": aided, "critics": dict(sorted(critics.items()))}


def _edits(items: Sequence[Item], ranked: Iterable[Judgement]) -> list[dict[str, Any]]:
    """What people wrote in the place of answers, as conversations; of items without a row too."""
    by_id = {item.id: item for item in items}
    return [
        {
            "id": f"{said.prompt_id}:{said.annotator}:{place}",
            "messages": [*_turns(by_id[said.item]), {"role": "assistant", "content": text}],
            "meta": _meta(by_id[said.item]),
        }
        for said in ranked
        for place, text in enumerate(said.details.edits)
        if text is not None
    ]


def _turns(item: Item) -> list[dict[str, str]]:
    return [message.as_json() for message in item.prompt.messages]


def _meta(item: Item) -> dict[str, Any]:
    """Its keys in one order, whoever wrote them."""
    found: dict[str, Any] = json.loads(canonical(dict(item.prompt.meta)))
    return found


def _deciding(campaign: Campaign, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """What decides a prompt's side: all of it; of a live conversation's what its person said first."""
    if campaign.live is None:
        return messages
    first = next(place for place, turn in enumerate(messages) if turn["role"] == "user")
    return messages[: first + 1]


def _side(messages: list[dict[str, str]], held_out: float, seed: int) -> Split:
    drawn = int(digest_value([seed, messages])[:16], 16) / 16**16
    return "heldout" if drawn < held_out else "train"


def _refuse_empty(campaign: Campaign, sides: dict[Split, list[dict[str, Any]]], held_out: float) -> None:
    if not any(sides.values()):
        mend = "Collect judgements first."
        raise StoreError(Problem(f"campaign {campaign.key}", "nothing in it was judged yet", mend))
    if held_out and not all(sides.values()):
        empty = "held-out" if sides["train"] else "training"
        found = f"no prompt of {len(sides['train'] or sides['heldout'])} fell on the {empty} side"
        raise StoreError(Problem(f"campaign {campaign.key}", found, "Add prompts, or change held_out or the seed."))


def _counts(
    items: Sequence[Item],
    rows: Sequence[dict[str, Any]],
    said: Sequence[Judgement],
    sides: dict[Split, list[dict[str, Any]]],
) -> dict[str, int]:
    votes = defaultdict[int, list[tuple[int, ...]]](list)
    for judgement in said:
        if judgement.ranks:
            votes[judgement.item].append(judgement.compared)
    pairs = [counted_agreement(each) for each in votes.values()]
    return {
        "items": len(items),
        "rows": len(rows),
        "left_out": len(items) - len(rows),
        "judgements": sum(judgement.ranks is not None for judgement in said),
        "skipped": sum(judgement.skip is not None for judgement in said),
        **{split: len(part) for split, part in sides.items()},
        "pairs_agreeing": sum(agreeing for agreeing, _ in pairs),
        "pairs_compared": sum(compared for _, compared in pairs),
    }


def _annotators(people: Sequence[Annotator], ranked: Iterable[Judgement]) -> list[dict[str, Any]]:
    done = Counter(judgement.annotator for judgement in ranked)
    return [
        {"name": person.handle, "kind": person.kind, "judgements": done[person.handle]}
        | ({"about": dict(person.about)} if person.about else {})
        for person in sorted(people, key=lambda person: person.handle)
        if done[person.handle]
    ]


def as_row(row: dict[str, Any]) -> SnapshotRow:
    """A row as it is written. A single answer is an order of one."""
    ranking = Ranking(
        prompt=_prompt(row),
        completions=tuple(row.get("completions") or [row["completion"]]),
        ranks=tuple(row.get("ranks") or [1]),
        judgements=tuple(row["judgements"]),
        strengths=tuple(row.get("strengths", ())),
    )
    votes = tuple((name, tuple(ranks)) for name, ranks in row["votes"])
    details = {name: Details.of(said) for name, said in row.get("details", ())}
    return SnapshotRow(
        ranking=ranking,
        votes=votes,
        agreement=row["agreement"],
        details=details,
        assistance=dict(row.get("assistance", ())),
        label=row.get("label"),
    )


def _prompt(row: dict[str, Any]) -> Prompt:
    messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in row["prompt"])
    return Prompt(id=row["id"], messages=messages, meta=row["meta"])
