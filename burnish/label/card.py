"""The data card of an export: what it is, who judged, how they agree, by which rules. Names nobody.

It states what the snapshot's manifest records. Texts that somebody wrote stand indented, as Markdown shows them
unchanged.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from burnish.errors import plain
from burnish.store.snapshot import SnapshotManifest
from burnish.types import Estimate

KINDS = {
    "person": ("person", "people"),
    "simulated": ("simulated annotator", "simulated annotators"),
    "model": ("model", "models"),
    "imported": ("annotator from elsewhere", "annotators from elsewhere"),
}


def card(
    manifest: SnapshotManifest,
    agreeing: Estimate | None,
    *,
    form: str,
    says: str,
    rows: Mapping[str, int],
    licence: str,
) -> str:
    """The Markdown of README.md, with the front matter that the Hub reads."""
    parts = [
        _front(licence),
        f"# {plain(manifest.name)}",
        f"Preferences of answers to prompts, exported by burnish as `{form}`: {says}.",
        f"The question was:\n\n{_quoted(manifest.question)}",
        "## Who judged",
        _who(manifest.annotators),
        *_principles(manifest.annotators),
        "## How they agree",
        _agreement(agreeing),
        "## How the rows were made",
        _rules(manifest),
        *_assistance(manifest.assistance),
        "## Splits",
        _splits(manifest, rows),
        "## Licence",
        f"{plain(licence)}, as whoever exported it says."
        if licence != "unknown"
        else "Unknown: nobody said. Ask before you use or share it.",
        "## Provenance",
        "`snapshot.json` names the single judgements behind the rows, and the digest of the rows that they were frozen "
        "as. `manifest.json` has the SHA-256 digest of every file.",
    ]
    return "\n\n".join(parts) + "\n"


def _front(licence: str) -> str:
    return f"---\nlicense: {json.dumps(plain(licence), ensure_ascii=False)}\ntags:\n- preference\n- burnish\n---"


def _who(annotators: list[dict[str, Any]]) -> str:
    people, said = Counter[str](), Counter[str]()
    for each in annotators:
        people[each["kind"]] += 1
        said[each["kind"]] += each["judgements"]
    lines = [f"- {count} {KINDS[kind][count != 1]}: {said[kind]} judgements" for kind, count in sorted(people.items())]
    return "\n".join(lines)


def _principles(annotators: list[dict[str, Any]]) -> list[str]:
    return [
        f"The model `{plain(each['about'].get('model', each['name']))}` was asked to judge by:\n\n"
        f"{_quoted(str(each['about'].get('principles', '')))}"
        for each in annotators
        if each.get("about")
    ]


def _agreement(found: Estimate | None) -> str:
    if found is None:
        return "Not known: no two of them ordered the same two answers."
    return (
        f"Two of them ordered the same two answers alike {found.value:.1%} of the time (95% interval {found.low:.1%} "
        f"to {found.high:.1%}, over {found.n} items). Ties are left out of this."
    )


def _rules(manifest: SnapshotManifest) -> str:
    counts = manifest.counts
    return "\n".join(
        [
            f"- judgements that were taken: {manifest.filter}",
            f"- the agreed order of an item's answers: {manifest.rule}; ties are {manifest.ties}",
            f"- wanted: {manifest.overlap} judgements of each item",
            f"- items: {counts['items']}, of which {counts['rows']} were judged; {counts['skipped']} skips",
        ]
    )


def _assistance(found: Mapping[str, Any]) -> list[str]:
    """What a reader must know of critiques; nothing where nobody was shown any."""
    if not found.get("aided"):
        return []
    counts = {"none": 0, "before": 0, "after": 0, **found["judgements"]}
    critics = "\n".join(f"- `{plain(name)}`: {count} critiques" for name, count in found["critics"].items())
    return [
        "## Assistance",
        f"Of judgements of which a draw decided it, {counts['before']} were made with a model's critiques of the "
        f"answers in sight, {counts['after']} were made again after such critiques came to a first judgement, and "
        f"{counts['none']} without. `snapshot.json` names those that were assisted. The critiques were written by:",
        critics,
    ]


def _splits(manifest: SnapshotManifest, rows: Mapping[str, int]) -> str:
    told = "\n".join(f"- {split}: {count} rows" for split, count in rows.items())
    if manifest.split_by == "conversation":
        return (
            f"{told}\n\nThe items are turns of conversations between people and models. A share of "
            f"{manifest.held_out:g} is held out by a hash of a conversation's first message and the seed "
            f"{manifest.seed}: no conversation, and no prompt, stands on both sides."
        )
    return (
        f"{told}\n\nA share of {manifest.held_out:g} of the prompts is held out by a hash of the prompt and the seed "
        f"{manifest.seed}: no prompt stands on both sides."
    )


def _quoted(text: str) -> str:
    return "\n".join(f"    {plain(line, 2000)}" for line in text.splitlines() or [""])
