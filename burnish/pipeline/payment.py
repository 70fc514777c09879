"""From the settings of `rewards` to the one `Reward` that answers are paid by. Knows every kind; knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError
from burnish.models.adapter import Trunk
from burnish.models.load import pick_dtype
from burnish.models.sources import scorer_folder
from burnish.pipeline.reinforcement import OnPolicy
from burnish.pipeline.reward import load_reward, load_watcher
from burnish.pipeline.reward_terms import Learned, RewardTerm, require_packages, unfit
from burnish.pipeline.settings import DType
from burnish.pipeline.speaker import answering
from burnish.pipeline.stage import Context
from burnish.pipeline.training import MODEL
from burnish.records.files import located
from burnish.rewards.checked import by_rule
from burnish.rewards.combination import HELD_OUT, Sure, Weighted
from burnish.rewards.function import FunctionReward, load_function
from burnish.rewards.judged import JudgedReward
from burnish.rewards.model import EnsembleReward, LearnedReward
from burnish.rewards.published import is_published, load_published
from burnish.types import Progress, Prompt, Reward

OWN = (RewardTerm(model=Learned()),)
"""Where a recipe says nothing: the run's reward model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where terms are said, and how the models that they name are loaded."""

    base: Path
    """The folder that their paths are relative to."""
    dtype: DType
    progress: Progress
    own: Path | None = None
    """The reward model of this run; None where there is none."""
    trunk: Trunk | None = None
    """What that may stand on."""

    @classmethod
    def of(cls, context: Context, trunk: Trunk | None = None) -> Surroundings:
        own = context.inputs["reward"] / MODEL if "reward" in context.inputs else None
        return cls(base=context.base, dtype=context.recipe.dtype, progress=context.progress, own=own, trunk=trunk)


def paid_by(
    context: Context, settings: OnPolicy, prompts: Sequence[Prompt], renderer: Renderer, trunk: Trunk | None = None
) -> Reward:
    """What the settings pay for answers to the prompts. A model that watches is a term that pays nothing; without
    one, the ensembles that pay also report their mean minus their spread. `trunk`: what the run's own reward models may
    stand on.

    Raises as `weighed` does.
    """
    terms, around = settings.rewards or (OWN if settings.paid else ()), Surroundings.of(context, trunk)
    paid = weighed(terms, around, prompts, renderer, settings.micro_tokens)
    if settings.watch is None:
        return paid
    if not settings.watch.held_out:
        paying = [term for term in terms if term.model and term.weight > 0] if settings.paid else []
        return Sure(paid, tuple((term.label, term.weight) for term in paying))
    assert around.own is not None, "a recipe is refused whose watch has no reward model to go by"
    watcher = load_watcher(around.own, pick_dtype(around.dtype), trunk)
    seen = LearnedReward(scorer=watcher, ids=renderer, micro_tokens=settings.micro_tokens, name=HELD_OUT)
    return Weighted((*paid.terms, (0.0, seen)))


def weighed(
    terms: Sequence[RewardTerm],
    around: Surroundings,
    prompts: Sequence[Prompt],
    renderer: Renderer | None,
    micro_tokens: int,
) -> Weighted:
    """The terms as one reward, checked against the prompts that it will be asked about.

    `renderer`: the policy's, whose token ids reward models read that have its tokenizer and template. All others, and
    where it is None, read the answers' text by their own.

    Raises DataError with every problem of the prompts' columns, and what the kinds raise for their files.
    """
    require_packages(terms)
    problems = unfit(terms, around.base, prompts)
    if problems:
        raise DataError(*problems)

    def one(term: RewardTerm) -> Reward:
        name = term.label
        if term.model:
            return _learned(term.model, around, renderer, micro_tokens, name)
        if term.judge:
            judge = answering(term.judge.model, around.base, around.dtype, around.progress)
            return JudgedReward(judge=judge, criteria=term.judge.criteria, by=term.judge.by, name=name)
        if term.python:
            file = located(term.python.file, around.base)
            call, texts = load_function(file, term.python.function), all(prompt.as_text for prompt in prompts)
            return FunctionReward(call=call, file=file, name=name, texts=texts)
        assert term.rule is not None
        return by_rule(term.kind, term.rule, around.base, name)

    return Weighted(tuple((term.weight, one(term)) for term in terms))


def _learned(
    settings: Learned, around: Surroundings, renderer: Renderer | None, micro_tokens: int, name: str
) -> LearnedReward:
    dtype = pick_dtype(around.dtype)
    if settings.folder is None:
        folder, trunk = around.own, around.trunk
        assert folder is not None, "a recipe is refused whose rewards name a reward model that it does not train"
    else:
        folder = scorer_folder(settings.folder, around.base, around.progress)
        trunk = None  # what lies beside it may be another's adapter
        if is_published(folder):
            model, ids = load_published(folder, dtype)
            return LearnedReward(
                scorer=EnsembleReward((model,)), ids=ids, micro_tokens=micro_tokens, anew=True, name=name
            )
    scorer = load_reward(folder, dtype, combine=settings.combine, spread_coef=settings.spread_coef or 1.0, trunk=trunk)
    own = Tokenizer.load(folder)
    if renderer is None or own.fingerprint != renderer.tokenizer.fingerprint:
        return LearnedReward(scorer=scorer, ids=Renderer(own), micro_tokens=micro_tokens, anew=True, name=name)
    return LearnedReward(scorer=scorer, ids=renderer, micro_tokens=micro_tokens, name=name)
