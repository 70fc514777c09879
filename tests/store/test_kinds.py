"""What judgements of each kind of campaign may say, how it is kept, and what a snapshot makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from burnish.errors import DataError, StoreError
from burnish.records.durable import digest_value
from burnish.records.formats import read_examples, read_labelled
from burnish.store import events, queries, tasks
from burnish.store.details import NOTHING_MORE, ORDER_ONLY, Asks, Details
from burnish.store.kinds import KINDS, settled
from burnish.store.schema import EventRow
from burnish.store.session import Store
from burnish.store.snapshot import freeze, judgement_ids, read_labels, read_manifest, read_rows
from burnish.store.views import Campaign, CampaignKind, Judgement
from burnish.types import Message, Prompt

Said = tuple[Sequence[int] | None, Details]
"""Ranks and details in the answers' own order."""


def campaign(
    store: Store, kind: CampaignKind, asks: Asks = ORDER_ONLY, *, answers: int = 2, items: int = 1, overlap: int = 3
) -> int:
    with store.transaction() as write:
        made = queries.create_campaign(
            write, key=kind, name="Round", question="?", kind=kind, overlap=overlap, asks=asks
        )
        for number in range(items):
            prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}"),))
            queries.add_item(write, made, prompt, [(f"answer {place}", "model") for place in range(answers)])
    return made


def say(store: Store, campaign: int, name: str, *said: Said) -> list[Judgement]:
    """Somebody judges the campaign's items in turn, whatever order they are shown in."""
    found: list[Judgement] = []
    with store.transaction() as write:
        who = queries.add_annotator(write, name, "person")
        for number, (ranks, details) in enumerate(said):
            task = tasks.next_task(write, campaign, who)
            assert task
            shown = None if ranks is None else [ranks[position] for position in task.order]
            found.append(
                tasks.submit(
                    write,
                    task=task.id,
                    submission=f"{name} {number}",
                    ranks=shown,
                    details=details.shown_order(task.order),
                )
            )
    return found


def frozen(store: Store, campaign: int, path: Path) -> list[dict[str, Any]]:
    freeze(store, campaign, path, held_out=0.0, seed=0)
    return [json.loads(line) for line in (path / "train.jsonl").read_text().splitlines()]


@contextmanager
def refused(match: str) -> Iterator[None]:
    with pytest.raises(StoreError, match=match):
        yield


def test_a_campaign_keeps_what_it_asks(store: Store):
    made = campaign(store, "pairwise", Asks(strength=True))
    with store.reading() as read:
        found: Campaign = queries.campaign(read, made)
    assert found.asks == Asks(strength=True)
    assert campaign(store, "pairwise", Asks(strength=True)) == made
    with refused("exists already with another asks"):
        campaign(store, "pairwise")


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_has_as_many_answers_as_its_kind_takes(store: Store, kind: CampaignKind):
    asks = Asks(axes=("helpful",)) if kind == "scale" else Asks()
    for count in (KINDS[kind].fewest - 1, KINDS[kind].most + 1):
        with refused(f"of the kind {kind} takes"):
            campaign(store, kind, asks, answers=count)
    campaign(store, kind, asks, answers=KINDS[kind].most)


def test_strength_and_both_bad_are_kept(store: Store):
    made = campaign(store, "pairwise", Asks(strength=True), items=3)
    said = say(
        store,
        made,
        "Amina",
        ((1, 2), Details(strength=3)),
        ((2, 1), Details(strength=1)),
        ((1, 1), Details(both_bad=True)),
    )
    assert [(each.ranks, each.details) for each in said] == [
        ((1, 2), Details(strength=3)),
        ((2, 1), Details(strength=1)),
        ((1, 1), Details(both_bad=True)),
    ]


@pytest.mark.parametrize(
    ("asks", "said", "message"),
    [
        (Asks(strength=True), ((1, 2), Details()), "how far the better answer is ahead"),
        (Asks(strength=True), ((1, 2), Details(strength=4)), "how far the better answer is ahead"),
        (Asks(strength=True), ((1, 1), Details(strength=1)), "is said of the better of two"),
        (Asks(), ((1, 2), Details(strength=1)), "where a campaign asks for it"),
        (Asks(), ((1, 2), Details(both_bad=True)), "one answer is better"),
        (Asks(), ((1, 2), Details(good=True)), "nothing that a judgement of the kind pairwise"),
        (Asks(), (None, Details(both_bad=True)), "ranks: are missing"),
    ],
)
def test_what_a_pair_cannot_be(asks: Asks, said: Said, message: str):
    with refused(message):
        settled("pairwise", asks, 2, *said)


