"""Measures of how documents share a batch: packed, as trees, in micro-batches. Knows batches and steps; judges nothing.

Suffixes as in batches; V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from burnish.batches import Batch, Document, pack
from burnish.models.attention import DenseAttention
from burnish.models.forward import Trainable
from burnish.models.probe import ROUTED, one_at_a_time, routed
from burnish.proof.law import Measured
from burnish.proof.subject import Subject, Trial


def packed(trial: Trial) -> Measured:
    """The step of one pack, and that of each document alone with the architecture's own attention."""
    together = trial.step(trial.batch(trial.documents))
    with one_at_a_time(trial.module):
        alone = trial.step(*(trial.batch([document]) for document in trial.documents))
    return Measured(together.apart(alone))


def prefix_shared(trial: Trial) -> Measured:
    """The step of prompts with K branches, and that of K plain sequences each, prompt and answer."""
    shared = trial.batch(trial.documents)
    separate = _separate(trial.documents, shared)
    if not torch.equal(shared.target_N, separate.target_N):
        return Measured({"loss": 1.0, "gradient": 1.0}, "other tokens are learned")
    return Measured(trial.step(shared).apart(trial.step(separate)))


def micro_batches(trial: Trial) -> Measured:
    """One big batch, and the same documents split, in another order, and all of them twice."""
    documents = list(trial.documents)
    whole = trial.step(trial.batch(documents))
    splits = (
        [documents[:1], documents[1:]],
        [[document] for document in reversed(documents)],
        [documents, documents[::-1]],
    )
    return Measured.worst([trial.step(*map(trial.batch, split)).apart(whole) for split in splits])


def changed_token(subject: Subject) -> Measured:
    """Positions of other documents whose logits move by a bit when one document's first token is another."""
    documents = list(subject.material.conversations)
    middle = len(documents) // 2
    before, module = pack(documents), subject.module()
    documents[middle] = replace(documents[middle], ids=_changed(documents[middle].ids, module))
    after = pack(documents)
    span = before.document_slices()[middle]
    return _moved(module, before, after, range(span.start, span.stop))


def changed_answer(subject: Subject) -> Measured:
    """Positions of a prompt and its later answers whose logits move by a bit when its first answer begins otherwise."""
    tree, module = subject.material.trees[-1], subject.module()
    branches = [_changed(tree.branches[0], module), *tree.branches[1:]]
    span = range(len(tree.ids), len(tree.ids) + len(tree.branches[0]))
    return _moved(module, pack([tree]), pack([replace(tree, branches=branches)]), span)


def dense(subject: Subject) -> Measured:
    """Hidden states of the tree's attention, and those of one dense mask over the pack: L2 distance over length."""
    batch, module = pack([*subject.material.trees, *subject.material.conversations]), subject.module()
    with torch.no_grad():
        tree_TC, dense_TC = module.hidden(batch), module.hidden(batch, DenseAttention(batch))
    return Measured.one(float((tree_TC - dense_TC).norm() / dense_TC.norm()))


def forwarded_once(subject: Subject) -> Measured:
    """Tokens that reach the embedding too often or never in one step of the reward model on K-wise items."""
    trial = subject.trial("reward")
    seen: Counter[int] = Counter()

    def count(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.update(given[0].flatten().tolist())

    backbone: Any = trial.module.backbone
    handle = backbone.get_input_embeddings().register_forward_pre_hook(count)
    try:
        trial.step(trial.batch(trial.documents))
    finally:
        handle.remove()
    wanted = Counter(token for tree in trial.documents for ids in (tree.ids, *tree.branches) for token in ids)
    return Measured.one((seen - wanted).total() + (wanted - seen).total(), f"{seen.total()} tokens forwarded")


def _separate(trees: Sequence[Document], shared: Batch) -> Batch:
    """The same answers as sequences of their own. They come in the same order, so that all else of the batch fits."""
    plain = [
        Document(row=tree.row, ids=[*tree.ids, *branch], weights=[0.0] * len(tree.ids) + [1.0] * len(branch))
        for tree in trees
        for branch in tree.branches
    ]
    return replace(pack(plain), prompt_B=shared.prompt_B, extra=shared.extra)


def _changed(ids: Sequence[int], module: Trainable) -> list[int]:
    assert module.lm is not None
    return [(ids[0] + 1) % module.lm.weight.shape[0], *ids[1:]]


def _moved(module: Trainable, before: Batch, after: Batch, span: range) -> Measured:
    """Positions outside of `span` where logits differ (by more than rounding, where tokens are sent to experts).

    All count where none inside does: then nothing was tried.
    """
    assert module.lm is not None
    with torch.no_grad():
        old_TV, new_TV = module.lm(module.hidden(before)), module.lm(module.hidden(after))
    slack = ROUTED * float(old_TV.abs().max()) if routed(module) else 0.0
    moved_T = (old_TV - new_TV).abs().amax(-1) > slack
    inside = moved_T[span.start : span.stop].any()
    outside = int(moved_T.sum() - moved_T[span.start : span.stop].sum())
    return Measured.one(outside if inside else before.tokens, "" if inside else "the changed document did not move")
