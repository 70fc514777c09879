"""Answers collected from models, and the evaluation made of them. Knows generators and grades; opens no file.

`evaluate` judges by the gold rule; `evaluate_by_score` by any number per answer, where no rule is published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from burnish.evals.report import Duel, Evaluation, assemble, pairs
from burnish.evals.suites import SUITES, winrate
from burnish.evals.task import About, Case, Measure, Suite, hazard
from burnish.judge import language
from burnish.judge.rubric import Grade, Rubric
from burnish.types import Completion, Generator, Progress, Sampling, Silent, Stop

AT_ONCE = 192
"""Cases put to the generator in one call: progress is told this often."""
Answers = Mapping[str, Sequence[Completion]]
"""Model -> its answers, aligned with the cases. Models stand in the order they were made: each is compared with all
before it."""

ENDED = About(
    name="ended_with_eos", title="Ended by itself", says="Share of answers that the model ended, not the length budget."
)
WORDS = About(
    name="words", title="Words", says="Mean number of words of an answer.", better="neither", unit="score", bounds=None
)
TEXT = About(
    name="text_nll",
    title="Log-loss on text",
    says="Mean negative log-likelihood of a piece of text, in nats a token; its exponential is the perplexity.",
    better="lower",
    unit="score",
    bounds=None,
)
REWARDS = About(name="reward", title="Reward", says="Weighted sum of what the rewards say.", unit="score", bounds=None)
REWARD = About(name="reward", title="Reward", says="Mean score by the reward model.", unit="score", bounds=None)
WATCHER = About(
    name="held_out_reward",
    title="Held-out reward",
    says="Mean score by the reward model that learned from other judgements, by which no policy was paid.",
    unit="score",
    bounds=None,
)

FIGURES = {each.name for each in (winrate.ABOUT, ENDED, WORDS, TEXT, REWARD, WATCHER, *(each.about for each in SUITES))}
"""Names that are taken: a reward that is measured needs another one."""


def collect(
    generator: Generator,
    cases: Sequence[Case],
    sampling: Sampling,
    progress: Progress | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Completion]:
    """One answer a case, in the cases' order. `seeds`: one a case, in place of the sampling's."""
    progress = progress or Silent()
    progress.start("answers", len(cases))
    answers: list[Completion] = []
    for start in range(0, len(cases), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        batch = [case.messages for case in cases[part]]
        answers += [found[0] for found in generator.generate(batch, sampling, seeds=seeds and seeds[part])]
        progress.advance(len(batch))
    progress.finish()
    return answers


def evaluate(
    rubric: Rubric, cases: Sequence[Case], answers: Answers, seed: int = 0, beside: Sequence[Measure] = ()
) -> Evaluation:
    """Every suite that has cases, win rates by the gold rule's total, how answers end, and what was measured `beside`.

    Raises DataError where a case names an unknown region, kind or fact.
    """
    grades = {model: grade(rubric, cases, given) for model, given in answers.items()}
    measures = [measure for suite in SUITES if (measure := _measure(suite, rubric, cases, grades))]
    totals = {model: [each.total for each in given] for model, given in grades.items()}
    return _assemble(cases, answers, [*measures, *beside], totals, seed)


def evaluate_by_score(
    cases: Sequence[Case],
    answers: Answers,
    scores: Mapping[str, Sequence[float]],
    seed: int = 0,
    beside: Sequence[Measure] = (),
    *,
    about: About = REWARD,
) -> Evaluation:
    """Mean score, win rates by score, how answers end, and what was measured `beside`. `about`: whose score it is."""
    by_model = {model: _by_id(cases, given) for model, given in scores.items()}
    return _assemble(cases, answers, [Measure(about=about, by_model=by_model), *beside], scores, seed)


def grade(rubric: Rubric, cases: Sequence[Case], answers: Sequence[Completion]) -> list[Grade]:
    """The gold rule on each answer."""
    return [rubric.grade(case, answer.text) for case, answer in zip(cases, answers, strict=True)]


def _measure(
    suite: Suite, rubric: Rubric, cases: Sequence[Case], grades: Mapping[str, Sequence[Grade]]
) -> Measure | None:
    places = [place for place, case in enumerate(cases) if suite.takes(case, rubric)]
    taken = [cases[place] for place in places]
    by_model = {model: suite.scores(taken, [given[place] for place in places]) for model, given in grades.items()}
    return Measure(about=suite.about, by_model=by_model) if all(by_model.values()) else None


def _assemble(
    cases: Sequence[Case],
    answers: Answers,
    measures: Sequence[Measure],
    scores: Mapping[str, Sequence[float]],
    seed: int,
) -> Evaluation:
    ended = {
        model: _by_id(cases, [float(each.stop in (Stop.EOS, Stop.STRING)) for each in given])
        for model, given in answers.items()
    }
    words = {model: [len(language.words(each.text)) for each in given] for model, given in answers.items()}
    counted = {model: _by_id(cases, counts) for model, counts in words.items()}
    behaviour = [Measure(about=ENDED, by_model=ended), Measure(about=WORDS, by_model=counted)]
    compared = [place for place, case in enumerate(cases) if hazard(case) != "bias"]
    duels = [_duel(later, earlier, compared, scores, words) for earlier, later in pairs(list(answers))]
    return assemble(len(cases), list(answers), [*measures, *behaviour], duels if compared else [], seed)


def _duel(
    later: str,
    earlier: str,
    compared: Sequence[int],
    scores: Mapping[str, Sequence[float]],
    words: Mapping[str, Sequence[int]],
) -> Duel:
    ours, theirs = ([scores[model][place] for place in compared] for model in (later, earlier))
    long, short = ([words[model][place] for place in compared] for model in (later, earlier))
    return Duel(later=later, earlier=earlier, outcomes=winrate.outcomes(ours, theirs), words=(long, short))


def _by_id(cases: Sequence[Case], values: Sequence[float]) -> dict[str, float]:
    return {case.id: float(value) for case, value in zip(cases, values, strict=True)}