def test_flags_and_reasons_are_kept_for_their_answers_and_in_the_snapshot(store: Store, tmp_path: Path):
    made = campaign(store, "ranking", answers=3)
    details = Details(flags=((), ("harmful:hate", "personal_data"), ("refused_wrongly",)), rationale="Because.")
    (said,) = say(store, made, "Amina", ((1, 2, 3), details))
    say(store, made, "Bob", ((1, 2, 3), NOTHING_MORE))
    assert said.details == details
    (row,) = frozen(store, made, tmp_path / "snapshot")
    assert row["details"] == [
        ["Amina", {"flags": [[], ["harmful:hate", "personal_data"], ["refused_wrongly"]], "rationale": "Because."}]
    ]
    assert read_rows(tmp_path / "snapshot", "train")[0].details == {"Amina": details}


def test_what_people_wrote_better_is_in_the_snapshot_as_conversations(store: Store, tmp_path: Path):
    made = campaign(store, "pairwise", Asks(edits=True), items=12, overlap=2)
    better = [((1, 2), Details(edits=(None, f"Better {number}."))) for number in range(12)]
    say(store, made, "Amina", *better)
    say(store, made, "Bob", ((1, 2), Details(edits=("Bob's first.", "Bob's."))), *([((1, 2), NOTHING_MORE)] * 11))
    freeze(store, made, tmp_path / "snapshot", held_out=0.3, seed=0)
    found = read_examples(tmp_path / "snapshot" / "edits.jsonl")
    learned = {row.ranking.prompt.id for row in read_rows(tmp_path / "snapshot", "train")}
    assert {example.id.split(":")[0] for example in found} == learned != {f"p{number}" for number in range(12)}
    texts = {example.messages[-1].content for example in found}
    assert {f"Better {number}." for number in range(12) if f"p{number}" in learned} <= texts
    assert all(example.messages[0].content.startswith("Question") for example in found)
    assert ("Bob's first." in texts) == ("p0" in learned)


def test_a_better_text_of_an_undecided_answer_is_kept(store: Store, tmp_path: Path):
    made = campaign(store, "good_bad", Asks(edits=True), answers=1, items=2)
    say(store, made, "Amina", GOOD, GOOD)
    say(store, made, "Bob", (None, Details(good=False, edits=("Better.",))), GOOD)
    assert [row["id"] for row in frozen(store, made, tmp_path / "snapshot")] == ["p1"]
    (example,) = read_examples(tmp_path / "snapshot" / "edits.jsonl")
    assert [message.content for message in example.messages] == ["Question 0", "Better."]


def test_a_snapshot_without_edits_has_no_file_of_them(store: Store, tmp_path: Path):
    made = campaign(store, "pairwise", Asks(edits=True))
    say(store, made, "Amina", ((1, 2), NOTHING_MORE))
    frozen(store, made, tmp_path / "snapshot")
    assert not (tmp_path / "snapshot" / "edits.jsonl").exists()


@pytest.mark.parametrize(
    ("asks", "details", "message"),
    [
        (ORDER_ONLY, Details(flags=(("ugly",), ())), '"ugly" is no flag'),
        (ORDER_ONLY, Details(flags=(("personal_data",),)), "lists for 1 answers, of 2"),
        (ORDER_ONLY, Details(flags=(("harmful:hate", "harmful:crime"), ())), "harmful in one way"),
        (ORDER_ONLY, Details(rationale="x" * 2001), "2,001 characters"),
        (ORDER_ONLY, Details(edits=("better", None)), "does not ask for any"),
        (Asks(edits=True), Details(edits=("better",)), "edits: of 1 answers"),
        (Asks(edits=True), Details(edits=(" ", None)), "1 to 20,000 characters"),
        (Asks(rationale=True), NOTHING_MORE, "rationale: is missing"),
    ],
)
def test_flags_and_reasons_that_cannot_be(store: Store, asks: Asks, details: Details, message: str):
    made = campaign(store, "pairwise", asks)
    with store.transaction() as write:
        task = tasks.next_task(write, made, queries.add_annotator(write, "Amina", "person"))
        assert task
        with pytest.raises(StoreError, match=message):
            tasks.submit(write, task=task.id, submission="s", ranks=(1, 2), details=details)


