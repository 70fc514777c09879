"""Exports: what trainers read, that no prompt is cut, and a card that names nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.errors import ConfigError, StoreError
from burnish.label.campaigns import take_in
from burnish.label.export import FORMS, export
from burnish.records.durable import verify
from burnish.records.entries import Entry, Vote
from burnish.records.formats import read_labelled, read_rankings
from burnish.store.session import Store
from burnish.store.snapshot import read_snapshot
from burnish.types import Message, Prompt

PEOPLE = ("Amina Okafor", "Bob Lindqvist")


@pytest.fixture
def judged(store: Store) -> Store:
    """20 prompts in two items each: of three answers the first is best and the last worst, but once they tie."""
    entries: list[Entry] = []
    for number in range(40):
        prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number // 2}"),))
        ranks = (1, 1, 1) if number == 39 else (1, 2, 3)
        votes = tuple(Vote(who=who, ranks=ranks) for who in PEOPLE)
        texts = (f"good {number}", f"fair {number}", f"poor {number}")
        entries.append(Entry(where="here", prompt=prompt, completions=texts, votes=votes))
    take_in(store, "round", entries, question="Which is *better*?")
    return store


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_preferences_are_trls(judged: Store, tmp_path: Path):
    found = export(judged, "round", "preference", tmp_path / "out", held_out=0.3, seed=1)
    train = rows(tmp_path / "out" / "train.jsonl")
    assert train[0].keys() == {"prompt", "chosen", "rejected"}
    assert all(isinstance(row["chosen"], list) and row["chosen"][0]["role"] == "assistant" for row in train)
    assert sum(found["rows"].values()) == 39 * 3
    ranked = read_rankings(tmp_path / "out" / "train.jsonl")
    assert {each.completions[0][:4] for each in ranked} == {"good", "fair"}
    assert all(each.completions[1][:4] != "good" for each in ranked)


def test_unpaired_are_trls(judged: Store, tmp_path: Path):
    export(judged, "round", "unpaired", tmp_path / "out")
    train = rows(tmp_path / "out" / "train.jsonl")
    assert train[0].keys() == {"prompt", "completion", "label"}
    labelled = read_labelled(tmp_path / "out" / "train.jsonl")
    assert len(labelled) == 39 * 2, "what is neither best nor worst, and what ties, says nothing"
    assert all(each.desirable == each.completion.startswith("good") for each in labelled)
    assert not (tmp_path / "out" / "heldout.jsonl").exists()


def test_rankings_are_ours(judged: Store, tmp_path: Path):
    export(judged, "round", "rankings", tmp_path / "out")
    ranked = read_rankings(tmp_path / "out" / "train.jsonl")
    assert len(ranked) == 40
    assert all(len(each.judgements) == 2 for each in ranked)


def test_a_snapshot_can_be_trained_from(judged: Store, tmp_path: Path):
    export(judged, "round", "snapshot", tmp_path / "out", held_out=0.3, seed=1)
    assert len(read_snapshot(tmp_path / "out", "train")) + len(read_snapshot(tmp_path / "out", "heldout")) == 40


def test_parquet_has_every_vote(judged: Store, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    export(judged, "round", "parquet", tmp_path / "out")
    table = parquet.read_table(tmp_path / "out" / "train.parquet")
    assert table.num_rows == 40
    assert table.column("votes")[0].as_py() == [
        {"annotator": who, "ranks": [1, 2, 3], "assistance": "none"} for who in PEOPLE
    ]


@pytest.mark.parametrize("form", FORMS)
def test_no_prompt_is_on_both_sides(judged: Store, tmp_path: Path, form: str):
    if form == "parquet":
        pytest.importorskip("pyarrow")
        return
    export(judged, "round", form, tmp_path / "out", held_out=0.3, seed=1)
    train, heldout = (
        {json.dumps(row["prompt"]) for row in rows(tmp_path / "out" / f"{split}.jsonl")}
        for split in ("train", "heldout")
    )
    assert train
    assert heldout
    assert not train & heldout
    verify(tmp_path / "out")


def test_the_card_counts_people_and_names_none(judged: Store, tmp_path: Path):
    export(judged, "round", "preference", tmp_path / "out", held_out=0.3, licence="CC-BY-4.0")
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith('---\nlicense: "CC-BY-4.0"\n')
    assert "2 annotators from elsewhere: 80 judgements" in text
    assert "    Which is *better*?" in text
    assert "alike 100.0% of the time" in text
    assert "mean-rank; ties are kept" in text
    assert not any(name in text for name in PEOPLE)


def test_an_unsaid_licence_is_not_invented(judged: Store, tmp_path: Path):
    export(judged, "round", "rankings", tmp_path / "out")
    assert "Unknown: nobody said." in (tmp_path / "out" / "README.md").read_text()


def test_nothing_is_replaced_or_half_written(judged: Store, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="replaces nothing"):
        export(judged, "round", "rankings", tmp_path / "out")
    with pytest.raises(StoreError, match="none of this name"):
        export(judged, "rounds", "rankings", tmp_path / "new")
    assert not (tmp_path / "new").exists()
