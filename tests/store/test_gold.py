"""Gold questions: who gets them when, what is made of them, and where they do not count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import StoreError
from burnish.store import conduct, disputes, duels, events, gold, queries, tasks
from burnish.store.details import Details
from burnish.store.session import Store
from burnish.store.snapshot import freeze, read_labels, read_rows
from burnish.store.views import CampaignKind
from burnish.types import Message, Prompt

People = Callable[[Store, int], list[int]]
ANSWERS = [("best", "a"), ("poor", "b")]
of_both_kinds = pytest.mark.parametrize("kind", ["pairwise", "good_bad"])


def campaign_of(
    store: Store,
    golds: int,
    others: int,
    *,
    kind: CampaignKind = "pairwise",
    training: int = 0,
    mark: float = 0.7,
    overlap: int = 1,
) -> int:
    """Gold questions g0, g1, … whose first answer is right, then others p0, p1, … Single answers: the even are good."""
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="k", name="n", question="?", kind=kind, overlap=overlap)
        for letter, count in (("g", golds), ("p", others)):
            for number in range(count):
                good = kind == "pairwise" or number % 2 == 0
                meta = {"gold": [1, 2] if good else [2, 1], "why": "It is."} if letter == "g" else {}
                prompt = Prompt(id=f"{letter}{number}", messages=(Message(role="user", content="?"),), meta=meta)
                queries.add_item(write, campaign, prompt, ANSWERS if kind == "pairwise" else [ANSWERS[number % 2]])
        gold.set_training(write, campaign, training, mark, by=None)
    return campaign


def answer(store: Store, campaign: int, who: int, *, right: bool = True, skip: bool = False) -> str | None:
    """Judge the next task by its texts; its prompt's id, None where there is none."""
    with store.transaction() as write:
        task = tasks.next_task(write, campaign, who)
        if task is None:
            return None
        high = [(text == "best") == right for text in task.answers]
        said = {"ranks": [1 if each else 2 for each in high]} if len(high) > 1 else {"details": Details(good=high[0])}
        said = {"skip": "unsure"} if skip else said
        tasks.submit(write, task=task.id, submission=f"{task.id}", seconds=5.0, **said)
        return task.prompt.id


def state(store: Store, campaign: int, who: int) -> gold.Training:
    with store.reading() as read:
        return gold.training(read, campaign, who)


def test_a_score_is_the_share_of_pairs_that_gold_tells_apart():
    assert gold.score((1, 2), (1, 2)) == 1
    assert gold.score((2, 2), (1, 2)) == 0  # a tie is no answer
    assert gold.score((1, 3, 2), (1, 2, 3)) == pytest.approx(2 / 3)
    assert gold.score((3, 1, 2), (1, 1, 2)) == 0.5  # the first two may stand as they like


def test_a_training_is_passed_when_the_last_so_many_are_good_enough():
    assert gold.passed_after([], 0, 0.7) == 0
    assert gold.passed_after([1, 1], 3, 0.7) is None
    assert gold.passed_after([1, 0, 1], 3, 0.7) is None
    assert gold.passed_after([1, 0, 1, 1, 1], 3, 0.7) == 5
    assert gold.passed_after([1, 1, 1, 0, 0], 3, 0.7) == 3  # once passed is passed
    assert gold.passed_after([0.7, 0.7, 0.7], 3, 0.7) == 3


@pytest.mark.parametrize("ranks", [[1], [1, 2, 3], [1, 1], [0, 1]])
def test_ranks_that_cannot_be_right_are_refused(store: Store, ranks: object):
    campaign = campaign_of(store, 0, 0)
    prompt = Prompt(id="g", messages=(Message(role="user", content="?"),), meta={"gold": ranks})
    with pytest.raises(StoreError, match="not all equal"), store.transaction() as write:
        queries.add_item(write, campaign, prompt, ANSWERS)


@pytest.mark.parametrize("ranks", [[1], [1, 2, 3], [1, 1], [0, 1], []])
def test_a_single_answer_is_known_to_be_good_or_bad(store: Store, ranks: object):
    campaign = campaign_of(store, 0, 0, kind="good_bad")
    prompt = Prompt(id="g", messages=(Message(role="user", content="?"),), meta={"gold": ranks})
    with pytest.raises(StoreError, match=r"neither \[1, 2\], for a good answer,"), store.transaction() as write:
        queries.add_item(write, campaign, prompt, ANSWERS[:1])


@pytest.mark.parametrize("column", ["42", ["1", "2"], [1.0, 2.0], [True, 2], {"a": 1}, None])
def test_another_column_of_that_name_is_left_alone(store: Store, people: People, column: object):
    campaign, (who,) = campaign_of(store, 0, 0), people(store, 1)
    prompt = Prompt(id="p", messages=(Message(role="user", content="?"),), meta={"gold": column})
    with store.transaction() as write:
        queries.add_item(write, campaign, prompt, ANSWERS)
    assert answer(store, campaign, who) == "p"
    assert state(store, campaign, who).answered == ()


