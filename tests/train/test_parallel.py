"""How a step is dealt over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from burnish.batches import Batch, Document, pack
from burnish.data.packing import best_fit
from burnish.train.feeds import DatasetFeed
from burnish.train.parallel import DataParallel, dealt
from burnish.train.pretraining import PretrainingMix


def documents(*lengths: int) -> list[Document]:
    return [Document(row=f"r{number}", ids=[1] * length) for number, length in enumerate(lengths)]


def test_shares_are_dealt_to_and_fro() -> None:
    """Sorted 9 8 5 4 2 over two ranks: 9, then 8 and 5, then 4 and 2: 15 tokens against 13."""
    shares = dealt([pack([each]) for each in documents(4, 9, 2, 8, 5)], 2)
    assert [[batch.tokens for batch in share] for share in shares] == [[9, 4, 2], [8, 5]]
    assert dealt([], 3) == [[], [], []]


def test_micro_batches_are_as_many_for_each_rank_and_nearly_equal() -> None:
    """30 tokens fit into two bins of 20; for two ranks they are halved, for four there is one document each."""
    found = documents(10, 8, 7, 5)
    assert [sum(each.tokens for each in part) for part in best_fit(found, 20)] == [18, 12]
    assert [sum(each.tokens for each in part) for part in best_fit(found, 20, 2)] == [15, 15]
    assert [[each.row for each in part] for part in best_fit(found, 20, 4)] == [["r0"], ["r1"], ["r2"], ["r3"]]


def test_the_budget_comes_before_equal_shares() -> None:
    """Three documents of 10 and a budget of 10 for two ranks: three micro-batches, as there is no fourth document."""
    assert [len(part) for part in best_fit(documents(10, 10, 10), 10, 2)] == [1, 1, 1]
    parts = best_fit(documents(7, 6, 5, 4, 4, 4), 10, 2)
    assert len(parts) % 2 == 0
    assert max(sum(each.tokens for each in part) for part in parts) <= 10
    assert sorted(each.row for part in parts for each in part) == [f"r{number}" for number in range(6)]


class Pretended(DataParallel):
    """The first of two ranks, of which the other is not there."""

    def __init__(self) -> None:
        self.size, self.rank = 2, 0

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def given(self, parts: Sequence[Sequence[Batch]] | None) -> list[Batch]:
        assert parts is not None
        return list(parts[0])


def test_what_is_dealt_is_no_longer_in_order_and_says_of_no_batch_that_it_is_text() -> None:
    """Else the gradients of a step would be added over ranks in its middle, and once more at its end."""
    answers, text = (
        DatasetFeed(documents(*lengths), per_step=2, micro_tokens=9, seed=0) for lengths in ((5, 6), (7, 8))
    )
    feed = PretrainingMix(answers, text)
    whole, own = feed.next(0), Pretended().feed(feed).next(0)
    assert (len(whole.batches), whole.appended) == (4, 2)
    assert (sorted(batch.tokens for batch in own.batches), own.appended) == ([5, 8], 0)
