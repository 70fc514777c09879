"""The batch: a forest of packed trees. Knows token ids and indices; knows no model, loss or method.

A document is a prompt and its answers. The prompt is a root segment, each answer a branch of it: the prompt stands in
the batch once, however many answers it has, and each answer sees the prompt and itself. A plain conversation is a root
without branches. What is learned is a list of (source, target) pairs rather than ids shifted by one, because the last
token of a prompt is the source of the first target of every answer.

Suffixes: T tokens of the pack, S segments, N targets, B answers (branches, or roots without branches), D documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A prompt, its answers, and how much each of their tokens is learned, before packing."""

    row: str
    """Where it came from; named when something is wrong with it."""
    ids: Sequence[int]
    """The root's tokens."""
    weights: Sequence[float] | None = None
    """Weight of each root token as a target; None: nothing of the root is learned."""
    branches: Sequence[Sequence[int]] = ()
    """Token ids of each answer."""
    branch_weights: Sequence[Sequence[float]] | None = None
    """Weight of each answer token; None: every token of every answer counts 1."""

    @property
    def tokens(self) -> int:
        return len(self.ids) + sum(len(branch) for branch in self.branches)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that the document stands for."""
        return len(self.ids) + max((len(branch) for branch in self.branches), default=0)

    @property
    def spelled_out(self) -> int:
        """Tokens with the prompt counted for each answer, as a program counts them that reads one answer a row."""
        return sum(len(self.ids) + len(branch) for branch in self.branches) or len(self.ids)

    @property
    def targets(self) -> int:
        root = sum(weight > 0 for weight in self.weights[1:]) if self.weights else 0
        return root + sum(len(branch) for branch in self.branches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One micro-batch. Every tensor is flat; `extra` holds what a feed adds (per target or per answer)."""

    ids_T: Tensor
    positions_T: Tensor
    """Position in the path from the root: a branch goes on where its prompt ends."""
    segment_T: Tensor
    parent_S: Tensor
    """Segment that a segment continues; -1 for a root."""
    document_S: Tensor
    source_N: Tensor
    """Index into T of the token whose hidden state predicts the target."""
    target_N: Tensor
    weight_N: Tensor
    answer_N: Tensor
    """Which answer (0..B-1) a target belongs to."""
    last_B: Tensor
    """Index into T of the last token of each answer: where scores are read."""
    prompt_B: Tensor
    """Which document (0..D-1) an answer belongs to."""
    rows: tuple[str, ...]
    """Names of the D documents."""
    temperature: float = 1.0
    """Divides the logits of policy and reference alike: the temperature at which the answers were sampled."""
    extra: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    @property
    def tokens(self) -> int:
        return self.ids_T.numel()

    def with_extra(self, **tensors: Tensor) -> Batch:
        return replace(self, extra={**self.extra, **tensors})

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the names, for a checkpoint."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name[-2:-1] == "_"}
        return own | {f"extra.{name}": value for name, value in self.extra.items()}

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor], rows: Sequence[str], temperature: float) -> Batch:
        extra = {name.removeprefix("extra."): value for name, value in tensors.items() if name.startswith("extra.")}
        own = {name: value for name, value in tensors.items() if not name.startswith("extra.")}
        return Batch(**own, rows=tuple(rows), temperature=temperature, extra=extra)

    def document_slices(self) -> list[slice]:
        """The T-range of each document: documents lie one after another."""
        document_T = self.document_S[self.segment_T]
        counts = torch.bincount(document_T, minlength=len(self.rows)).tolist()
        ends = torch.tensor(counts).cumsum(0).tolist()
        return [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]

    def visible_TT(self, span: slice = slice(None)) -> Tensor:
        """True where row may attend to column, for tokens of `span`: own segment up to itself, and its ancestors."""
        segment_T = self.segment_T[span]
        ancestors_SS = self._ancestors_SS()
        order_T = torch.arange(segment_T.numel(), device=segment_T.device)
        return ancestors_SS[segment_T][:, segment_T] & (order_T[:, None] >= order_T[None, :])

    def paths(self) -> Iterator[Tensor]:
        """T-indices of each path from a root to a leaf: the sequences that the tree stands for."""
        parents = self.parent_S.tolist()
        indices = [torch.nonzero(self.segment_T == s).flatten() for s in range(len(parents))]
        for segment, parent in enumerate(parents):
            if segment not in parents:
                yield torch.cat([indices[parent], indices[segment]]) if parent >= 0 else indices[segment]

    def _ancestors_SS(self) -> Tensor:
        count = self.parent_S.numel()
        seen_SS = torch.eye(count, dtype=torch.bool, device=self.parent_S.device)
        children = torch.nonzero(self.parent_S >= 0).flatten()
        seen_SS[children, self.parent_S[children]] = True  # two levels: a branch's parent is a root
        return seen_SS


def pack(documents: Sequence[Document], temperature: float = 1.0) -> Batch:
    """Lay documents one after another. Pure; the order given is the order kept."""
    laid = _Layout()
    for number, document in enumerate(documents):
        laid.add(number, document)
    return laid.batch(tuple(document.row for document in documents), temperature)


class _Layout:
    """The growing columns of a Batch."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.segments: list[int] = []
        self.parents: list[int] = []
        self.documents: list[int] = []
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.weights: list[float] = []
        self.answers: list[int] = []
        self.last: list[int] = []
        self.prompts: list[int] = []

    def add(self, number: int, document: Document) -> None:
        root = self._segment(document.ids, parent=-1, start=0, document=number)
        first = len(self.ids) - len(document.ids)
        if document.weights is not None:
            self._learn(range(first, len(self.ids) - 1), document.ids[1:], document.weights[1:], len(self.last))
        if not document.branches:
            self._answer(number)
        end = len(self.ids) - 1
        for k, branch in enumerate(document.branches):
            self._segment(branch, parent=root, start=len(document.ids), document=number)
            begin = len(self.ids) - len(branch)
            weights = document.branch_weights[k] if document.branch_weights else [1.0] * len(branch)
            self._learn([end, *range(begin, len(self.ids) - 1)], branch, weights, len(self.last))
            self._answer(number)

    def batch(self, rows: tuple[str, ...], temperature: float) -> Batch:
        return Batch(
            ids_T=torch.tensor(self.ids),
            positions_T=torch.tensor(self.positions),
            segment_T=torch.tensor(self.segments),
            parent_S=torch.tensor(self.parents),
            document_S=torch.tensor(self.documents),
            source_N=torch.tensor(self.sources, dtype=torch.long),
            target_N=torch.tensor(self.targets, dtype=torch.long),
            weight_N=torch.tensor(self.weights, dtype=torch.float32),
            answer_N=torch.tensor(self.answers, dtype=torch.long),
            last_B=torch.tensor(self.last),
            prompt_B=torch.tensor(self.prompts),
            rows=rows,
            temperature=temperature,
        )

    def _segment(self, ids: Sequence[int], *, parent: int, start: int, document: int) -> int:
        number = len(self.parents)
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.segments += [number] * len(ids)
        self.parents.append(parent)
        self.documents.append(document)
        return number

    def _learn(self, sources: Sequence[int], ids: Sequence[int], weights: Sequence[float], answer: int) -> None:
        for source, target, weight in zip(sources, ids, weights, strict=True):
            if weight:
                self.sources.append(source)
                self.targets.append(target)
                self.weights.append(weight)
                self.answers.append(answer)

    def _answer(self, document: int) -> None:
        self.last.append(len(self.ids) - 1)
        self.prompts.append(document)
