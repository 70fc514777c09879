"""Freezing: what is in it, and that nothing but the judgements decides its bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from burnish.errors import DataError, StoreError
from burnish.records.durable import digest_folder
from burnish.store import queries, tasks
from burnish.store.session import Store, open_store
from burnish.store.snapshot import freeze, judgement_ids, read_manifest, read_rows, read_snapshot
from burnish.types import Message, Prompt

NAMES = ("Amina", "Bob", "Chen")
RANKS = {"Amina": (1, 2, 3), "Bob": (1, 3, 2), "Chen": (3, 1, 2)}
"""In the answers' own order; the mean-rank order is worked out in `test_ranks`' way: sums 5, 6, 7."""


def build(path: Path, *, prompts: int = 30, seed: int = 0) -> tuple[Store, int]:
    """A database whose rows arrive in an order that `seed` shuffles, at times that it chooses."""
    chance = random.Random(seed)
    store = open_store(path)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=seed)
    numbers, names = list(range(prompts)), list(NAMES)
    chance.shuffle(numbers)
    chance.shuffle(names)
    with store.transaction() as write:
        if seed:
            queries.create_campaign(write, key="other", name="o", question="?", kind="pairwise", overlap=1)
        campaign = queries.create_campaign(
            write, key="key", name="Round 1", question="?", kind="ranking", overlap=3, now=now
        )
        who = {name: queries.add_annotator(write, name, "person", now=now) for name in names}
        for number in numbers:
            meta = {"b": 1, "a": number} if seed else {"a": number, "b": 1}
            # two prompt ids for each text: the split must keep them together
            messages = (Message(role="user", content=f"Question {number // 2}"),)
            prompt = Prompt(id=f"p{number:03}", messages=messages, meta=meta)
            queries.add_item(write, campaign, prompt, [(f"answer {k}", "model") for k in range(3)], now=now)
    acts = [(name, number) for name in names for number in numbers if number]  # nobody judges prompt 0
    chance.shuffle(acts)
    with store.transaction() as write:
        for name, number in acts:
            task = tasks.next_task(write, campaign, who[name], now, prompt_id=f"p{number:03}")
            assert task
            submission = f"{name} {number}"
            if (name, number) == ("Chen", 1):
                tasks.submit(write, task=task.id, submission=submission, skip="unsure", now=now)
            else:
                shown = [RANKS[name][position] for position in task.order]
                tasks.submit(write, task=task.id, submission=submission, ranks=shown, now=now)
    return store, campaign


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    store, campaign = build(folder / "db")
    freeze(store, campaign, folder / "snapshot", held_out=0.3, seed=1)
    store.close()
    return folder / "snapshot"


def test_rows_hold_the_agreed_order_and_the_votes(frozen: Path):
    rows = {row.ranking.prompt.id: row for row in read_rows(frozen, "train") + read_rows(frozen, "heldout")}
    row = rows["p002"]
    assert row.ranking.completions == ("answer 0", "answer 1", "answer 2")
    assert row.ranking.ranks == (1, 2, 3)
    assert row.votes == tuple(RANKS.items())
    # Better than, in each vote: Amina 0>1 0>2 1>2, Bob 0>1 0>2 2>1, Chen 1>0 2>0 1>2.
    # So Amina and Bob share 2 of 3, Amina and Chen 1, Bob and Chen none.
    assert row.agreement == pytest.approx(3 / 9)
    assert rows["p001"].votes == (("Amina", (1, 2, 3)), ("Bob", (1, 3, 2)))  # Chen skipped it
    assert rows["p001"].ranking.ranks == (1, 2, 2)
    assert "p000" not in rows


def test_the_manifest_says_what_was_done(frozen: Path):
    manifest = read_manifest(frozen)
    assert (manifest.campaign, manifest.rule, manifest.ties) == ("key", "mean-rank", "kept")
    counts = manifest.counts
    assert (counts["items"], counts["rows"], counts["left_out"]) == (30, 29, 1)
    assert (counts["judgements"], counts["skipped"]) == (3 * 29 - 1, 1)
    assert counts["train"] + counts["heldout"] == 29
    assert (counts["pairs_agreeing"], counts["pairs_compared"]) == (28 * 3 + 2, 28 * 9 + 3)
    assert manifest.annotators[2] == {"name": "Chen", "kind": "person", "judgements": 28}
    of_rows = [id for split in ("train", "heldout") for each in read_snapshot(frozen, split) for id in each.judgements]
    assert sorted(of_rows) == judgement_ids(frozen)
    assert len(set(of_rows)) == 86


def test_no_prompt_text_is_on_both_sides(frozen: Path):
    sides = [{row.prompt.messages for row in read_snapshot(frozen, split)} for split in ("train", "heldout")]
    assert all(sides)
    assert not sides[0] & sides[1]
    for side in ("train", "heldout"):  # and both ids of a text are on the same side
        ids = {row.prompt.id for row in read_snapshot(frozen, side)}
        assert all((f"p{n:03}" in ids) == (f"p{n + 1:03}" in ids) for n in range(2, 30, 2))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_judgements_give_the_same_bytes_in_any_database(frozen: Path, tmp_path: Path, seed: int):
    store, campaign = build(tmp_path / "db", seed=seed)
    for _ in range(2):
        freeze(store, campaign, tmp_path / "snapshot", held_out=0.3, seed=1)
        assert digest_folder(tmp_path / "snapshot") == digest_folder(frozen)
    freeze(store, campaign, tmp_path / "snapshot", held_out=0.3, seed=2)
    assert digest_folder(tmp_path / "snapshot") != digest_folder(frozen)
    store.close()


def test_a_held_out_prompt_stays_held_out_when_prompts_are_added(frozen: Path, tmp_path: Path):
    store, campaign = build(tmp_path / "db", prompts=40)
    freeze(store, campaign, tmp_path / "snapshot", held_out=0.3, seed=1)
    store.close()
    before, after = (
        {row.prompt.id for row in read_snapshot(path, "heldout")} for path in (frozen, tmp_path / "snapshot")
    )
    assert before <= after


def test_a_revision_changes_the_snapshot(tmp_path: Path):
    store, campaign = build(tmp_path / "db", prompts=12)
    old = freeze(store, campaign, tmp_path / "old", held_out=0.0, seed=1)
    with store.reading() as read:
        task = next(each for each in queries.judgements(read, campaign) if each.annotator == "Bob").task
    with store.transaction() as write:
        new_id = tasks.submit(write, task=task, submission="second thought", ranks=[1, 1, 1], revise=True).id
    new = freeze(store, campaign, tmp_path / "new", held_out=0.0, seed=1)
    store.close()
    assert new.rows != old.rows
    assert len(new.judgements) == len(old.judgements)
    assert set(new.judgements) - set(old.judgements) == {new_id}
    assert new.counts["heldout"] == 0
    assert read_snapshot(tmp_path / "new", "heldout") == []


def test_nothing_judged_or_an_empty_side_is_refused(store: Store, fill: Callable[..., int], tmp_path: Path):
    with pytest.raises(StoreError, match="nothing in it was judged"):
        freeze(store, fill(store), tmp_path / "snapshot", held_out=0.2, seed=0)
    small, campaign = build(tmp_path / "db", prompts=2)  # one of them judged
    with pytest.raises(StoreError, match="no prompt of 1 fell"):
        freeze(small, campaign, tmp_path / "snapshot", held_out=0.5, seed=0)
    with pytest.raises(StoreError, match="held_out"):
        freeze(small, campaign, tmp_path / "snapshot", held_out=1.0, seed=0)
    small.close()
    assert not (tmp_path / "snapshot").exists()


def test_a_changed_byte_is_refused(frozen: Path, tmp_path: Path):
    store, campaign = build(tmp_path / "db", prompts=6)
    freeze(store, campaign, tmp_path / "snapshot", held_out=0.0, seed=0)
    store.close()
    file = tmp_path / "snapshot" / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["ranks"].reverse()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="changed since"):
        read_snapshot(tmp_path / "snapshot", "train")
