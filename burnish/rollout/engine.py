"""The generation engine: prompts in, sampled token ids and their log-probabilities out. Knows ids, slots and sampling;
knows no text (rollout/chat.py does) and no method.

Sequences live in slots. An ended one leaves at once and the queue refills in waves, so that the cost is the sum of the
lengths, not the longest times the count. The queue is sorted by prompt: what prompts have in common is computed once a
wave, and the order in which they are given changes nothing.

The random numbers of an answer depend on seed, prompt and sample number alone. The logits come from matrix products
whose last bits depend on how many sequences stand in them: in fp32 an answer practically never depends on its company,
in bf16 a near tie may fall either way.

Suffixes: A sequences, C hidden width.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from burnish.errors import ConfigError, DataError, ModelError, Problem
from burnish.models.forward import Trainable
from burnish.rollout.cache import fitting
from burnish.rollout.decoder import Decoder, decoder, remaining
from burnish.rollout.draw import draw, uniforms
from burnish.rollout.prefill import wave_size
from burnish.types import Progress, Sampling, Silent, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One answer, as ids."""

    ids: tuple[int, ...]
    """The end token included where the model gave it."""
    logprobs: tuple[float, ...]
    """Of each id under the distribution that it was drawn from: see `draw`."""
    stop: Stop


@dataclass(slots=True, kw_only=True)
class _Answer:
    """An answer being written."""

    prompt: tuple[int, ...]
    place: tuple[int, int]
    """Number of the prompt, number of the sample."""
    uniforms: np.ndarray
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    stop: Stop | None = None

    def sampled(self) -> Sampled:
        assert self.stop is not None
        return Sampled(ids=tuple(self.ids), logprobs=tuple(self.logprobs), stop=self.stop)


class Engine:
    """Samples from a trainable's LM head. It holds no copy of the weights: an update in place is used at once."""

    def __init__(self, module: Trainable, *, end_id: int, slots: int = 144) -> None:
        """Args: end_id ends an answer; slots, how many are written at once (beyond 144 a CPU gains little).

        Raises: ModelError for a module that predicts no tokens.
        """
        if module.lm is None:
            raise ModelError(Problem("model", "it has no LM head, so it cannot answer"))
        self.version = 0
        """Which weights these are: the trainer sets it to its step."""
        self.end_id = end_id
        self.slots = slots
        self.forwarded = 0
        """Tokens that went through the backbone so far, prompts and answers."""
        self._module = module
        self._lm = module.lm

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, n: int = 1, progress: Progress = Silent()
    ) -> list[list[Sampled]]:
        """n answers to each prompt, in the prompts' order.

        Raises: ConfigError for a sampling that cannot be meant, DataError for prompts that are empty or do not fit the
        model's context, ModelError when the logits are not finite.
        """
        _check(sampling)
        self._check_lengths(prompts, sampling.max_new_tokens)
        answers = [[self._answer(prompt, (i, k), sampling) for k in range(n)] for i, prompt in enumerate(prompts)]
        progress.start("answers", n * len(prompts))
        with torch.inference_mode(), _evaluating(self._module):
            self._write([answer for row in answers for answer in row], sampling, progress)
        progress.finish()
        return [[answer.sampled() for answer in row] for row in answers]

    def _write(self, answers: Sequence[_Answer], sampling: Sampling, progress: Progress) -> None:
        waiting = sorted(answers, key=lambda answer: (answer.prompt, answer.place))
        active: list[_Answer] = []
        longest = max((len(answer.prompt) for answer in waiting), default=0) + sampling.max_new_tokens
        slots = fitting(min(self.slots, len(waiting)), longest)
        rows = decoder(self._module, slots)
        while waiting or active:
            if waiting and len(active) <= slots - max(1, slots // 4):
                prompts = [answer.prompt for answer in waiting[: slots - len(active)]]
                count = wave_size(prompts)
                wave, waiting = waiting[:count], waiting[count:]
                hidden_AC = rows.admit(prompts[:count], sampling.max_new_tokens)
                self._extend(wave, hidden_AC, sampling)
                active += wave
            else:
                self._extend(active, rows.step([answer.ids[-1] for answer in active]), sampling)
            active = _retire(active, rows, progress)
        self.forwarded += rows.tokens

    def _extend(self, answers: Sequence[_Answer], hidden_AC: Tensor, sampling: Sampling) -> None:
        """Each answer grows by one token."""
        uniform_A = torch.tensor([a.uniforms[len(a.ids)] for a in answers], dtype=torch.float64)
        ids_A, logprobs_A = draw(
            self._lm(hidden_AC),
            uniform_A.to(hidden_AC.device),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
        )
        if not bool(logprobs_A.isfinite().all()):
            raise ModelError(Problem("model", "its logits are not finite, so no token can be drawn"))
        for answer, token, logprob in zip(answers, ids_A.tolist(), logprobs_A.tolist(), strict=True):
            answer.ids.append(token)
            answer.logprobs.append(logprob)
            if token == self.end_id:
                answer.stop = Stop.EOS
            elif len(answer.ids) == sampling.max_new_tokens:
                answer.stop = Stop.LENGTH

    def _answer(self, prompt: Sequence[int], place: tuple[int, int], sampling: Sampling) -> _Answer:
        numbers = uniforms(sampling.seed, prompt, place[1], sampling.max_new_tokens)
        return _Answer(prompt=tuple(prompt), place=place, uniforms=numbers)

    def _check_lengths(self, prompts: Sequence[Sequence[int]], budget: int) -> None:
        config = getattr(self._module.backbone, "config", None)
        context: int | None = self._module.longest or getattr(config, "max_position_embeddings", None)
        problems = [
            Problem(f"prompt {number}", f"{len(prompt)} tokens and {budget} new ones; the model's context is {context}")
            for number, prompt in enumerate(prompts)
            if context is not None and len(prompt) + budget > context
        ]
        problems += [Problem(f"prompt {i}", "it has no token") for i, prompt in enumerate(prompts) if not prompt]
        if problems:
            raise DataError(*problems)


def _check(sampling: Sampling) -> None:
    wrong = {
        "temperature": (sampling.temperature, "0 (greedy) or more", 0 <= sampling.temperature < float("inf")),
        "top_p": (sampling.top_p, "above 0 and at most 1", 0 < sampling.top_p <= 1),
        "max_new_tokens": (sampling.max_new_tokens, "at least 1", sampling.max_new_tokens >= 1),
    }
    problems = [
        Problem(name, f"{value}, wanted {wanted}") for name, (value, wanted, right) in wrong.items() if not right
    ]
    if problems:
        raise ConfigError(*problems)


def _retire(active: list[_Answer], rows: Decoder, progress: Progress) -> list[_Answer]:
    """Ended answers leave their slots; the rest, in their slots' new order."""
    ended = [answer.stop is not None for answer in active]
    if not any(ended):
        return active
    order = remaining(ended)
    rows.keep(order)
    progress.advance(sum(ended))
    return [active[row] for row in order]


@contextmanager
def _evaluating(module: nn.Module) -> Generator[None]:
    """Dropout off inside; after it each part is in the mode in which it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