def test_the_log_binds_what_was_said_without_the_words(store: Store):
    made = campaign(store, "pairwise")
    say(store, made, "Amina", ((1, 2), Details(rationale="a name that must go")))
    with store.reading() as read:
        lines = [row.payload for row in read.scalars(select(EventRow)) if row.verb == "judgement.add"]
        events.verify_log(read)
    assert lines[0]["details"] == digest_value({"rationale": "a name that must go"})


def test_the_same_submission_with_another_strength_is_refused(store: Store):
    made = campaign(store, "pairwise", Asks(strength=True))
    (said,) = say(store, made, "Amina", ((1, 2), Details(strength=3)))
    with store.transaction() as write:
        task = tasks.find(write, said.task)
        shown = [(1, 2)[position] for position in task.order]

        def again(strength: int) -> Judgement:
            details = Details(strength=strength)
            return tasks.submit(write, task=task.id, submission=said.submission, ranks=shown, details=details)

        assert again(3) == said
        with refused("sent before with another answer"):
            again(2)


def test_a_snapshot_has_the_mean_strength_of_each_answer(store: Store, tmp_path: Path):
    """Two are slightly for the first, one is much for the second: by ranks the first is ahead."""
    made = campaign(store, "pairwise", Asks(strength=True), items=2)
    say(store, made, "Amina", ((1, 2), Details(strength=1)), ((1, 1), Details(both_bad=True)))
    say(store, made, "Bob", ((1, 2), Details(strength=1)), ((1, 2), Details(strength=3)))
    say(store, made, "Chen", ((2, 1), Details(strength=3)), ((1, 1), Details()))
    first, second = frozen(store, made, tmp_path / "snapshot")
    assert first["ranks"] == [1, 2]
    assert first["strengths"] == pytest.approx([2 / 3, 1.0])
    assert "both_bad" not in first
    assert second["strengths"] == pytest.approx([1.0, 0.0])
    assert second["both_bad"] == pytest.approx(1 / 3)
    row, _ = read_rows(tmp_path / "snapshot", "train")
    assert row.ranking.strengths == pytest.approx((2 / 3, 1.0))
    assert row.details == {
        "Amina": Details(strength=1),
        "Bob": Details(strength=1),
        "Chen": Details(strength=3),
    }
    assert read_manifest(tmp_path / "snapshot").asks == {"strength": True}


def test_all_rows_of_a_campaign_that_asks_have_strengths(store: Store, tmp_path: Path):
    made = campaign(store, "pairwise", Asks(strength=True), items=2)
    say(store, made, "Amina", ((1, 1), Details()), ((1, 2), Details(strength=2)))
    tie, ahead = frozen(store, made, tmp_path / "snapshot")
    assert (tie["strengths"], ahead["strengths"]) == ([0, 0], [2, 0])


AXES = Asks(axes=("helpful", "honest"))


def grades(*answers: tuple[int, int]) -> Details:
    return Details(ratings=tuple({"helpful": helpful, "honest": honest} for helpful, honest in answers))


def test_a_scale_ranks_by_the_mean_of_its_axes(store: Store, tmp_path: Path):
    made = campaign(store, "scale", AXES, answers=3, overlap=2)
    (amina,) = say(store, made, "Amina", (None, grades((7, 1), (4, 4), (2, 7))))
    (bob,) = say(store, made, "Bob", (None, grades((6, 2), (1, 1), (5, 5))))
    assert (amina.ranks, bob.ranks) == ((2, 2, 1), (2, 3, 1))  # sums 8, 8, 9 and 8, 2, 10
    assert amina.details.ratings[2] == {"helpful": 2, "honest": 7}
    (row,) = frozen(store, made, tmp_path / "snapshot")
    assert row["ranks"] == [2, 3, 1]
    assert row["ratings"] == {"helpful": [6.5, 2.5, 3.5], "honest": [1.5, 2.5, 6.0]}
    assert row["strengths"] == [4.0, 2.5, 4.75]
    (read,) = read_rows(tmp_path / "snapshot", "train")
    assert read.ranking.strengths == (4.0, 2.5, 4.75)
    assert row["votes"] == [["Amina", [2, 2, 1]], ["Bob", [2, 3, 1]]]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ((None, grades((1, 1))), "each of 2 answers has a grade on: helpful, honest"),
        ((None, Details(ratings=({"helpful": 1}, {"helpful": 1}))), "each of 2 answers"),
        ((None, grades((0, 1), (1, 1))), "whole numbers from 1 to 7"),
        ((None, grades((1, 8), (1, 1))), "whole numbers from 1 to 7"),
        ((None, grades((True, 1), (1, 1))), "whole numbers from 1 to 7"),
        (((1, 2), grades((1, 1), (7, 7))), "follow from what was said"),
        (((1, 2), NOTHING_MORE), "each of 2 answers"),
    ],
)
def test_what_grades_cannot_be(said: Said, message: str):
    with refused(message):
        settled("scale", AXES, 2, *said)


