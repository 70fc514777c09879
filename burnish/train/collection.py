"""Prompts answered and paid for: the collecting half of an on-policy feed. Knows a sampler, a reward and where answers
are written down for people; knows no model, no tensor of a batch and no method.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch

from burnish.batches import Document
from burnish.data.order import draw, rows_of_step, seeds_of
from burnish.losses import returns
from burnish.records import durable
from burnish.rollout.stops import stopping
from burnish.types import Completion, Prompt, Rated, Reward, Sampling, Stop


class Sampled(Protocol):
    """One sampled answer."""

    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def logprobs(self) -> tuple[float, ...]: ...
    @property
    def stop(self) -> Stop: ...


class Sampler(Protocol):
    """Token ids in, token ids out, with the weights as they are now."""

    version: int
    """Which weights these are: optimiser steps so far. The collector says it before it asks for answers."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        n: int = 1,
        *,
        stopped: Callable[[Sequence[int]], bool] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Sequence[Sequence[Sampled]]: ...


class TextView(Protocol):
    """Reads sampled answers, for people and for rewards that look at text."""

    def parse(self, ids: Sequence[int]) -> tuple[str, Stop]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPrompt:
    """A prompt ready to be answered."""

    prompt: Prompt
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How answers are collected and handed out."""

    prompts_per_iteration: int
    samples_per_prompt: int
    epochs: int
    """Passes over the answers of an iteration."""
    minibatches: int
    """Optimiser steps a pass."""
    micro_tokens: int
    sampling: Sampling
    """Of the answers; their seeds follow from `seed`."""
    missing_eos_penalty: float
    """Taken from the score of an answer that the budget cut: not of one that ended with a stop string, by itself."""
    seed: int
    overlong_tokens: int = 0
    """The last so many tokens of the budget cost an answer up to 1, on a line (`returns.overlong`)."""
    attempts: int = 1
    """More than 1: groups that the rewards call all alike are left out, and others sampled in their place, so many
    times in all at most (dynamic sampling, Yu et al. 2025, §3.2). An iteration may then be smaller than asked for."""
    spread: int = 1
    """Micro-batches of a minibatch are as many for each of so many ranks, where there are prompts enough."""

    @property
    def steps(self) -> int:
        """Optimiser steps of an iteration."""
        return self.epochs * self.minibatches


@dataclass(slots=True, kw_only=True)
class Group:
    """A prompt, its answers, and what they are worth."""

    row: str
    asked: RolloutPrompt
    answers: list[Completion]
    scores: list[float]
    """Penalties taken."""
    rewards: list[float]
    """Before them: what the rewards say alone."""
    parts: dict[str, list[float | None]]
    kl: list[float] = field(default_factory=list[float])
    """From the reference, of each answer; none where it was not measured, as of groups that are learned in part."""

    @property
    def tokens(self) -> int:
        return sum(len(answer.ids) for answer in self.answers)

    def document(self) -> Document:
        return Document(row=self.row, ids=self.asked.ids, branches=[answer.ids for answer in self.answers])


class Collector:
    """Answers the prompts of an iteration and has them scored."""

    def __init__(
        self,
        sampler: Sampler,
        reward: Reward,
        prompts: Sequence[RolloutPrompt],
        view: TextView,
        config: RolloutConfig,
        idle: Callable[[Group], bool],
    ) -> None:
        """`idle`: whether nothing is learned from a group, so that it does not count towards an iteration."""
        self._sampler = sampler
        self._reward = reward
        self._prompts = prompts
        self._view = view
        self._config = config
        self._idle = idle
        self.again = 0
        """Attempts beyond the first of each iteration, so far. Every attempt takes the next prompts of the pass, so
        that where an iteration begins depends on them."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Of sampling and of scoring, in the last iteration."""

    def collect(self, iteration: int) -> list[Group]:
        """The iteration's groups; with more than one attempt, until enough of them are of use."""
        self.seconds.clear()
        return list(self._answered(iteration))

    def _answered(self, iteration: int) -> Iterator[Group]:
        config, wanted = self._config, self._config.prompts_per_iteration
        names: defaultdict[str, int] = defaultdict(int)
        self._sampler.version = iteration * config.steps
        for attempt in range(config.attempts):
            self.again += attempt > 0
            turn = iteration + self.again
            rows = rows_of_step(turn, len(self._prompts), config.prompts_per_iteration, config.seed)
            fresh = self._sampled([self._prompts[row] for row in rows], turn)
            for group in fresh:
                names[group.row] += 1
                if names[group.row] > 1:  # the same prompt again: rows of a batch have names of their own
                    group.row = f"{group.row}#{names[group.row]}"
                yield group
            wanted -= sum(not self._idle(group) for group in fresh)
            if wanted <= 0:
                return

    def _sampled(self, asked: Sequence[RolloutPrompt], turn: int) -> list[Group]:
        began = time.perf_counter()
        sampling = self._config.sampling
        said = self._sampler.generate(
            [each.ids for each in asked],
            sampling,
            self._config.samples_per_prompt,
            stopped=stopping(lambda ids: self._view.parse(ids)[0], sampling.stop),
            seeds=seeds_of(draw(self._config.seed, "rollout", turn), [each.ids for each in asked]),
        )
        sampled_at = time.perf_counter()
        answers = [[self._completion(each) for each in group] for group in said]
        prompts = [each.prompt for each, group in zip(asked, answers, strict=True) for _ in group]
        rated = self._reward.score(prompts, [self._delivered(each) for group in answers for each in group])
        self.seconds["rollout"] += sampled_at - began
        self.seconds["reward"] += time.perf_counter() - sampled_at
        return list(self._rated(asked, answers, rated))

    def _completion(self, sampled: Sampled) -> Completion:
        text, _ = self._view.parse(sampled.ids)
        return Completion(
            text=self._config.sampling.cut(text),
            stop=sampled.stop,
            ids=sampled.ids,
            logprobs=tuple(sampled.logprobs),
            version=self._sampler.version,
        )

    def _delivered(self, answer: Completion) -> Completion:
        """As rewards read it: if a stop string ended the answer, without the tokens from that string's first on."""
        if answer.stop is not Stop.STRING:
            return answer
        count = len(answer.ids)
        while count and not answer.text.startswith(self._view.parse(answer.ids[:count])[0]):
            count -= 1
        return replace(answer, ids=answer.ids[:count], logprobs=answer.logprobs[:count])

    def _rated(
        self, asked: Sequence[RolloutPrompt], answers: Sequence[list[Completion]], rated: Rated
    ) -> Iterator[Group]:
        scores, parts = iter(rated.scores), {name: iter(values) for name, values in rated.parts.items()}
        for each, group in zip(asked, answers, strict=True):
            rewards = list(islice(scores, len(group)))
            yield Group(
                row=each.prompt.id,
                asked=each,
                answers=group,
                scores=[reward - self._penalty(answer) for reward, answer in zip(rewards, group, strict=True)],
                rewards=rewards,
                parts={name: list(islice(values, len(group))) for name, values in parts.items()},
            )

    def _penalty(self, answer: Completion) -> float:
        config = self._config
        found = config.missing_eos_penalty if answer.stop is Stop.LENGTH else 0.0
        if config.overlong_tokens:
            length = torch.tensor([len(answer.ids)])
            found -= float(returns.overlong(length, config.sampling.max_new_tokens, config.overlong_tokens))
        return found


def write_samples(path: Path, iteration: int, groups: Sequence[Group]) -> None:
    """Every answer of the iteration, for people to read; `updates`: the weights that said it had had so many, so the
    line of that step in metrics.jsonl is the first that may have learned from it."""
    durable.append_lines(path, (line for group in groups for line in _lines(iteration, group)))


def _lines(iteration: int, group: Group) -> Iterator[dict[str, Any]]:
    prompt = group.asked.prompt
    asked = {"prompt": [message.as_json() for message in prompt.messages], "meta": dict(prompt.meta)}
    for place, answer in enumerate(group.answers):
        yield {
            "iteration": iteration,
            "updates": answer.version,
            "id": prompt.id,
            **asked,
            "text": answer.text,
            "stop": answer.stop.value,
            "score": group.scores[place],
            "parts": {name: values[place] for name, values in group.parts.items()},
            "kl": group.kl[place] if group.kl else None,
        }
