"""What critiques do for a panel whose every judgement is laid down, so that the figures are known beforehand."""

from __future__ import annotations

import random

import pytest

from burnish.label.assistance import LEAST_ITEMS, LEAST_PEOPLE, Finding, assisted, told
from burnish.store.assistance import Known, Look
from burnish.store.views import Assistance, Campaign

CAMPAIGN = Campaign(id=1, key="k", name="Round 1", question="?", kind="pairwise", overlap=1, assistance="before")


def pair(
    person: int,
    item: int,
    given: Assistance,
    *,
    right: bool | None = None,
    unaided: tuple[float, float] | None = None,
    aided: tuple[float, float] | None = None,
) -> Known:
    looks = [None if each is None else Look(score=each[0], seconds=each[1]) for each in (unaided, aided)]
    return Known(person=person, item=item, given=given, right=right, unaided=looks[0], aided=looks[1])


def panel(people: int = 10, items: int = 24) -> list[Known]:
    """Every second item has wrong critiques. Drawn by turns, half of the pairs see them.

    Without, people err with one item in four, in 30 s. With a right critique nobody errs, with a wrong one everybody
    does on two items of three, and it takes 50 s.
    """
    found: list[Known] = []
    for person in range(people):
        for item in range(items):
            right = item % 2 == 0
            if (person + item // 2) % 2:
                found.append(pair(person, item, "none", right=right, unaided=(float(item % 4 < 3), 30 + person)))
            else:
                score = 1.0 if right else float(item % 6 == 1)
                found.append(pair(person, item, "before", right=right, aided=(score, 50 + person)))
    return found


def of(known: list[Known]) -> dict[str, Finding]:
    (report,) = assisted(known, {}, {}).reports
    return {each.about: each for each in report.findings}


def test_the_figures_are_those_that_were_laid_down():
    found = of(panel())
    right, seconds, by_right, by_wrong = (
        found[about].found for about in ("right", "seconds", "right_by_right", "wrong_by_wrong")
    )
    assert right
    assert seconds
    assert by_right
    assert by_wrong
    # Aided: 60 of the even items, all right; of the 60 odd ones those of 1, 7, 13, 19, a third.
    assert (right.one.value, right.other.value) == pytest.approx((80 / 120, 90 / 120))
    assert (seconds.one.value, seconds.other.value) == (54.5, 34.5)
    assert (by_right.one.value, by_right.other.value) == (1.0, 1.0)
    # Unaided, odd items err where item % 4 == 3: half of them.
    assert (by_wrong.one.value, by_wrong.other.value, by_wrong.difference.value) == pytest.approx((2 / 3, 1 / 2, 1 / 6))
    assert (found["right"].aided.judgements, found["right"].aided.people, found["right"].aided.items) == (120, 10, 24)
    assert (found["wrong_by_wrong"].aided.judgements, found["wrong_by_wrong"].unaided.items) == (60, 12)
    assert found["seconds"].says.startswith("With critiques people take longer, by ")


def test_reliance_on_wrong_critiques_is_told_when_it_is_sure():
    known = [
        pair(person, item, given, right=False, **{side: (score, 30.0)})
        for person in range(12)
        for item in range(30)
        for given, side, score in [
            ("before", "aided", float(item % 5 == 0))
            if (person + item) % 2
            else ("none", "unaided", float(item % 5 > 0))
        ]
    ]
    found = of(known)
    assert found["wrong_by_wrong"].says.startswith("People rely too much on critiques: wrong ones lead them astray")
    assert found["right"].says.startswith("With critiques people are right less often, by ")
    assert found["right_by_right"].says.startswith("Too few to conclude anything: one side has 0 people on 0 items")


def test_no_difference_is_no_conclusion():
    chance = random.Random(1)
    known = [
        pair(person, item, given, **{side: (float(chance.random() < 0.75), 30.0)})
        for person in range(10)
        for item in range(20)
        for given, side in [("before", "aided") if (person + item) % 2 else ("none", "unaided")]
    ]
    found = of(known)
    assert found["right"].says.startswith("No difference is shown: it lies between ")
    assert found["seconds"].says.startswith("No difference is shown"), "all took 30 s, which is no certainty either"


@pytest.mark.parametrize(
    ("people", "items", "enough"),
    [(LEAST_PEOPLE, LEAST_ITEMS, True), (LEAST_PEOPLE - 1, 100, False), (40, LEAST_ITEMS - 1, False)],
)
def test_too_few_people_or_items_conclude_nothing(people: int, items: int, enough: bool):
    known = [
        pair(person, item, given, **{side: (float(given != "none"), 30.0)})
        for person in range(people)
        for item in range(items)
        for given, side in [("before", "aided"), ("none", "unaided")]
    ]
    found = of(known)["right"]
    assert (found.found is not None) == enough
    assert found.says.startswith("Too few to conclude anything") != enough


def test_second_looks_are_counted_and_first_ones_are_the_unaided_view():
    after = [
        pair(1, 1, "after", right=False, unaided=(1, 20), aided=(0, 35)),  # gave way
        pair(1, 2, "after", right=False, unaided=(1, 20), aided=(1, 25)),  # stood
        pair(1, 3, "after", right=False, unaided=(0, 20), aided=(0, 25)),
        pair(1, 4, "after", right=True, unaided=(0, 20), aided=(1, 25)),  # was helped
        pair(2, 4, "after", right=True, unaided=(1, 20)),  # has not looked again yet
        pair(2, 1, "none", right=False, unaided=(1, 20)),
    ]
    (report,) = assisted(after, {"after": 5, "none": 1}, {"m": 8}).reports
    assert report.changes
    assert (report.changes.looks, report.changes.better, report.changes.worse) == (4, 1, 1)
    assert (report.changes.gave_way, report.changes.stood, report.changes.waiting) == (1, 1, 1)
    assert (report.findings[0].aided.judgements, report.findings[0].unaided.judgements) == (4, 6)


def test_each_way_has_its_report_and_the_terminal_tells_it():
    known = [*panel(), pair(0, 99, "after", unaided=(1, 20), aided=(1, 25))]
    found = assisted(known, {"before": 120}, {"m": 3, "planted": 2})
    assert [report.given for report in found.reports] == ["before", "after"]
    text = told(CAMPAIGN, found)
    assert text.startswith("Round 1: critiques: 3 by m, 2 by planted; shown: before, with 50% of tasks\n")
    assert "  Right: No difference is shown" in text
    assert "    with 0.67 [" in text
    assert "second looks: 1, nearer to the right judgement 0, further 0" in text
    assert "there is nothing to conclude" in told(CAMPAIGN, assisted([], {}, {}))
    assert found.as_json()["reports"][0]["findings"][0]["found"]["one"]["value"] == pytest.approx(2 / 3)
