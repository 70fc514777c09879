"""The evaluate stage: base model and trained ones answer the same cases, and the answers are graded and compared.

By the gold rule where the recipe names one; else by the rewards that it lists; else by the reward model, whose figures
say what PPO was rewarded for and not whether that is good. Beside that: what each of the rewards says, the scores of
the reward model that watches, where there is one, and how well each model predicts texts, where the recipe names some.
A model's answers are kept whole: a killed stage asks only the models that had not finished.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from burnish.batches import Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import seeds_of
from burnish.evals.log import read_answers, write_answers
from burnish.evals.report import Evaluation
from burnish.evals.run import REWARDS, TEXT, WATCHER, collect, evaluate, evaluate_by_score, grade
from burnish.evals.task import About, Measure, Scores
from burnish.judge.rubric import Rubric
from burnish.models.load import pick_dtype
from burnish.pipeline.payment import Surroundings, weighed
from burnish.pipeline.perplexity import losses
from burnish.pipeline.ranked import scores_of
from burnish.pipeline.recipe import POLICIES, Evaluate
from burnish.pipeline.reward import load_reward, load_watcher
from burnish.pipeline.reward_terms import RewardTerm
from burnish.pipeline.sources import cases as cases_of
from burnish.pipeline.sources import learned_cases
from burnish.pipeline.sources import texts as texts_of
from burnish.pipeline.speaker import base_model, speaker, tuned_model
from burnish.pipeline.stage import Context, Facts
from burnish.records.durable import write_json
from burnish.rewards.model import EnsembleReward
from burnish.types import Completion, Prompt, Rated

_log = logging.getLogger(__name__)
MICRO_TOKENS = 2048
"""Token budget of one forward pass of a reward model."""
Answers = Mapping[str, Sequence[Completion]]


def run(context: Context) -> Facts:
    """Write answers-MODEL.jsonl and evaluation.json."""
    settings = context.recipe.evaluate
    assert settings is not None
    cases = cases_of(context)
    learned = learned_cases(context, cases)
    if learned:
        said = "evaluate: %d of %d cases are prompts that models of this run learned from: their figures flatter (%s%s)"
        _log.warning(said, len(learned), len(cases), ", ".join(learned[:3]), ", ..." if len(learned) > 3 else "")
    rubric = Rubric.load(context.path(settings.rubric)) if settings.rubric else None
    answers = {name: _answers(context, settings, rubric, name, model, cases) for name, model in _models(context)}
    rewarded = _rewarded(context, settings, cases, answers)
    beside = (
        _on_texts(context, settings) + _by_watcher(context, cases, answers) + _by_rewards(settings, cases, rewarded)
    )
    seed = context.recipe.seed
    if rubric:
        found = evaluate(rubric, cases, answers, seed, beside)
    elif rewarded:
        scores = {name: rated.scores for name, rated in rewarded.items()}
        found = evaluate_by_score(cases, answers, scores, seed, beside, about=REWARDS)
    else:
        scores = _scored(context, cases, answers, load_reward)
        found = evaluate_by_score(cases, answers, scores, seed, beside)
    write_json(context.folder / "evaluation.json", found.as_json())
    return {**_facts(found), "learned_cases": len(learned)}


def _models(context: Context) -> list[tuple[str, Path]]:
    """In the order in which they were made."""
    trained = [(name, context.inputs[name] / "model") for name in POLICIES if name in context.inputs]
    return [("base", base_model(context)), *trained]


def _answers(
    context: Context, settings: Evaluate, rubric: Rubric | None, name: str, model: Path, cases: Sequence[Prompt]
) -> list[Completion]:
    path = context.folder / f"answers-{name}.jsonl"
    if not path.is_file():
        sampling = settings.sampling.at(context.recipe.seed)
        context.progress.start(f"evaluate: {name}", 1)
        seeds = seeds_of(sampling.seed, [case.messages for case in cases])
        said = collect(speaker(model, context.recipe.dtype), cases, sampling, context.progress, seeds)
        write_answers(path, cases, said, grade(rubric, cases, said) if rubric else None)
        context.progress.finish()
    return [answer for _, answer in read_answers(path)]


def _on_texts(context: Context, settings: Evaluate) -> list[Measure]:
    """Every model's log-loss on the given texts, kept like answers."""
    texts = texts_of(context, settings)
    if not texts:
        return []
    by_model: dict[str, Scores] = {}
    for name, model in _models(context):
        path = context.folder / f"texts-{name}.json"
        if not path.is_file():
            write_json(path, dict(losses(model, texts, context.recipe.dtype, context.progress)))
        by_model[name] = json.loads(path.read_bytes())
    return [Measure(about=TEXT, by_model=by_model)]


