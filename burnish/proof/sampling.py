"""Measures of sampled answers: sampler against scorer, a policy against itself, alone and in company. Judges nothing.

Suffixes: N targets, V vocabulary.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from burnish.batches import Document, pack
from burnish.models.forward import Trainable
from burnish.models.probe import near_ties, routed
from burnish.proof.law import Measured
from burnish.proof.methods import METHODS
from burnish.proof.subject import NEW_TOKENS, Subject, with_heads
from burnish.rollout.engine import Engine
from burnish.train.advantages import KlInReward, PerToken
from burnish.train.collection import RolloutConfig, RolloutPrompt
from burnish.train.rollouts import RolloutFeed
from burnish.types import Completion, Prompt, Rated, Sampling

TEMPERATURE = 0.7
"""Not 1, at which a forgotten temperature does not show."""
OFF = 1e-4
"""Further than this from the scorer's no log-probability may be, in nats."""
TIE = 1e-4
"""Two best logits nearer than this may change places by rounding."""


def sampler_is_scorer(subject: Subject, dtype: torch.dtype) -> tuple[Tensor, list[Document]]:
    """How far the sampler's log-probability of each token is from the scorer's, in nats (shape N), and the answers."""
    module = subject.module() if dtype is torch.float32 else subject.load(dtype=dtype)
    sampling = Sampling(temperature=TEMPERATURE, max_new_tokens=NEW_TOKENS)
    rows = _engine(subject, module, len(subject.prompts)).generate(subject.prompts, sampling, n=2)
    documents = [
        Document(row=str(number), ids=prompt, branches=[answer.ids for answer in row])
        for number, (prompt, row) in enumerate(zip(subject.prompts, rows, strict=True))
    ]
    with torch.no_grad():
        scored_N = module(pack(documents, TEMPERATURE)).logprobs_N
    assert scored_N is not None
    stated_N = torch.tensor([each for row in rows for answer in row for each in answer.logprobs])
    return (stated_N - scored_N).abs(), documents


def largest(subject: Subject) -> Measured:
    """In fp32 no token may be off, unless it follows a near tie of experts: those are counted apart, but where all are
    off, which no tie explains."""
    apart_N, documents = sampler_is_scorer(subject, torch.float32)
    if not routed(subject.module()):
        return Measured.one(float(apart_N.max()))
    excused_N = (apart_N > OFF) & _undecided(subject.module(), documents)
    excused_N &= ~excused_N.all()
    note = f"{int(excused_N.sum())} of {len(apart_N)} tokens excused, after near ties of experts"
    return Measured.one(float(apart_N[~excused_N].max()), note)


def mean(subject: Subject) -> Measured:
    """In bfloat16 single tokens are off by rounding; on the mean they must not be."""
    return Measured.one(float(sampler_is_scorer(subject, torch.bfloat16)[0].mean()))


def same_policy(subject: Subject) -> Measured:
    """The first iteration of PPO, whose reference is the policy loaded anew: largest KL of a token, and how far the
    ratios of new to old probabilities are from 1 (half the mean square of their logarithms)."""
    method = METHODS["ppo"]
    policy = with_heads(subject.module(), method.heads)
    with tempfile.TemporaryDirectory() as folder:
        feed = RolloutFeed(
            policy,
            reference=with_heads(subject.load(), frozenset({"lm"})),
            sampler=_engine(subject, policy, len(subject.prompts)),
            reward=_Alike(),
            advantages=PerToken(kl=KlInReward(0.1)),
            prompts=[
                RolloutPrompt(prompt=Prompt(id=str(number), messages=()), ids=tuple(ids))
                for number, ids in enumerate(subject.prompts)
            ],
            view=subject.renderer,
            samples=Path(folder) / "samples.jsonl",
            config=_config(subject),
        )
        batches = feed.next(0).batches
    kl = max(float(batch.extra["kl_N"].abs().max()) for batch in batches)
    shift, count = method.objective.loss(policy, batches[0]).metrics["policy/approxkl_avg"]
    return Measured({"KL": kl, "ratio": shift / count})


def greedy(subject: Subject) -> Measured:
    """Greedy answers that depend on what else is answered. Where the two best logits are all but equal, an answer may
    go either way: those are counted apart."""
    sampling = Sampling(temperature=0, max_new_tokens=NEW_TOKENS)
    module, prompts = subject.module(), subject.prompts
    together = _engine(subject, module, len(prompts)).generate(prompts, sampling)
    changed = excused = 0
    for prompt, (answer,) in zip(prompts, together, strict=True):
        alone = _engine(subject, module, 1).generate([prompt], sampling)[0][0]
        if alone.ids == answer.ids:
            continue
        pairs = enumerate(zip(alone.ids, answer.ids, strict=False))
        parted = next((place for place, (one, other) in pairs if one != other), 0)
        if _tie(module, [*prompt, *alone.ids[:parted]]):
            excused += 1
        else:
            changed += 1
    return Measured.one(changed, f"{excused} near ties excused")


class _Alike:
    """Every answer is worth the same."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        return Rated(scores=[0.0] * len(completions))


def _engine(subject: Subject, module: Trainable, slots: int) -> Engine:
    return Engine(module, end_ids=subject.tokenizer.end_ids, slots=slots)


def _config(subject: Subject) -> RolloutConfig:
    longest = max(len(ids) for ids in subject.prompts) + NEW_TOKENS
    return RolloutConfig(
        prompts_per_iteration=len(subject.prompts),
        samples_per_prompt=1,
        epochs=1,
        minibatches=1,
        micro_tokens=2 * longest,
        sampling=Sampling(temperature=TEMPERATURE, max_new_tokens=NEW_TOKENS),
        missing_eos_penalty=0.0,
        seed=0,
    )


def _undecided(module: Trainable, documents: Sequence[Document]) -> Tensor:
    """Whether a token of the answers was predicted by, or after, one that might have gone to other experts. Shape N."""
    found: list[Tensor] = []
    for tree in documents:
        for ids in tree.branches:
            near_T = near_ties(module, [*tree.ids, *ids]).cumsum(0) > 0
            found.append(near_T[len(tree.ids) - 1 : -1])
    return torch.cat(found)


def _tie(module: Trainable, ids: Sequence[int]) -> bool:
    """Whether the two best tokens to follow are all but equally likely."""
    assert module.lm is not None
    with torch.no_grad():
        logits_V = module.lm(module.hidden(pack([Document(row="", ids=ids)]))[-1])
    best, second = logits_V.float().topk(2).values.tolist()
    return best - second < TIE
