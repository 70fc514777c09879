"""The best of n answers: a model answers, a reward chooses. It costs no training, so it is what reinforcement learning
must beat. Keeps no record beside what it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from burnish.config import resolved
from burnish.endpoints.server import Address
from burnish.errors import ConfigError, Problem
from burnish.models.arithmetic import settle
from burnish.models.sources import hub_id
from burnish.pipeline.answers import answered
from burnish.pipeline.key import content, put_contents
from burnish.pipeline.paths import OF_REWARDS
from burnish.pipeline.payment import Surroundings, weighed
from burnish.pipeline.reward_terms import Learned, RewardTerm, RewardTerms, listed, reward_folder
from burnish.pipeline.settings import DType
from burnish.pipeline.talk import as_asked, opened
from burnish.records.parts import Parts
from burnish.release.clauses import number
from burnish.stats.best_of import best_of_each, kl_of_best
from burnish.types import Completion, Estimate, Generator, Progress, Prompt, Reward, Sampling, Silent

MICRO_TOKENS = 2048
AT_ONCE = 32
"""Prompts answered together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What choosing among so many answers is worth."""

    n: int
    score: Estimate
    """Of the answer that is chosen, by the reward that chooses: it flatters itself, the more so the larger n is."""
    kl: float
    """From the model's own answers, at most, in nats an answer."""

    def as_json(self) -> dict[str, Any]:
        return {"n": self.n, "score": self.score.as_json(), "kl_at_most": self.kl}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The best answers, and what each smaller n would have been worth."""

    rows: list[dict[str, Any]]
    """One a prompt: `prompt` and `completion`, as sft reads them; `score`, `stop`; all `answers`, best first."""
    sizes: list[Size]

    def as_json(self) -> dict[str, Any]:
        return {"rows": len(self.rows), "sizes": [size.as_json() for size in self.sizes]}

    def as_text(self) -> str:
        lines = ["    n  score of the best (95% interval over prompts)   KL at most"]
        for size in self.sizes:
            ends = f"{number(size.score.value)} ({number(size.score.low)} to {number(size.score.high)})"
            lines.append(f"{size.n:>5}  {ends:<47}  {size.kl:.2f} nats")
        return "\n".join(lines)


def choose(
    model: str, reward: Path, asked: Sequence[Prompt], out: Path, sampling: Sampling, n: int, progress: Progress
) -> Chosen:
    """`best_of_n` for a model and rewards as a user names them, into a file. What was killed goes on where it was.
    Raises as `named` and `chooser` do, and ConfigError for rewards that such answers cannot have."""
    terms, base = named(reward)
    _require_answers_for(terms, model, n)
    chooses = chooser(terms, base, asked, progress=progress)
    rewards: dict[str, Any] = {"rewards": [resolved(term) for term in terms]}
    put_contents(rewards, OF_REWARDS, base)
    rows = [as_asked(asked), [dict(prompt.meta) for prompt in asked]]
    parts = Parts(out, ["best-of-n", content(model, Path.cwd()), rewards, rows, asdict(sampling), n])
    found = best_of_n(opened(model, progress), chooses, asked, sampling, n, parts, progress)
    parts.finish(found.rows)
    return found


def named(reward: Path) -> tuple[RewardTerms, Path]:
    """The rewards that a user means by a path or Hub id, and the folder that their own paths are relative to: those
    that a YAML file lists, or a reward model. Raises ConfigError where nothing is there, or for a file without any."""
    if not reward.exists() and not hub_id(str(reward)):
        mend = "Give the run, folder or Hub id of a reward model, or a YAML file with rewards."
        raise ConfigError(Problem(str(reward), "does not exist", mend))
    if reward.is_file():
        return listed(reward), reward.parent
    return (RewardTerm(model=Learned(folder=str(reward_folder(reward)))),), Path()


def _require_answers_for(terms: RewardTerms, model: str, n: int) -> None:
    problems = [
        Problem(term.label, "answers to one prompt are compared, and there is one", "Raise --n, or set by: grade.")
        for term in terms
        if term.judge and term.judge.by == "comparison" and n < 2
    ] + [
        Problem(term.label, "counts tokens, and a server gives text alone", "Set unit: words, or another.")
        for term in terms
        if term.length and term.length.unit == "tokens" and Address.meant(model)
    ]
    if problems:
        raise ConfigError(*problems)


def chooser(
    terms: RewardTerms, base: Path, prompts: Sequence[Prompt], dtype: DType = "auto", progress: Progress = Silent()
) -> Reward:
    """What the terms say of answers to these prompts. Raises as `weighed` does."""
    settle()
    return weighed(terms, Surroundings(base=base, dtype=dtype, progress=progress), prompts, None, MICRO_TOKENS)


def best_of_n(
    generator: Generator,
    reward: Reward,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    n: int,
    parts: Parts = Parts(None),
    progress: Progress = Silent(),
) -> Chosen:
    """Answer each prompt n times and choose."""
    scored = partial(_scored, reward)
    rows = answered(
        generator, prompts, sampling, n, scored, parts=parts, at_once=AT_ONCE, label="prompts", progress=progress
    )
    scores = [[float(answer["score"]) for answer in row["answers"]] for row in rows]
    sizes = sorted({2**power for power in range(n.bit_length())} | {n})
    found = best_of_each([(each, each) for each in scores], sizes, seed=sampling.seed)
    return Chosen(
        rows=rows,
        sizes=[Size(n=size, score=score, kl=kl_of_best(size)) for size, score in zip(sizes, found, strict=True)],
    )


def _scored(reward: Reward, asked: Sequence[Prompt], said: Sequence[Sequence[Completion]]) -> Iterator[dict[str, Any]]:
    pairs = [(prompt, each) for prompt, row in zip(asked, said, strict=True) for each in row]
    rated = reward.score([prompt for prompt, _ in pairs], [each for _, each in pairs])
    answers: list[dict[str, Any]] = [
        {
            "text": each.text,
            "stop": each.stop.value,
            "score": rated.scores[place],
            "parts": {name: values[place] for name, values in rated.parts.items()},
        }
        for place, (_, each) in enumerate(pairs)
    ]
    following = iter(answers)
    for prompt, row in zip(asked, said, strict=True):
        own = sorted(islice(following, len(row)), key=lambda answer: -float(answer["score"]))
        yield {
            "id": prompt.id,
            "prompt": [message.as_json() for message in prompt.messages],
            "completion": own[0]["text"],
            "score": own[0]["score"],
            "stop": own[0]["stop"],
            "answers": own,
        }