def _by_watcher(context: Context, cases: Sequence[Prompt], answers: Answers) -> list[Measure]:
    """What the reward model says that no policy was paid by, where there is one."""
    if context.recipe.reward is None or context.recipe.reward.watcher is None:
        return []
    scored = _scored(context, cases, answers, load_watcher)
    by_model = {
        name: {case.id: score for case, score in zip(cases, scores, strict=True)} for name, scores in scored.items()
    }
    return [Measure(about=WATCHER, by_model=by_model)]


def _rewarded(context: Context, settings: Evaluate, cases: Sequence[Prompt], answers: Answers) -> dict[str, Rated]:
    """What the rewards that the recipe lists say of each model's answers: by their ids, or their text where there are
    none."""
    if settings.rewards is None:
        return {}
    renderer = Renderer(Tokenizer.load(tuned_model(context)))
    reward = weighed(settings.rewards, Surroundings.of(context), cases, renderer, MICRO_TOKENS)
    said = {
        name: [replace(each, ids=each.ids or tuple(renderer.answer(each.text))) for each in given]
        for name, given in answers.items()
    }
    return {name: reward.score(cases, given) for name, given in said.items()}


def _by_rewards(settings: Evaluate, cases: Sequence[Prompt], rewarded: Mapping[str, Rated]) -> list[Measure]:
    """Each reward's part, on the cases of which it says something for every model."""
    found: list[Measure] = []
    for term in settings.rewards or ():
        parts = {name: rated.parts[term.label] for name, rated in rewarded.items()}
        kept = [place for place in range(len(cases)) if all(part[place] is not None for part in parts.values())]
        by_model = {name: {cases[place].id: part[place] or 0.0 for place in kept} for name, part in parts.items()}
        if kept:
            found.append(Measure(about=_about(term), by_model=by_model))
    return found


def _about(term: RewardTerm) -> About:
    says = f"Mean of what the reward {term.label} says of an answer."
    if term.rule:
        return About(name=term.label, title=term.label, says=says, unit=term.rule.scale)
    return About(name=term.label, title=term.label, says=says, unit="score", bounds=None)


def _scored(
    context: Context,
    cases: Sequence[Prompt],
    answers: Answers,
    load: Callable[[Path, torch.dtype], EnsembleReward],
) -> dict[str, list[float]]:
    """Each answer's normalised score: a case and the answers of all models are one tree."""
    assert context.recipe.reward is not None
    folder = context.inputs["reward"] / "model"
    renderer = Renderer(Tokenizer.load(folder))
    documents = [
        Document(
            row=case.id,
            ids=renderer.prompt(case.messages),
            branches=[renderer.answer(said[place].text) for said in answers.values()],
        )
        for place, case in enumerate(cases)
    ]
    reward = load(folder, pick_dtype(context.recipe.dtype))
    budget = max(context.recipe.reward.micro_tokens, *(document.tokens for document in documents))
    scored = scores_of(reward, documents, budget, context.progress)
    return {name: [scores[place] for scores in scored] for place, name in enumerate(answers)}


def _facts(found: Evaluation) -> Facts:
    duels = found.suites["winrate"].figures if "winrate" in found.suites else {}
    wins = {name: figure.estimate.as_json() for name, figure in duels.items() if "length" not in name}
    return {"cases": found.cases, "models": list(found.models), "win_rates": wins}
