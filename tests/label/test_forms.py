"""What a form can say, and that it can be filled in again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from burnish.errors import DataError
from burnish.label.forms import fill, read, read_reason
from burnish.store.details import NOTHING_MORE, ORDER_ONLY, Asks, Details
from burnish.store.kinds import settled
from burnish.store.views import Campaign, CampaignKind, Judgement, Task
from burnish.types import Message, Prompt

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def asked(kind: CampaignKind, asks: Asks = ORDER_ONLY, *, answers: int = 3) -> tuple[Campaign, Task]:
    """A task whose answers are shown backwards."""
    campaign = Campaign(id=1, key="key", name="Round", question="?", kind=kind, overlap=1, asks=asks)
    task = Task(
        id=1,
        campaign=1,
        annotator=1,
        prompt=Prompt(id="p", messages=(Message(role="user", content="?"),)),
        answers=tuple(f"answer {place}" for place in reversed(range(answers))),
        order=tuple(reversed(range(answers))),
        shown=NOON,
        leased_until=None,
    )
    return campaign, task


def judged(ranks: tuple[int, ...] | None, details: Details = NOTHING_MORE, skip: str | None = None) -> Judgement:
    """What was said, in the answers' own order."""
    return Judgement(
        id="j",
        submission="s",
        task=1,
        item=1,
        prompt_id="p",
        annotator="a",
        ranks=ranks,
        skip=skip,
        seconds=1,
        created=NOON,
        supersedes=None,
        details=details,
    )


PAIR, STRONG = asked("pairwise", answers=2), asked("pairwise", Asks(strength=True), answers=2)
RANKING = asked("ranking")
SCALE = asked("scale", Asks(axes=("helpful", "honest")), answers=2)
GRADES = {"grade-1-1": "7", "grade-1-2": "1", "grade-2-1": "3", "grade-2-2": "4"}
SINGLE = asked("good_bad", answers=1)
PLACES = {"rank-1": "1", "rank-2": "2", "rank-3": "3"}


@pytest.mark.parametrize(
    ("choice", "ranks", "both_bad"),
    [("first", (1, 2), False), ("second", (2, 1), False), ("tie", (1, 1), False), ("both_bad", (1, 1), True)],
)
def test_a_choice_between_two(choice: str, ranks: tuple[int, ...], both_bad: bool):
    assert read({"choice": choice}, *PAIR) == (ranks, Details(both_bad=both_bad))


@pytest.mark.parametrize(
    ("choice", "ranks", "strength"), [("first-3", (1, 2), 3), ("second-1", (2, 1), 1), ("tie", (1, 1), None)]
)
def test_how_far_the_better_one_is_ahead(choice: str, ranks: tuple[int, ...], strength: int | None):
    assert read({"choice": choice}, *STRONG) == (ranks, Details(strength=strength))


def test_places_of_several():
    assert read({"rank-1": "2", "rank-2": "1", "rank-3": "2"}, *RANKING) == ((2, 1, 2), Details())


@pytest.mark.parametrize("form", [{}, {"choice": ""}, {"choice": "C"}, {"choice": "first-2"}, {"rank-1": "1"}])
def test_no_choice_between_two(form: dict[str, str]):
    with pytest.raises(DataError, match="choose"):
        read(form, *PAIR)


@pytest.mark.parametrize("choice", ["first", "second", "first-0", "first-4", "tie-1"])
def test_no_strength_where_it_is_asked(choice: str):
    with pytest.raises(DataError, match="choose"):
        read({"choice": choice}, *STRONG)


@pytest.mark.parametrize("value", ["", "0", "4", "-1", "1.0", "NaN", "1e308", "one", "²"])
def test_a_place_that_cannot_be(value: str):
    with pytest.raises(DataError, match="answer 2"):
        read({"rank-1": "1", "rank-2": value, "rank-3": "2"}, *RANKING)


def test_all_missing_places_are_named_at_once():
    with pytest.raises(DataError, match="answer 1, answer 3"):
        read({"rank-2": "1"}, *RANKING)