@of_both_kinds
def test_gold_comes_among_the_others_for_everybody_and_takes_no_seat(store: Store, people: People, kind: CampaignKind):
    campaign, crowd = campaign_of(store, 4, 60, kind=kind, overlap=2), people(store, 3)
    seen = {who: [answer(store, campaign, who) for _ in range(70)] for who in crowd}
    golds = [[prompt for prompt in given if prompt and prompt[0] == "g"] for given in seen.values()]
    assert all(len(set(each)) == len(each) for each in golds)
    assert sum(map(len, golds)) >= 6  # of twelve; about one in ten of 120 judgements
    places = {
        tuple(place for place, prompt in enumerate(given) if prompt and prompt[0] == "g") for given in seen.values()
    }
    assert len(places) > 1  # not the same place for everybody
    with store.reading() as read:
        counts = queries.progress(read, campaign)
    assert (counts.items, counts.wanted, counts.judged, counts.left) == (60, 120, 120, 0)


def test_asking_again_gives_the_same_whether_it_is_gold_or_not(store: Store, people: People):
    campaign, (who,) = campaign_of(store, 3, 40), people(store, 1)
    for _ in range(30):
        with store.transaction() as write:
            first, second = (tasks.next_task(write, campaign, who) for _ in range(2))
        assert first
        assert second
        assert first.id == second.id
        answer(store, campaign, who)


@of_both_kinds
def test_training_comes_first_and_who_fails_goes_no_further(store: Store, people: People, kind: CampaignKind):
    campaign, (good, late, bad) = campaign_of(store, 5, 3, kind=kind, training=3), people(store, 3)
    assert [answer(store, campaign, good) for _ in range(3)] == ["g0", "g1", "g2"]
    assert state(store, campaign, good).passed_after == 3
    assert answer(store, campaign, good)
    assert [answer(store, campaign, late, right=number > 0) for number in range(4)] == ["g0", "g1", "g2", "g3"]
    assert state(store, campaign, late).passed_after == 4
    assert [answer(store, campaign, bad, right=False) for _ in range(6)] == ["g0", "g1", "g2", "g3", "g4", None]
    assert state(store, campaign, bad).failed


@of_both_kinds
def test_skipping_the_training_does_not_pass_it(store: Store, people: People, kind: CampaignKind):
    campaign, (who,) = campaign_of(store, 3, 3, kind=kind, training=2), people(store, 1)
    assert [answer(store, campaign, who, skip=True) for _ in range(4)] == ["g0", "g1", "g2", None]
    assert state(store, campaign, who).failed


def test_a_campaign_with_less_gold_than_it_asks_for_lets_people_through(store: Store, people: People):
    campaign, (who,) = campaign_of(store, 1, 2, training=5), people(store, 1)
    assert [answer(store, campaign, who) for _ in range(3)] == ["g0", "p0", "p1"]
    none, other = campaign_of_others(store), who
    assert answer(store, none, other) == "p0"


def campaign_of_others(store: Store) -> int:
    with store.transaction() as write:
        campaign = queries.create_campaign(write, key="none", name="n", question="?", kind="pairwise", overlap=1)
        queries.add_item(write, campaign, Prompt(id="p0", messages=(Message(role="user", content="?"),)), ANSWERS)
        gold.set_training(write, campaign, 5, 0.9, by=None)
    return campaign


def test_a_lesson_follows_training_and_nothing_else(store: Store, people: People):
    campaign, (who,) = campaign_of(store, 3, 40, training=1), people(store, 1)
    for _ in range(40):
        answer(store, campaign, who, right=False)  # never passes: g0, g1, g2
    with store.reading() as read:
        lesson = gold.lesson(read, 1)
    assert lesson
    assert (lesson.score, lesson.why) == (0, "It is.")
    assert dict(zip(lesson.answers, lesson.right, strict=True)) == {"best": 1, "poor": 2}
    assert dict(zip(lesson.answers, lesson.said, strict=True)) == {"best": 2, "poor": 1}
    with store.transaction() as write:  # a second thought, after the lesson, changes no score
        order = tasks.find(write, 1).order
        tasks.submit(write, task=1, submission="again", ranks=[[1, 2][place] for place in order], revise=True)
    assert [each.score for each in state(store, campaign, who).answered] == [0, 0, 0]


def test_a_lesson_says_whether_a_single_answer_is_good(store: Store, people: People):
    campaign, (who,) = campaign_of(store, 2, 1, kind="good_bad", training=2), people(store, 1)
    assert [answer(store, campaign, who, right=right) for right in (True, False)] == ["g0", "g1"]  # both called good
    with store.reading() as read:
        lessons = [gold.lesson(read, task) for task in (1, 2)]
    found = [(each.answers, each.said, each.right, each.score, each.why) for each in lessons if each]
    assert found == [(("best",), (1, 2), (1, 2), 1, "It is."), (("poor",), (1, 2), (2, 1), 0, "It is.")]
    with store.transaction() as write:  # a second thought, after the lesson, changes no score
        tasks.submit(write, task=2, submission="again", details=Details(good=False), revise=True)
    assert [each.score for each in state(store, campaign, who).answered] == [1, 0]