@pytest.mark.parametrize(
    ("kind", "asks", "message"),
    [
        ("scale", ORDER_ONLY, "axes: are missing"),
        ("scale", Asks(axes=("helpful", "helpful")), "each its own"),
        ("scale", Asks(axes=(" ",)), "1 to 60 characters"),
        ("ranking", AXES, "axes: is nothing that a campaign of the kind ranking asks"),
        ("good_bad", Asks(strength=True), "strength: is nothing that"),
    ],
)
def test_what_a_campaign_cannot_ask(store: Store, kind: CampaignKind, asks: Asks, message: str):
    with refused(message):
        campaign(store, kind, asks)


GOOD, BAD = (None, Details(good=True)), (None, Details(good=False))


def test_single_answers_become_labels_that_kto_reads(store: Store, tmp_path: Path):
    made = campaign(store, "good_bad", answers=1, items=4)
    say(store, made, "Amina", GOOD, BAD, GOOD, GOOD)
    say(store, made, "Bob", GOOD, BAD, BAD, BAD)
    (last, *_) = say(store, made, "Chen", GOOD)
    assert last.ranks == (1,)
    freeze(store, made, tmp_path / "snapshot", held_out=0.0, seed=0)
    found = read_labelled(tmp_path / "snapshot" / "train.jsonl")
    assert [(row.prompt.messages[0].content, row.completion, row.desirable) for row in found] == [
        ("Question 0", "answer 0", True),
        ("Question 1", "answer 0", False),
    ]
    own = read_labels(tmp_path / "snapshot", "train")
    assert [(row.prompt.id, row.desirable) for row in own] == [("p0", True), ("p1", False)]
    manifest = read_manifest(tmp_path / "snapshot")
    assert (manifest.rule, manifest.ties) == ("majority", "left out")
    assert (manifest.counts["rows"], manifest.counts["left_out"]) == (2, 2)  # two were undecided
    assert len(judgement_ids(tmp_path / "snapshot")) == 3 + 2
    assert (manifest.counts["pairs_agreeing"], manifest.counts["pairs_compared"]) == (4, 6)  # the undecided ones too
    with pytest.raises(DataError, match="holds labels, and rankings are wanted"):
        read_rows(tmp_path / "snapshot", "train")


def test_rankings_are_no_labels(store: Store, tmp_path: Path):
    made = campaign(store, "pairwise")
    say(store, made, "Amina", ((1, 2), NOTHING_MORE))
    frozen(store, made, tmp_path / "snapshot")
    with pytest.raises(DataError, match="holds rankings, and labels are wanted"):
        read_labels(tmp_path / "snapshot", "train")


@pytest.mark.parametrize(
    ("said", "message"), [(((1,), NOTHING_MORE), "good: is missing"), ((None, Details(strength=1)), "nothing that")]
)
def test_what_a_label_cannot_be(said: Said, message: str):
    with refused(message):
        settled("good_bad", ORDER_ONLY, 1, *said)


@pytest.mark.parametrize(
    ("kind", "form", "ranks"),
    [
        ("pairwise", {"rank-1": "2", "rank-2": "1"}, (2, 1)),
        ("scale", {"rank-1": "1", "rank-2": "1"}, (1, 1)),
        ("ranking", {"rank-1": "3", "rank-2": "1", "rank-3": "2"}, (3, 1, 2)),
        ("good_bad", {"choice": "good"}, (1, 2)),
        ("good_bad", {"choice": "bad"}, (2, 1)),
    ],
)
def test_a_decision_is_read_and_filled_in_again(kind: CampaignKind, form: dict[str, str], ranks: tuple[int, ...]):
    answers = 1 if kind == "good_bad" else len(form)
    assert KINDS[kind].decide(form, answers) == ranks
    assert KINDS[kind].decided(ranks[:answers]) == form
    with pytest.raises(DataError):
        KINDS[kind].decide({}, answers)