def test_an_edit_is_another_text():
    at = asked("ranking", Asks(edits=True))
    form = PLACES | {"edit-1": "answer 2\r\n", "edit-2": " ", "edit-3": "A better\r\none."}
    assert read(form, *at)[1].edits == (None, None, "A better\none.")
    assert read(PLACES | {"edit-1": "answer 2"}, *at)[1].edits == ()
    assert read(form, *RANKING)[1].edits == ()  # nobody asked
    with pytest.raises(DataError, match="your answer 1 has 20,001 characters"):
        read(PLACES | {"edit-1": "x" * 20_001}, *at)


def test_flags_of_each_answer():
    form = {"harm-1": "", "harm-3": "harmful:hate", "flag-3-wrong_language": "on", "flag-2-personal_data": "on"}
    _, details = read(PLACES | form, *RANKING)
    assert details.flags == ((), ("personal_data",), ("harmful:hate", "wrong_language"))
    assert read(PLACES, *RANKING)[1].flags == ()
    with pytest.raises(DataError, match="how answer 2 is harmful"):
        read(PLACES | {"harm-2": "personal_data"}, *RANKING)


def test_a_reason_is_asked_for_and_has_a_limit():
    assert read(PLACES | {"rationale": " one\r\ntwo "}, *RANKING)[1].rationale == "one\ntwo"
    with pytest.raises(DataError, match="2,001 characters"):
        read(PLACES | {"rationale": "x" * 2001}, *RANKING)
    with pytest.raises(DataError, match="say why"):
        read(PLACES | {"rationale": " "}, *asked("ranking", Asks(rationale=True)))


def test_grades_on_each_axis():
    assert read(GRADES, *SCALE) == (
        None,
        Details(ratings=({"helpful": 7, "honest": 1}, {"helpful": 3, "honest": 4})),
    )
    with pytest.raises(DataError, match=r"answer 1 \(honest\), answer 2 \(helpful\)"):
        read({**GRADES, "grade-1-2": "8", "grade-2-1": ""}, *SCALE)


def test_a_single_answer_is_good_or_bad():
    assert read({"choice": "good"}, *SINGLE) == (None, Details(good=True))
    with pytest.raises(DataError, match="good or bad"):
        read({"choice": "first"}, *SINGLE)


def test_reasons():
    assert read_reason({"reason": "language"}) == "language"
    with pytest.raises(DataError, match="reason"):
        read_reason({"reason": "<script>"})


@pytest.mark.parametrize(
    ("at", "form"),
    [
        *((PAIR, {"choice": choice}) for choice in ("first", "second", "tie", "both_bad")),
        *((STRONG, {"choice": choice}) for choice in ("first-3", "first-1", "tie", "second-2", "both_bad")),
        (RANKING, {"rank-1": "3", "rank-2": "1", "rank-3": "2"}),
        (SCALE, GRADES),
        *((SINGLE, {"choice": choice}) for choice in ("good", "bad")),
        (asked("ranking", Asks(edits=True)), PLACES | {"edit-2": "A better one.\nIndeed."}),
        (PAIR, {"choice": "first", "rationale": "It says\nhow."}),
        (PAIR, {"choice": "first", "harm-2": "harmful:hate", "flag-1-personal_data": "personal_data"}),
    ],
)
def test_what_was_said_fills_the_form_as_it_was(at: tuple[Campaign, Task], form: dict[str, str]):
    """Read, kept in the answers' own order, and shown again: the same fields."""
    campaign, task = at
    order = task.order
    ranks = settled(campaign.kind, campaign.asks, len(order), *(said := read(form, *at)))
    details = said[1]
    own = tuple(ranks[order.index(position)] for position in range(len(order)))
    assert fill(judged(own, details.own_order(order)), *at).items() >= form.items()


def test_a_skip_fills_its_form():
    assert fill(judged(None, skip="language"), *PAIR) == {"act": "skip", "reason": "language"}
