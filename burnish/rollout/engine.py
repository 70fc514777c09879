"""The generation engine: prompts in, sampled token ids and their log-probabilities out. Knows ids, slots and sampling;
knows no text (rollout/chat.py does) and no method.

Sequences live in slots. An ended one leaves at once and the queue refills in waves, so that the cost is the sum of the
lengths, not the longest times the count. The queue is sorted by length, roughly, and by prompt: prompts that are
attended to together are of like length, what they have in common is computed once a wave, and the order in which they
are given changes nothing.

The random numbers of an answer depend on seed, prompt and sample number alone. The logits come from matrix products
whose last bits depend on how many sequences stand in them: in fp32 an answer practically never depends on its company,
in bf16 a near tie may fall either way.

Suffixes: A sequences, C hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from burnish.errors import ConfigError, DataError, ModelError, Problem
from burnish.models.forward import Trainable
from burnish.rollout.cache import STEP, room
from burnish.rollout.decoder import Decoder, decoder, positions, remaining
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
    version: int
    """Which weights said it: the engine's at the time."""


@dataclass(slots=True, kw_only=True)
class _Answer:
    """An answer being written."""

    prompt: tuple[int, ...]
    place: tuple[int, int]
    """Number of the prompt, number of the sample."""
    uniforms: np.ndarray
    seen_V: Tensor | None
    """Which tokens prompt and answer have, where repeating them is penalised."""
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    stop: Stop | None = None

    def extend(self, token: int, logprob: float) -> None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        if self.seen_V is not None:
            self.seen_V[token] = True

    def sampled(self, version: int) -> Sampled:
        assert self.stop is not None
        return Sampled(ids=tuple(self.ids), logprobs=tuple(self.logprobs), stop=self.stop, version=version)


