"""From the settings of `rewards` to the one `Reward` that answers are paid by. Knows every kind; knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError, ModelError, Problem
from burnish.pipeline.reinforcement import OnPolicy
from burnish.pipeline.reward import load_reward, load_watcher
from burnish.pipeline.reward_terms import Learned, RewardTerm, require_packages, unfit
from burnish.pipeline.stage import Context
from burnish.pipeline.training import MODEL
from burnish.rewards.checked import by_rule
from burnish.rewards.combination import HELD_OUT, Weighted
from burnish.rewards.function import FunctionReward, load_function
from burnish.rewards.model import EnsembleReward, LearnedReward
from burnish.types import Prompt, Reward

OWN = (RewardTerm(model=Learned()),)
"""Where a recipe says nothing: the run's reward model."""


def paid_by(
    context: Context, settings: OnPolicy, prompts: Sequence[Prompt], renderer: Renderer, dtype: torch.dtype
) -> Reward:
    """The reward that the settings name, checked against the prompts that it will be asked about.

    Where a model watches, it is a term that pays nothing. Raises DataError with every problem of the prompts' columns,
    and what the kinds raise for their files.
    """
    terms = settings.rewards or (OWN if settings.paid else ())
    require_packages(terms)
    problems = unfit(terms, context.base, prompts)
    if problems:
        raise DataError(*problems)

    def learned(scorer: EnsembleReward, name: str) -> Reward:
        return LearnedReward(scorer=scorer, ids=renderer, micro_tokens=settings.micro_tokens, name=name)

    def one(term: RewardTerm) -> Reward:
        if term.model:
            return learned(_scorer(context, term.model, renderer, dtype), term.label)
        if term.python:
            file = context.path(term.python.file)
            return FunctionReward(call=load_function(file, term.python.function), file=file, name=term.label)
        assert term.rule is not None
        return by_rule(term.kind, term.rule, context.base, term.label)

    paid = [(term.weight, one(term)) for term in terms]
    if settings.watch and settings.watch.held_out:
        paid.append((0.0, learned(load_watcher(context.inputs["reward"] / MODEL, dtype), HELD_OUT)))
    return Weighted(tuple(paid))


def _scorer(context: Context, settings: Learned, renderer: Renderer, dtype: torch.dtype) -> EnsembleReward:
    if settings.folder is None:
        folder = context.inputs["reward"] / MODEL
    else:
        folder = context.path(settings.folder)
        _require_same_tokens(folder, renderer)
    return load_reward(folder, dtype, combine=settings.combine, spread_coef=settings.spread_coef or 1.0)


def _require_same_tokens(folder: Path, renderer: Renderer) -> None:
    """A reward model reads the ids that the policy said. Raises ModelError where they mean another text to it."""
    if Tokenizer.load(folder).fingerprint != renderer.tokenizer.fingerprint:
        found = "its tokenizer or chat template is not the policy's, whose token ids it would read"
        raise ModelError(Problem(str(folder), found, "Train it from the same model as the policy."))
