"""Policies that are a table, samplers without luck, and rewards that are known: problems whose optimum is known too.

A table has a row of logits and a value for each token that a next one may follow: with answers of one token it is a
bandit, with answers of two a tree of two levels. It trains through the same feed, objective and loop as a model.
Suffixes: N targets, S tokens that may be followed, V tokens that may follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from burnish.batches import Batch
from burnish.models.forward import Output, Trainable
from burnish.train.advantages import Advantages
from burnish.train.collection import Group, RolloutConfig, RolloutPrompt, Sampler
from burnish.train.rollouts import RolloutFeed
from burnish.types import Completion, Prompt, Rated, Reward, Sampling, Stop

Answer = tuple[int, ...]


class Table(Trainable):
    """The next token's distribution depends on the last token alone. The prompt is the last row."""

    def __init__(self, probabilities_SV: Tensor) -> None:
        super().__init__(nn.Identity())
        self.logits_SV = nn.Parameter(probabilities_SV.log())
        self.values_S = nn.Parameter(torch.zeros(len(probabilities_SV), dtype=probabilities_SV.dtype))

    @property
    def prompt(self) -> int:
        return len(self.values_S) - 1

    def forward(self, batch: Batch) -> Output:
        before_N = batch.ids_T[batch.source_N]
        logprobs_NV = self.logits_SV.log_softmax(-1)[before_N]
        return Output(
            logprobs_N=logprobs_NV.gather(-1, batch.target_N[:, None]).squeeze(-1),
            entropy_N=-(logprobs_NV.exp() * logprobs_NV).sum(-1).detach(),
            values_N=self.values_S[before_N],
            logits=lambda rows: logprobs_NV[rows],
        )

    def probabilities(self) -> Tensor:
        """Shape S, V."""
        return self.logits_SV.detach().softmax(-1)

    def likelihoods(self, answers: Sequence[Answer]) -> Tensor:
        """Of whole answers, with gradient."""
        logprobs_SV = self.logits_SV.log_softmax(-1)
        paths = [zip((self.prompt, *answer), answer, strict=False) for answer in answers]
        return torch.stack([torch.stack([logprobs_SV[a, b] for a, b in path]).sum() for path in paths]).exp()


def answers(vocabulary: int, length: int) -> list[Answer]:
    """All that can be said."""
    return list(product(range(vocabulary), repeat=length))


@dataclass
class Said:
    ids: Answer
    logprobs: tuple[float, ...]
    stop: Stop = Stop.EOS


def said(table: Table, *ids: Answer) -> list[Said]:
    logprobs_SV = table.logits_SV.detach().log_softmax(-1).tolist()
    paths = [list(zip((table.prompt, *answer), answer, strict=False)) for answer in ids]
    return [Said(answer, tuple(logprobs_SV[a][b] for a, b in path)) for answer, path in zip(ids, paths, strict=True)]


class Exact:
    """Answers in the proportions of the policy, as nearly as their number allows: a rollout without luck."""

    def __init__(self, table: Table, length: int = 1) -> None:
        self.table = table
        self.answers = answers(table.logits_SV.shape[1], length)

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, n: int = 1, **_: object
    ) -> list[list[Said]]:
        edges = (self.table.likelihoods(self.answers).detach().cumsum(0) * n).round().int().tolist()
        counts = [b - a for a, b in zip([0, *edges], edges, strict=False)]
        group = [answer for answer, count in zip(self.answers, counts, strict=True) for _ in range(count)]
        return [said(self.table, *group) for _ in prompts]


class Scripted:
    """Says what it is told to."""

    def __init__(self, *groups: Sequence[Said]) -> None:
        self.groups = groups

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, n: int = 1, **_: object
    ) -> list[list[Said]]:
        return [list(self.groups[place % len(self.groups)]) for place, _ in enumerate(prompts)]


class Payout:
    """A score for each answer."""

    def __init__(self, scores: Mapping[Answer, float], name: str = "payout") -> None:
        self.scores, self.name = scores, name

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        scores = [self.scores[each.ids] for each in completions]
        return Rated(scores=scores, parts={self.name: scores})


class Digits:
    def parse(self, ids: Sequence[int]) -> tuple[str, Stop]:
        return "".join(map(str, ids)), Stop.EOS


def feed(
    table: Table,
    folder: Path,
    advantages: Advantages,
    *,
    sampler: Sampler,
    reward: Reward,
    reference: Tensor | None,
    prompts: int = 1,
    learns_without_advantage: bool = False,
    watched: bool = False,
    chosen: Callable[[Group], Group] | None = None,
    **changes: object,
) -> RolloutFeed:
    """Of `prompts` prompts that are all the same; `reference`: the probabilities of the policy to stay near."""
    settings = {
        "prompts_per_iteration": prompts,
        "samples_per_prompt": 400,
        "epochs": 1,
        "minibatches": 1,
        "micro_tokens": 10_000,
        "sampling": Sampling(max_new_tokens=2),
        "missing_eos_penalty": 0.0,
        "seed": 0,
    }
    return RolloutFeed(
        table,
        reference=None if reference is None else Table(reference).requires_grad_(False),
        sampler=sampler,
        reward=reward,
        advantages=advantages,
        prompts=[RolloutPrompt(prompt=Prompt(id=f"q{k}", messages=()), ids=(table.prompt,)) for k in range(prompts)],
        view=Digits(),
        samples=folder / "samples.jsonl",
        config=RolloutConfig(**(settings | changes)),
        learns_without_advantage=learns_without_advantage,
        watched=watched,
        chosen=chosen,
    )