class Engine:
    """Samples from a trainable's LM head. It holds no copy of the weights: an update in place is used at once."""

    def __init__(self, module: Trainable, *, end_ids: Collection[int], slots: int = 512) -> None:
        """Args: end_ids, any of which ends an answer; slots, how many are written at once at most.

        Raises: ModelError for a module that predicts no tokens.
        """
        if module.lm is None:
            raise ModelError(Problem("model", "it has no LM head, so it cannot answer"))
        self.version = 0
        """Which weights these are, as whoever moves them says: it stands beside every answer."""
        self.end_ids = frozenset(end_ids)
        self.slots = slots
        self.forwarded = 0
        """Tokens that went through the backbone so far, prompts and answers."""
        self._module = module
        self._lm = module.lm

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        n: int = 1,
        progress: Progress = Silent(),
        stopped: Callable[[Sequence[int]], bool] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[list[Sampled]]:
        """n answers to each prompt, in the prompts' order. `stopped` says of an answer's ids, after each one, whether
        they hold a stop string; needed where there are any. `seeds`: one a prompt, in place of the sampling's.

        Raises: ConfigError for a sampling that cannot be meant, DataError for prompts that are empty or do not fit the
        model's context, ModelError when the logits are not finite.
        """
        check(sampling)
        assert stopped is not None or not sampling.stop, "ids cannot say what text they hold"
        require_room(numbered(prompts), sampling.max_new_tokens, self._module.context)
        answers = [
            [self._answer(prompt, (i, k), sampling, seed) for k in range(n)]
            for i, (prompt, seed) in enumerate(zip(prompts, seeds or [sampling.seed] * len(prompts), strict=True))
        ]
        progress.start("answers", n * len(prompts))
        with torch.inference_mode(), _evaluating(self._module):
            self._write(answers, sampling, progress, stopped or _never)
        progress.finish()
        return [[answer.sampled(self.version) for answer in row] for row in answers]

    def _write(
        self,
        answers: Sequence[Sequence[_Answer]],
        sampling: Sampling,
        progress: Progress,
        stopped: Callable[[Sequence[int]], bool],
    ) -> None:
        waiting = sorted((answer for row in answers for answer in row), key=_queued)
        active: list[_Answer] = []
        asked = [answer.prompt for answer in waiting]
        slots = room(asked, self.slots, sampling.max_new_tokens, positions(self._module))
        rows = decoder(self._module)
        while waiting or active:
            free = slots - len(active)
            if waiting and free >= min(len(waiting), max(1, slots // 4)):
                prompts = [answer.prompt for answer in waiting[:free]]
                count = wave_size(prompts)
                wave, waiting = waiting[:count], waiting[count:]
                hidden_AC = rows.admit(prompts[:count])
                self._extend(wave, hidden_AC, sampling)
                active += wave
            else:
                wave = active
                self._extend(wave, rows.step([answer.ids[-1] for answer in active]), sampling)
            self._end(wave, sampling.max_new_tokens, stopped)
            active = _retire(active, rows, progress)
        self.forwarded += rows.tokens

    def _extend(self, answers: Sequence[_Answer], hidden_AC: Tensor, sampling: Sampling) -> None:
        """Each answer grows by one token."""
        uniform_A = torch.tensor([a.uniforms[len(a.ids)] for a in answers], dtype=torch.float64)
        seen = [a.seen_V for a in answers if a.seen_V is not None]
        seen_AV = torch.stack(seen) if seen else None
        ids_A, logprobs_A = draw(self._lm(hidden_AC), uniform_A.to(hidden_AC.device), sampling, seen_AV)
        if not bool(logprobs_A.isfinite().all()):
            raise ModelError(Problem("model", "its logits are not finite, so no token can be drawn"))
        for answer, token, logprob in zip(answers, ids_A.tolist(), logprobs_A.tolist(), strict=True):
            answer.extend(token, logprob)

    def _end(self, answers: Sequence[_Answer], budget: int, stopped: Callable[[Sequence[int]], bool]) -> None:
        """Say of each that is at its end how it ended: by an end token before all, by the budget after all."""
        for answer in answers:
            if answer.ids[-1] in self.end_ids:
                answer.stop = Stop.EOS
            elif stopped(answer.ids):
                answer.stop = Stop.STRING
            elif len(answer.ids) == budget:
                answer.stop = Stop.LENGTH

    def _answer(self, prompt: Sequence[int], place: tuple[int, int], sampling: Sampling, seed: int) -> _Answer:
        numbers = uniforms(seed, prompt, place[1], sampling.max_new_tokens)
        seen_V = self._seen(prompt) if sampling.repetition_penalty != 1 else None
        return _Answer(prompt=tuple(prompt), place=place, uniforms=numbers, seen_V=seen_V)

    def _seen(self, prompt: Sequence[int]) -> Tensor:
        seen_V = torch.zeros(self._lm.out_features, dtype=torch.bool, device=self._lm.weight.device)
        seen_V[list(prompt)] = True
        return seen_V


def require_room(prompts: Mapping[str, Sequence[int]], budget: int, context: int | None) -> None:
    """Raises DataError naming every prompt that has no token, or leaves no room in a model's context (None: there is no
    end to it) for so many new ones."""
    found = "{} tokens and {} new ones; the model's context is {}"
    mend = "Set max_new_tokens lower, or leave the prompt out."
    problems = [
        Problem(name, found.format(len(prompt), budget, context), mend)
        for name, prompt in prompts.items()
        if context is not None and len(prompt) + budget > context
    ]
    problems += [Problem(name, "it has no token") for name, prompt in prompts.items() if not prompt]
    if problems:
        raise DataError(*problems)


def numbered(prompts: Sequence[Sequence[int]]) -> dict[str, Sequence[int]]:
    """Prompts that have no names, by their numbers."""
    return {f"prompt {number}": prompt for number, prompt in enumerate(prompts)}


def check(sampling: Sampling) -> None:
    """Raises ConfigError for a sampling that cannot be meant."""
    wrong = {
        "temperature": (sampling.temperature, "0 (greedy) or more", 0 <= sampling.temperature < float("inf")),
        "top_k": (sampling.top_k, "at least 1, or none", sampling.top_k is None or sampling.top_k >= 1),
        "top_p": (sampling.top_p, "above 0 and at most 1", 0 < sampling.top_p <= 1),
        "min_p": (sampling.min_p, "from 0 to 1", 0 <= sampling.min_p <= 1),
        "repetition_penalty": (
            sampling.repetition_penalty,
            "above 0",
            0 < sampling.repetition_penalty < float("inf"),
        ),
        "stop": (list(sampling.stop), "texts that are not empty", all(sampling.stop)),
        "max_new_tokens": (sampling.max_new_tokens, "at least 1", sampling.max_new_tokens >= 1),
    }
    problems = [
        Problem(name, f"{value}, wanted {wanted}") for name, (value, wanted, right) in wrong.items() if not right
    ]
    if problems:
        raise ConfigError(*problems)


def _queued(answer: _Answer) -> tuple[int, tuple[int, ...], tuple[int, int]]:
    return -(-len(answer.prompt) // STEP), answer.prompt, answer.place


def _never(ids: Sequence[int]) -> bool:
    return False


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
