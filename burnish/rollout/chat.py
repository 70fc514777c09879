"""Conversations in, answers out: the engine behind the `Generator` protocol. Knows the renderer; knows no tensor."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.chat.render import Renderer
from burnish.rollout.engine import Engine, Sampled
from burnish.rollout.stops import stopping
from burnish.types import Completion, Message, Progress, Sampling, Silent


class ChatGenerator:
    """A `Generator` over an engine."""

    def __init__(self, engine: Engine, renderer: Renderer, progress: Progress = Silent()) -> None:
        self.engine = engine
        self._renderer = renderer
        self._progress = progress

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        n: int = 1,
        seeds: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """n answers to each prompt, in the prompts' order. Errors as `Engine.generate` has them."""
        ids = [self._renderer.prompt(messages) for messages in prompts]
        stopped = stopping(lambda said: self._renderer.parse(said)[0], sampling.stop)
        rows = self.engine.generate(ids, sampling, n, self._progress, stopped, seeds)
        return [[self._completion(sampled, sampling) for sampled in row] for row in rows]

    def _completion(self, sampled: Sampled, sampling: Sampling) -> Completion:
        text, _ = self._renderer.parse(sampled.ids)
        return Completion(
            text=sampling.cut(text),
            stop=sampled.stop,
            ids=sampled.ids,
            logprobs=sampled.logprobs,
            version=sampled.version,
        )
