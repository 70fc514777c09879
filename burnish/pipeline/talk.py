"""Asking a generator from the command line: a conversation, or a file of prompts. Keeps no record; loads no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from burnish.config import Document, validate
from burnish.endpoints.chat import ChatEndpoint
from burnish.endpoints.server import Address
from burnish.pipeline.answers import answered
from burnish.pipeline.key import content
from burnish.pipeline.settings import SamplingSettings
from burnish.records.parts import Parts
from burnish.types import Completion, Generator, Message, Progress, Prompt, Sampling

AT_ONCE = 512
"""Answers that are sampled together, and lost together by a kill."""


@dataclass(slots=True, kw_only=True)
class Talk:
    """A conversation that goes on."""

    generator: Generator
    sampling: Sampling
    turns: list[Message] = field(default_factory=list[Message])

    @classmethod
    def open(cls, model: str, system: str, sampling: Sampling, progress: Progress) -> Talk:
        """Errors as `opened` has them."""
        turns = [Message(role="system", content=system)] if system else []
        return cls(generator=opened(model, progress), sampling=sampling, turns=turns)

    def say(self, text: str) -> str:
        """The answer to one more turn of the user's."""
        self.turns.append(Message(role="user", content=text))
        answer = self.generator.generate([self.turns], self.sampling)[0][0]
        self.turns.append(Message(role="assistant", content=answer.spoken))  # models do not read what they thought
        return answer.text


def opened(model: str, progress: Progress) -> Generator:
    """What answers: a server, which needs no torch, or a model in this process.

    Raises ConfigError or MachineError where there is no such server, ModelError where there is no such model, DataError
    or VerdictError where a release is not whole.
    """
    if Address.meant(model):
        return ChatEndpoint.open(model, progress)
    found: Generator = import_module("burnish.pipeline.speaker").opened(model, progress)
    return found


def drawn(temperature: float, max_new_tokens: int, overrides: Sequence[str], seed: int = 0) -> Sampling:
    """How answers are drawn, with a recipe's other settings as overrides. Raises ConfigError."""
    given = {"temperature": temperature, "max_new_tokens": max_new_tokens}
    return validate(SamplingSettings, Document(path=Path("sampling"), value=given, places={}), overrides).at(seed)


def sample(
    model: str, prompts: Sequence[Prompt], sampling: Sampling, n: int, progress: Progress, out: Path | None = None
) -> list[dict[str, Any]]:
    """n answers to each prompt, one row a prompt: id, messages, and each answer's text and stop; also into the file
    `out`, where one is named. What was killed goes on where it was."""
    parts = Parts(out, ["sample", content(model, Path.cwd()), as_asked(prompts), asdict(sampling), n])
    generator = opened(model, progress)

    def told(part: Sequence[Prompt], said: Sequence[Sequence[Completion]]) -> Iterator[dict[str, Any]]:
        for prompt, row in zip(part, said, strict=True):
            yield {
                "id": prompt.id,
                "messages": [message.as_json() for message in prompt.messages],
                "completions": [{"text": answer.text, "stop": answer.stop.value} for answer in row],
            }

    at_once = max(1, AT_ONCE // n)
    rows = answered(
        generator, prompts, sampling, n, told, parts=parts, at_once=at_once, label="prompts", progress=progress
    )
    parts.finish(rows)
    return rows


def as_asked(prompts: Sequence[Prompt]) -> list[Any]:
    """All that answers follow from, as JSON."""
    return [[prompt.id, [message.as_json() for message in prompt.messages]] for prompt in prompts]
