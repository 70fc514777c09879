"""From the settings of `rewards` to the one `Reward` that answers are paid by. Knows every kind; knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError, ModelError, Problem
from burnish.pipeline.reward import load_reward, load_watcher
from burnish.pipeline.reward_terms import Learned, RewardTerm, require_packages, unfit
from burnish.pipeline.stage import Context
from burnish.pipeline.training import MODEL
from burnish.rewards.checked import by_rule
from burnish.rewards.combination import Weighted
from burnish.rewards.function import FunctionReward, load_function
from burnish.rewards.model import LearnedReward
from burnish.rewards.watched import WatchedReward
from burnish.types import Prompt, Reward

OWN = (RewardTerm(model=Learned()),)
"""Where a recipe says nothing: the run's reward model."""


def paid_by(
    context: Context,
    terms: Sequence[RewardTerm] | None,
    prompts: Sequence[Prompt],
    renderer: Renderer,
    dtype: torch.dtype,
    micro_tokens: int,
) -> Reward:
    """The reward of the terms, checked against the prompts that it will be asked about.

    Raises DataError with every problem of the prompts' columns, and what the kinds raise for their files.
    """
    terms = terms or OWN
    require_packages(terms)
    problems = unfit(terms, context.base, prompts)
    if problems:
        raise DataError(*problems)

    def one(term: RewardTerm) -> Reward:
        if term.model:
            return _learned(context, term.model, term.label, renderer, dtype, micro_tokens)
        if term.python:
            file = context.path(term.python.file)
            return FunctionReward(call=load_function(file, term.python.function), file=file, name=term.label)
        assert term.rule is not None
        return by_rule(term.kind, term.rule, context.base, term.label)

    return Weighted(tuple((term.weight, one(term)) for term in terms))


def overseen(reward: Reward, context: Context, renderer: Renderer, dtype: torch.dtype, micro_tokens: int) -> Reward:
    """The reward, with what the run's reward model says beside it that the policy is not paid by."""
    watcher = load_watcher(context.inputs["reward"] / MODEL, dtype)
    return WatchedReward(paid=reward, watcher=LearnedReward(scorer=watcher, ids=renderer, micro_tokens=micro_tokens))


def _learned(
    context: Context, settings: Learned, name: str, renderer: Renderer, dtype: torch.dtype, micro_tokens: int
) -> LearnedReward:
    if settings.folder is None:
        folder = context.inputs["reward"] / MODEL
    else:
        folder = context.path(settings.folder)
        _require_same_tokens(folder, renderer)
    scorer = load_reward(folder, dtype, combine=settings.combine, spread_coef=settings.spread_coef or 1.0)
    return LearnedReward(scorer=scorer, ids=renderer, micro_tokens=micro_tokens, name=name)


def _require_same_tokens(folder: Path, renderer: Renderer) -> None:
    """A reward model reads the ids that the policy said. Raises ModelError where they mean another text to it."""
    if Tokenizer.load(folder).fingerprint != renderer.tokenizer.fingerprint:
        found = "its tokenizer or chat template is not the policy's, whose token ids it would read"
        raise ModelError(Problem(str(folder), found, "Train it from the same model as the policy."))
