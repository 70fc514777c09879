"""Two answers compared, always in both orders: by a model that is asked or by the gold rule. Knows no model.

A preference that flips with the order is position bias, no preference: it counts as a tie, called inconsistent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from burnish.types import Generator, Message, Prompt, Sampling

INSTRUCTION = (
    "You compare two answers to the same user. What makes an answer good: {criteria} Length is no merit, nor is the "
    "order in which the answers are shown. Reply with exactly one word: A, B or tie."
)
CRITERIA = "the question is answered, the facts are right for the customer's region, and the tone is warm and brief."
"""Of an assistant that answers customers."""


class Reply(Enum):
    """One reply of the judge, for the two answers in the order they were shown."""

    FIRST = 1
    TIE = 0
    SECOND = -1
    UNREADABLE = None
    """The reply was none of "A", "B", "tie". It counts as a tie and is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """a against b, both orders together."""

    outcome: float
    """Mean over both orders and all replies: +1 a is better, -1 b is; of one reply an order, +0.5 or -0.5 where one
    order said tie."""
    consistent: bool
    """Whether both orders lean to the same side, or neither does to any."""
    readable: bool = True
    """Whether all replies could be read."""

    @property
    def chance(self) -> float:
        """That a is better: its share of the replies, ties half."""
        return (1 + self.outcome) / 2


def compare_totals(a: float, b: float) -> Comparison:
    """By a score that sees one answer at a time; differences below 1e-9 are rounding."""
    forward = Reply(_sign(a - b))
    return _combine([forward], [Reply(_sign(b - a))])


def compare_by_model(
    judge: Generator,
    pairs: Sequence[tuple[Prompt, str, str]],
    sampling: Sampling | None = None,
    *,
    criteria: str = CRITERIA,
    n: int = 1,
) -> list[Comparison]:
    """Each (prompt, a, b) put to the judge twice, a first and b first, for `n` replies each. Greedy unless told
    otherwise."""
    sampling = sampling or Sampling(temperature=0.0, max_new_tokens=4)
    questions = [question(prompt, *order, criteria) for prompt, a, b in pairs for order in ((a, b), (b, a))]
    replies = [[parse(answer.spoken) for answer in answers] for answers in judge.generate(questions, sampling, n=n)]
    return [_combine(forward, backward) for forward, backward in zip(replies[::2], replies[1::2], strict=True)]


def question(prompt: Prompt, first: str, second: str, criteria: str = CRITERIA) -> list[Message]:
    """The judge's messages. Answers are quoted as text: what they say cannot end the quotation's frame."""
    shown = f"Answer A:\n{quoted(first)}\n\nAnswer B:\n{quoted(second)}\n\nBetter answer:"
    return [
        Message(role="system", content=INSTRUCTION.format(criteria=criteria)),
        Message(role="user", content=f"Conversation:\n{told(prompt)}\n\n{shown}"),
    ]


def told(prompt: Prompt) -> str:
    """A conversation for a judge to read."""
    return "\n".join(f"{turn.role}: {quoted(turn.content)}" for turn in prompt.messages)


def parse(reply: str) -> Reply:
    """Strict: one word, "A", "B" or "tie", perhaps with a full stop or quotes around it."""
    word = re.fullmatch(r"[\s\"'*(]*(A|B|[Tt]ie|TIE)[\s\"'*.)]*", reply)
    return {"a": Reply.FIRST, "b": Reply.SECOND, "tie": Reply.TIE}[word[1].lower()] if word else Reply.UNREADABLE


def _combine(forward: Sequence[Reply], backward: Sequence[Reply]) -> Comparison:
    """`backward` was asked with b first, so its sign turns."""
    ours, theirs = _lean(forward), -_lean(backward)
    readable = Reply.UNREADABLE not in (*forward, *backward)
    alike = readable and _sign(ours) == _sign(theirs)
    return Comparison(outcome=(ours + theirs) / 2, consistent=alike, readable=readable)


def _lean(replies: Sequence[Reply]) -> float:
    """Mean of the replies' values, towards the answer that was shown first."""
    return sum(reply.value or 0 for reply in replies) / len(replies)


def quoted(text: str) -> str:
    """Text that no line of its own can be taken for the frame around it."""
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _sign(difference: float) -> int:
    return 0 if abs(difference) < 1e-9 else (1 if difference > 0 else -1)
