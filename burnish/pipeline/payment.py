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
from burnish.pipeline.speaker import answering
from burnish.pipeline.stage import Context
from burnish.pipeline.training import MODEL
from burnish.rewards.checked import by_rule
from burnish.rewards.combination import HELD_OUT, Sure, Weighted
from burnish.rewards.function import FunctionReward, load_function
from burnish.rewards.judged import JudgedReward
from burnish.rewards.model import EnsembleReward, LearnedReward
from burnish.types import Prompt, Reward

OWN = (RewardTerm(model=Learned()),)
"""Where a recipe says nothing: the run's reward model."""


def paid_by(
    context: Context, settings: OnPolicy, prompts: Sequence[Prompt], renderer: Renderer, dtype: torch.dtype
) -> Reward:
    """What the settings pay for answers to the prompts. Where a model watches, it is a term that pays nothing; where a
    watch has none, the models that pay say of how much they are sure.

    Raises as `weighed` does.
    """
    terms = settings.rewards or (OWN if settings.paid else ())
    paid = weighed(context, terms, prompts, renderer, dtype, settings.micro_tokens)
    if settings.watch is None:
        return paid
    if not settings.watch.held_out:
        paying = [term for term in terms if term.model and term.weight > 0] if settings.paid else []
        return Sure(paid, tuple((term.label, term.weight) for term in paying))
    watcher = load_watcher(context.inputs["reward"] / MODEL, dtype)
    seen = LearnedReward(scorer=watcher, ids=renderer, micro_tokens=settings.micro_tokens, name=HELD_OUT)
    return Weighted((*paid.terms, (0.0, seen)))


def weighed(
    context: Context,
    terms: Sequence[RewardTerm],
    prompts: Sequence[Prompt],
    renderer: Renderer,
    dtype: torch.dtype,
    micro_tokens: int,
) -> Weighted:
    """The terms as one reward, checked against the prompts that it will be asked about.

    Raises DataError with every problem of the prompts' columns, and what the kinds raise for their files.
    """
    require_packages(terms)
    problems = unfit(terms, context.base, prompts)
    if problems:
        raise DataError(*problems)

    def one(term: RewardTerm) -> Reward:
        name = term.label
        if term.model:
            scorer = _scorer(context, term.model, renderer, dtype)
            return LearnedReward(scorer=scorer, ids=renderer, micro_tokens=micro_tokens, name=name)
        if term.judge:
            judge = answering(term.judge.model, context)
            return JudgedReward(judge=judge, criteria=term.judge.criteria, by=term.judge.by, name=name)
        if term.python:
            file = context.path(term.python.file)
            return FunctionReward(call=load_function(file, term.python.function), file=file, name=name)
        assert term.rule is not None
        return by_rule(term.kind, term.rule, context.base, name)

    return Weighted(tuple((term.weight, one(term)) for term in terms))


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