def test_gaps_in_the_right_order_say_nothing(store: Store, people: People):
    campaign, (who,) = campaign_of(store, 0, 0, training=1), people(store, 1)
    prompt = Prompt(id="g", messages=(Message(role="user", content="?"),), meta={"gold": [3, 7]})
    with store.transaction() as write:
        queries.add_item(write, campaign, prompt, ANSWERS)
    answer(store, campaign, who)
    with store.reading() as read:
        lesson = gold.lesson(read, 1)
    assert lesson
    assert (lesson.said, lesson.score) == (lesson.right, 1), "places as people give them"


@of_both_kinds
def test_what_comes_after_training_teaches_nothing(store: Store, people: People, kind: CampaignKind):
    campaign, (who,) = campaign_of(store, 3, 40, kind=kind, training=1), people(store, 1)
    given = [answer(store, campaign, who) for _ in range(40)]
    later = [prompt for prompt in given[1:] if prompt and prompt[0] == "g"]
    assert later
    answered = state(store, campaign, who)
    with store.reading() as read:
        assert [gold.lesson(read, each.task) is not None for each in answered.answered] == [True] + [False] * len(later)
        (found,) = conduct.conduct(read, campaign)
    assert len(answered.judged) == len(later)
    assert found.training.judged == answered.judged
    assert {each.score for each in found.training.judged} == {1}
    assert len(found.seconds) == 40
    assert (found.first + found.last == 0) == (kind == "good_bad"), "one answer has no place"


def test_gold_is_in_no_snapshot_no_dispute_and_no_board(store: Store, people: People, tmp_path: Path):
    campaign, crowd = campaign_of(store, 2, 2, training=2, mark=0.0, overlap=2), people(store, 2)
    for who, right in zip(crowd, (True, False), strict=True):
        assert {answer(store, campaign, who, right=right) for _ in range(4)} == {"g0", "g1", "p0", "p1"}
    manifest = freeze(store, campaign, tmp_path / "snapshot", held_out=0.0, seed=0)
    assert [row.ranking.prompt.id for row in read_rows(tmp_path / "snapshot", "train")] == ["p0", "p1"]
    assert (manifest.counts["items"], manifest.counts["judgements"]) == (2, 4)
    with store.reading() as read:
        found = disputes.disputes(read, campaign, crowd[0])
        assert [each.item.prompt.id for each in found] == ["p1", "p0"]
        assert duels.duels(read, campaign).items == 2
        with pytest.raises(StoreError, match="none of this campaign's"):
            disputes.dispute(read, campaign, 1, crowd[0])


def test_gold_of_single_answers_is_learned_from_nowhere(store: Store, people: People, tmp_path: Path):
    campaign = campaign_of(store, 2, 2, kind="good_bad", training=2, mark=0.0, overlap=3)
    crowd = people(store, 3)
    for who, right in zip(crowd, (True, True, False), strict=True):
        assert {answer(store, campaign, who, right=right) for _ in range(4)} == {"g0", "g1", "p0", "p1"}
    manifest = freeze(store, campaign, tmp_path / "snapshot", held_out=0.0, seed=0)
    labels = {row.prompt.id: row.desirable for row in read_labels(tmp_path / "snapshot", "train")}
    assert labels == {"p0": True, "p1": False}
    assert (manifest.counts["items"], manifest.counts["judgements"]) == (2, 6)
    assert (manifest.counts["pairs_agreeing"], manifest.counts["pairs_compared"]) == (2, 6), "one of three couples each"
    with store.reading() as read:
        assert {each.item.prompt.id for each in disputes.disputes(read, campaign, crowd[0])} == {"p0", "p1"}
        assert {each.prompt_id for each in queries.judgements(read, campaign)} == {"p0", "p1"}
        assert {each.prompt.id for each in queries.items(read, campaign)} == {"p0", "p1"}
        with pytest.raises(StoreError, match="none of this campaign's"):
            disputes.dispute(read, campaign, 1, crowd[0])


def test_what_is_asked_of_people_first_is_a_line_of_the_log(store: Store):
    campaign = campaign_of(store, 1, 1, training=4, mark=0.8)
    with store.reading() as read:
        found = queries.campaign(read, campaign)
        (line, *_) = events.events(read, verb="campaign.training")
    assert (found.training, found.pass_mark) == (4, 0.8)
    assert line.payload == {"training": 4, "pass_mark": 0.8}
    for training, mark in ((-1, 0.5), (1, 1.5)):
        with store.transaction() as write, pytest.raises(StoreError, match="share from 0 to 1"):
            gold.set_training(write, campaign, training, mark, by=None)
