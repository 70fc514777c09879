"""Packed trees are exact: what a token sees is its own path, and nothing else moves it by one bit."""

from __future__ import annotations

import torch
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Trainable
from burnish.models.probe import one_at_a_time

DOCUMENTS = [
    Document(row="a", ids=[9, 8, 7, 6, 5], branches=[[1, 2, 3], [4], [1, 2, 9, 9]]),
    Document(row="b", ids=[3, 1, 4, 1, 5, 9], weights=[0.0, 1.0, 1.0, 0.0, 1.0, 1.0]),
    Document(row="c", ids=[2], branches=[[7, 1], [8, 2, 8]]),
]


def hidden(module: Trainable, batch: Batch) -> Tensor:
    with torch.no_grad():
        return module.hidden(batch)


def test_tree_is_every_path_alone(module: Trainable) -> None:
    batch = pack(DOCUMENTS)
    packed = hidden(module, batch)
    paths = list(batch.paths())
    assert len(paths) == 3 + 1 + 2
    for path in paths:
        alone = pack([Document(row="x", ids=batch.ids_T[path].tolist())])
        torch.testing.assert_close(packed[path], hidden(module, alone), rtol=0, atol=1e-5)


def test_a_change_moves_only_what_sees_it(module: Trainable) -> None:
    before = pack(DOCUMENTS)
    changed = [DOCUMENTS[0], DOCUMENTS[1], Document(row="c", ids=[2], branches=[[7, 1], [8, 3, 8]])]
    after = pack(changed)
    old, new = hidden(module, before), hidden(module, after)
    first = int((before.ids_T != after.ids_T).nonzero()[0])
    assert torch.equal(old[:first], new[:first])
    assert not torch.isclose(old[first:], new[first:]).all(dim=-1).any()


def test_rows_layout_gives_what_the_tree_gives(module: Trainable) -> None:
    batch = pack(DOCUMENTS)
    with torch.no_grad():
        tree = module(batch)
        with one_at_a_time(module):
            rows = module(batch)
    for name in ("logprobs_N", "entropy_N", "values_N", "scores_B"):
        torch.testing.assert_close(getattr(tree, name), getattr(rows, name), rtol=0, atol=1e-5)
