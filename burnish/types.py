"""The nouns that cross areas and the protocols between them. Standard library only: no file, model or database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
KernelName = Literal["auto", "torch", "liger", "compiled"]
"""By whose kernels models compute, as a recipe asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that the assistant calls."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)
    """In the order in which they are written."""
    id: str | None = None
    """What the tool's result names it by, where it does."""

    def as_json(self) -> dict[str, Any]:
        """In OpenAI's form, with the arguments as an object."""
        named = {} if self.id is None else {"id": self.id}
        return {**named, "type": "function", "function": {"name": self.name, "arguments": dict(self.arguments)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    """Tools that the assistant calls in this turn, behind what it says."""
    name: str | None = None
    """Of a tool whose result this is, where the row says it."""
    call_id: str | None = None
    """Of the call whose result this is, where the row says it."""

    def as_json(self) -> dict[str, Any]:
        return {"role": self.role, "content": self.content, **self.beside()}

    def beside(self) -> dict[str, Any]:
        """What is no content, as templates know it; mostly nothing."""
        calls = {"tool_calls": [call.as_json() for call in self.calls]} if self.calls else {}
        named = {"name": self.name, "tool_call_id": self.call_id}
        return {**calls, **{key: value for key, value in named.items() if value is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked: turns that end with the user's."""

    id: str
    messages: tuple[Message, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the row says (language, region, what a right answer states): scorers read it, models never do."""
    as_text: bool = False
    """Whether the row gave it as one text: a user's function is given it so, too."""

    @property
    def asked(self) -> str:
        """What the user said last; empty where they said nothing."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")

    @property
    def unit(self) -> str:
        """What is never cut in two, and is drawn and resampled as one: the conversation that it is a turn of (its
        `meta.conversation`, where that is a name), else the prompt itself."""
        conversation = self.meta.get("conversation")
        return conversation if isinstance(conversation, str) and conversation else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A conversation to learn from: turns that end with the assistant's. Every assistant turn is learned."""

    id: str
    messages: tuple[Message, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()
    """Schemas of the tools that the model is shown, as templates take them."""

    @property
    def calls_tools(self) -> bool:
        """Whether a template is to show tools, or calls of them."""
        return bool(self.tools) or any(turn.calls for turn in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Plain text: nobody asks, nobody answers."""

    id: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """A prompt, K answers and their order. A pair of answers is a ranking with K = 2."""

    prompt: Prompt
    completions: tuple[str, ...]
    ranks: tuple[int, ...]
    """1 is best; equal numbers are a tie."""
    judgements: tuple[str, ...] = ()
    """Ids of the judgements that this order was agreed from: the trail from weights back to clicks."""
    strengths: tuple[float, ...] = ()
    """How good each answer was called, on any scale; empty where nobody said, or nobody asked."""

    @property
    def best(self) -> str:
        """The completion that nothing is ranked above; the first of them where several are."""
        return self.completions[self.ranks.index(min(self.ranks))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A prompt and one answer, called good or bad by itself."""

    prompt: Prompt
    completion: str
    desirable: bool


SINGLE: Mapping[bool, tuple[int, int]] = {True: (1, 2), False: (2, 1)}
"""By whether an answer is good: its rank, and that of what would be just good enough. So single answers have ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Critique:
    """What a model says of one answer, for whoever must judge it."""

    text: str
    model: str
    """Who wrote it; "planted" or the like where a person did, in a model's place."""
    right: bool | None = None
    """Whether what it says is right; None where nobody knows."""

    def as_json(self) -> dict[str, Any]:
        told = {"text": self.text, "model": self.model}
        return told if self.right is None else {**told, "right": self.right}


class Stop(Enum):
    """How an answer ended."""

    EOS = "eos"
    """The model ended it."""
    LENGTH = "length"
    """The budget ended it: the text is cut."""
    STRING = "string"
    """It came to a stop string: the text ends before it, the ids with the token that completed it."""
    FILTER = "filter"
    """A server's filter ended it, or gave nothing at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are drawn. Temperature 0 is greedy.

    In the order of transformers: the penalty, then temperature, top_k, top_p and min_p, each of what the one before it
    left over. vLLM has min_p before top_k and top_p: the tokens that min_p refuses are the same, but top_p then counts
    without them.
    """

    temperature: float = 1.0
    top_k: int | None = None
    """Only so many of the most likely tokens are drawn, and equals of the last of them; None: all."""
    top_p: float = 1.0
    """Only the most likely tokens that together have this share are drawn."""
    min_p: float = 0.0
    """Only tokens are drawn that have this share of the most likely one's probability."""
    repetition_penalty: float = 1.0
    """Logits of tokens that prompt or answer have already are divided by it where positive, else multiplied."""
    stop: tuple[str, ...] = ()
    """An answer ends where its text contains one of these."""
    max_new_tokens: int = 64
    seed: int = 0
    """The same seed, prompt and weights give the same answer, whatever else is in the batch: a prompt that is asked
    again needs another one (`burnish/data/order.py::seeds_of`)."""

    @property
    def whole(self) -> bool:
        """Whether tokens are drawn from all that the model says, which a temperature alone changes."""
        return self.top_k is None and self.top_p == 1 and not self.min_p and self.repetition_penalty == 1

    def cut(self, text: str) -> str:
        """The text up to the first stop string in it; the whole where there is none."""
        return text[: min((text.index(each) for each in self.stop if each in text), default=len(text))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer. `ids` are what the model said; `text` is a view of them."""

    text: str
    stop: Stop
    ids: tuple[int, ...] = ()
    """Token ids, the end token included where the model gave it; empty when the text came from an endpoint."""
    logprobs: tuple[float, ...] = ()
    """Of each id, in nats, under the distribution that it was drawn from: the model's own only where a temperature
    alone changes it (`burnish/rollout/draw.py::draw`). Of an endpoint's tokens, where it gave them."""
    version: int = 0
    """Which weights said it: how many updates a trainer had made to them."""

    @property
    def spoken(self) -> str:
        """What is said once the thoughts are over, where a model writes them in front of its answer: what stands behind
        `</think>`. Nothing where the answer was cut before; the whole text where no thoughts are shown."""
        thoughts, end, rest = self.text.partition("</think>")
        if end:
            return rest.lstrip()
        return "" if thoughts.lstrip().startswith("<think>") else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with what is needed to read it."""

    value: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    n: int
    """Independent units behind it (prompts, not rows)."""
    mde: float
    """Smallest effect that this n would detect with 80% power (two-sided, 5%), in the figure's own unit."""

    def as_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "mde": self.mde}


class Verdict(Enum):
    """What a gate says."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Generator(Protocol):
    """Anything that answers: our engine, a scripted stand-in, or an endpoint."""

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        n: int = 1,
        seeds: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """n answers to each prompt, in the prompts' order. `seeds`: one a prompt, in place of the sampling's."""
        ...


class Scorer(Protocol):
    """Anything that can say how likely a given text is."""

    def loglikelihood(self, prompt: Sequence[Message], continuation: str) -> float:
        """Sum of the continuation's token log-probabilities after the prompt, in nats."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """What answers are worth, and what that is made of."""

    scores: list[float]
    """One number an answer; higher is better."""
    parts: Mapping[str, Sequence[float | None]] = field(default_factory=dict[str, Sequence[float | None]])
    """By name, what each signal says of each answer before it is weighed into the score; None: nothing of this one."""


class Reward(Protocol):
    """Anything that scores answers."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        """One score per (prompt, completion). Answers to one prompt stand side by side, under the same prompt id."""
        ...


class Progress(Protocol):
    """Where long work says how far it is. The command line draws it; tests ignore it."""

    def start(self, label: str, total: int) -> None: ...
    def advance(self, done: int = 1, note: str = "") -> None: ...
    def finish(self, note: str = "") -> None: ...


class Silent:
    """A Progress that says nothing."""

    def start(self, label: str, total: int) -> None:
        pass

    def advance(self, done: int = 1, note: str = "") -> None:
        pass

    def finish(self, note: str = "") -> None:
        pass
