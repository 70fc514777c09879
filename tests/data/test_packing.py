"""Packing and order are pure, lose nothing and repeat themselves."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.batches import Document
from burnish.data.order import draw, rows_of_step, seeds_of
from burnish.data.packing import best_fit
from burnish.errors import DataError


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(50, 120))
def test_every_document_is_packed_once_and_no_bin_overflows(sizes: list[int], budget: int) -> None:
    documents = [Document(row=str(i), ids=[1] * size) for i, size in enumerate(sizes)]
    bins = best_fit(documents, budget)
    assert sorted(d.row for part in bins for d in part) == sorted(d.row for d in documents)
    assert all(sum(d.tokens for d in part) <= budget for part in bins)
    assert bins == best_fit(documents, budget)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(50, 120))
def test_each_goes_where_least_room_is_left(sizes: list[int], budget: int) -> None:
    """By definition: the longest first, each into the fullest bin that takes it, the earliest of equal ones."""
    bins: list[list[int]] = []
    for size in sorted(sizes, reverse=True):
        takes = [part for part in bins if sum(part) + size <= budget]
        if takes:
            max(takes, key=sum).append(size)
        else:
            bins.append([size])
    documents = [Document(row=str(i), ids=[1] * size) for i, size in enumerate(sizes)]
    assert [[d.tokens for d in part] for part in best_fit(documents, budget)] == bins


def test_a_full_bin_is_preferred() -> None:
    documents = [Document(row=str(size), ids=[1] * size) for size in (6, 5, 4, 3)]
    assert [[d.row for d in part] for part in best_fit(documents, 9)] == [["6", "3"], ["5", "4"]]


def test_a_document_longer_than_the_budget_is_named() -> None:
    with pytest.raises(DataError, match=r"row-7: 12 tokens, and a micro-batch holds 10"):
        best_fit([Document(row="row-7", ids=[1] * 12)], 10)


@given(st.integers(1, 30), st.integers(1, 17), st.integers(0, 2**31))
def test_each_row_comes_once_a_pass_whatever_the_step_size(rows: int, per_step: int, seed: int) -> None:
    seen = [row for step in range(rows) for row in rows_of_step(step, rows, per_step, seed)]
    for epoch in range(per_step):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_a_step_of_many_rows_shuffles_them_once() -> None:
    """Not once for each of its places: of a hundred thousand rows that took longer than a small model's step."""

    def seconds(places: int) -> float:
        began = time.thread_time()
        rows_of_step(3, 200_000, places, seed=1000 + places)
        return time.thread_time() - began

    assert seconds(64) < 16 * seconds(1)


def test_draws_differ_by_purpose_and_not_by_call() -> None:
    assert draw(1, "a", 2) == draw(1, "a", 2)
    assert len({draw(1, "a", 2), draw(1, "b", 2), draw(1, "a", 3), draw(2, "a", 2), draw(1, "a2")}) == 5


def test_what_is_asked_again_has_another_seed_and_what_stands_between_changes_none() -> None:
    """The first of each has the seed that is given."""
    found = seeds_of(7, "abaca")
    assert [found[place] for place in (0, 1, 3)] == [7, 7, 7]
    assert len({7, found[2], found[4]}) == 3
    assert seeds_of(7, "aaa") == [7, found[2], found[4]]
    assert seeds_of(8, "aaa")[1] != found[2]
