"""The packed tree: who sees whom, who predicts whom."""

from __future__ import annotations

import torch

from burnish.batches import Batch, Document, pack

TREE = Document(row="tree", ids=[10, 11], branches=[[20, 21], [30]])
PLAIN = Document(row="plain", ids=[1, 2, 3], weights=[0, 0, 1])


def test_the_prompt_stands_once_and_every_branch_goes_on_where_it_ends() -> None:
    batch = pack([TREE, PLAIN])
    assert batch.ids_T.tolist() == [10, 11, 20, 21, 30, 1, 2, 3]
    assert batch.positions_T.tolist() == [0, 1, 2, 3, 2, 0, 1, 2]
    assert batch.parent_S.tolist() == [-1, 0, 0, -1]


def test_the_last_token_of_the_prompt_predicts_the_first_of_every_branch() -> None:
    batch = pack([TREE, PLAIN])
    assert list(zip(batch.source_N.tolist(), batch.target_N.tolist(), strict=True)) == [
        (1, 20),
        (2, 21),
        (1, 30),
        (6, 3),
    ]
    assert batch.answer_N.tolist() == [0, 0, 1, 2]
    assert batch.last_B.tolist() == [3, 4, 7]
    assert batch.prompt_B.tolist() == [0, 0, 1]


def test_the_first_token_of_a_document_is_never_a_target() -> None:
    assert pack([Document(row="x", ids=[5, 6], weights=[1, 1])]).target_N.tolist() == [6]


def test_a_branch_sees_its_prompt_and_itself_and_nobody_else() -> None:
    seen = pack([TREE, PLAIN]).visible_TT().int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1, 1, 1],
    ]


def test_paths_are_the_sequences_that_the_tree_stands_for() -> None:
    batch = pack([TREE, PLAIN])
    assert [batch.ids_T[path].tolist() for path in batch.paths()] == [[10, 11, 20, 21], [10, 11, 30], [1, 2, 3]]


def test_a_batch_survives_its_tensors() -> None:
    batch = pack([TREE, PLAIN], temperature=0.7).with_extra(scores_B=torch.tensor([1.0, 2.0, 3.0]))
    again = Batch.from_tensors(batch.tensors(), batch.rows, batch.temperature)
    assert again.rows == batch.rows
    assert again.tensors().keys() == batch.tensors().keys()
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in batch.tensors().items())
