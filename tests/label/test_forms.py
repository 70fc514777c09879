"""What a form can say."""

from __future__ import annotations

import pytest

from burnish.errors import DataError
from burnish.label.forms import read_ranks, read_reason


@pytest.mark.parametrize(("choice", "ranks"), [("first", (1, 2)), ("second", (2, 1)), ("tie", (1, 1))])
def test_a_choice_between_two(choice: str, ranks: tuple[int, ...]):
    assert read_ranks({"choice": choice}, 2) == ranks


def test_places_of_several():
    assert read_ranks({"rank-1": "2", "rank-2": "1", "rank-3": "2"}, 3) == (2, 1, 2)


@pytest.mark.parametrize("form", [{}, {"choice": ""}, {"choice": "C"}, {"rank-1": "1", "rank-2": "2"}])
def test_no_choice_between_two(form: dict[str, str]):
    with pytest.raises(DataError, match="choose"):
        read_ranks(form, 2)


@pytest.mark.parametrize("value", ["", "0", "4", "-1", "1.0", "NaN", "1e308", "one", "²"])
def test_a_place_that_cannot_be(value: str):
    with pytest.raises(DataError, match="answer 2"):
        read_ranks({"rank-1": "1", "rank-2": value, "rank-3": "2"}, 3)


def test_all_missing_places_are_named_at_once():
    with pytest.raises(DataError, match="answer 1, answer 3"):
        read_ranks({"rank-2": "1"}, 3)


def test_reasons():
    assert read_reason({"reason": "language"}) == "language"
    with pytest.raises(DataError, match="reason"):
        read_reason({"reason": "<script>"})
