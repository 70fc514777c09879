"""Trained reward models as scorers of packed answers, and as a `Reward`. Knows modules with a score head and token ids;
of text only where an answer ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, Protocol

import torch
from torch import Tensor

from burnish.batches import Batch, Document, pack
from burnish.models.forward import Trainable
from burnish.rewards.combination import SPREAD
from burnish.types import Completion, Message, Prompt, Rated, Stop

Combine = Literal["mean", "worst", "mean_less_spread"]


class BatchScorer(Protocol):
    """Scores of the answers of a batch."""

    def scores(self, batch: Batch) -> Tensor: ...


class Ids(Protocol):
    """The token ids of a conversation, as policy and reward model read it."""

    def prompt(self, messages: Sequence[Message]) -> list[int]: ...
    def answer(self, text: str) -> list[int]: ...
    def closed(self, ids: Sequence[int]) -> list[int]:
        """The ids with an end marker, whether the answer had one or not."""
        ...


@dataclass(frozen=True, slots=True)
class ModelReward:
    """Scores shifted and scaled to mean 0 and standard deviation 1 on answers that it was normalised on."""

    module: Trainable
    mean: float = 0.0
    std: float = 1.0

    @torch.no_grad()
    def scores(self, batch: Batch) -> Tensor:
        """One normalised score an answer. Shape B."""
        self.module.eval()
        scores_B = self.module(batch).scores_B
        assert scores_B is not None, "a reward model needs a score head"
        return (scores_B - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class EnsembleReward:
    """Several reward models' normalised scores as one: their mean, the lowest, or the mean less λ standard deviations.

    A mistake that one model makes alone counts less. Coste et al. 2023 find the worst case, and the mean less the
    spread, to hold longer against optimisation than the mean; their spread is the variance, ours its root (biased), so
    that λ counts in the unit of a score.
    """

    members: tuple[ModelReward, ...]
    combine: Combine = "mean"
    spread_coef: float = 1.0
    """λ."""

    def scores(self, batch: Batch) -> Tensor:
        """One score an answer. Shape B."""
        return self.combined(self.each(batch))

    def each(self, batch: Batch) -> Tensor:
        """Every member's scores. Shape M, B."""
        return torch.stack([member.scores(batch) for member in self.members])

    def combined(self, scores_MB: Tensor) -> Tensor:
        """What the members say together. Shape B."""
        match self.combine:
            case "mean":
                return scores_MB.mean(0)
            case "worst":
                return scores_MB.amin(0)
            case "mean_less_spread":
                return scores_MB.mean(0) - self.spread_coef * spread(scores_MB)


def spread(scores_MB: Tensor) -> Tensor:
    """The members' standard deviation (biased) at each answer: 0 where they agree. Shape B."""
    return scores_MB.std(0, unbiased=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedReward:
    """A reward model as a `Reward`: answers to one prompt are a tree, so that it reads their prompt once.

    It reads the ids that the policy said, and text where no ids came with it or a stop string cut it. It reads every
    answer at an end marker: it never learned what its score says elsewhere, and a policy paid by scores of cut answers
    learns not to end (docs/experiments.md).
    """

    scorer: EnsembleReward
    ids: Ids
    micro_tokens: int
    """Token budget of one forward pass; a tree that is larger passes alone."""
    anew: bool = False
    """Read the text, whatever ids came with it: they may be another tokenizer's."""
    name: str = "model"
    """Of its part. Of several members there are further parts: each one's score, `name/1` and so on, and `name/spread`,
    which grows where a policy has come to answers of which they know little."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        packs = _within(list(self._trees(prompts, completions)), self.micro_tokens)
        scores_MB = torch.cat([self.scorer.each(pack(trees)) for trees in packs], dim=1)
        scores: list[float] = self.scorer.combined(scores_MB).tolist()
        parts = {self.name: scores}
        if len(scores_MB) > 1:
            parts |= {f"{self.name}/{number}": each.tolist() for number, each in enumerate(scores_MB, start=1)}
            parts[f"{self.name}{SPREAD}"] = spread(scores_MB).tolist()
        return Rated(scores=scores, parts=parts)

    def _trees(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Iterator[Document]:
        pairs = zip(prompts, completions, strict=True)
        for row, group in groupby(pairs, key=lambda pair: pair[0].id):
            asked, said = zip(*group, strict=True)
            yield Document(
                row=row, ids=self.ids.prompt(asked[0].messages), branches=[self._read(each) for each in said]
            )

    def _read(self, answer: Completion) -> list[int]:
        if self.anew or not answer.ids or answer.stop is Stop.STRING:  # that string may begin within a token
            return self.ids.answer(answer.text)
        return self.ids.closed(answer.ids)


def _within(trees: Sequence[Document], budget: int) -> Iterator[list[Document]]:
    """Neighbours that fit the budget together, in order: nothing is padded, so that no order is better."""
    part: list[Document] = []
    for tree in trees:
        if part and sum(each.tokens for each in part) + tree.tokens > budget:
            yield part
            part = []
        part.append(tree)
    if part:
        yield part


def normalised(module: Trainable, batches: Sequence[Batch]) -> ModelReward:
    """A ModelReward whose scores have mean 0 and standard deviation 1 (biased) over the answers of `batches`."""
    raw = ModelReward(module)
    scores_B = torch.cat([raw.scores(batch) for batch in batches])
    std = float(scores_B.std(unbiased=False))
    return ModelReward(module, float(scores_B.mean()), std if std > 0 else 1.0)
