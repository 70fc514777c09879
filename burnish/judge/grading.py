"""An answer graded by a model that is asked, by itself. Knows no model and no scale but its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from burnish.judge.pairwise import quoted, told
from burnish.types import Generator, Message, Prompt, Sampling

INSTRUCTION = (
    "You grade an answer to a user. What makes an answer good: {criteria} Length is no merit. Reply with one whole "
    "number from 0 to 10 and nothing else: 0 is of no use, 10 could not be better."
)
BEST = 10


def grades_by_model(
    judge: Generator, asked: Sequence[tuple[Prompt, str]], criteria: str, sampling: Sampling | None = None
) -> list[float | None]:
    """The judge's grade of each (prompt, answer), from 0 to 1; None where its reply is no grade. Greedy unless told
    otherwise."""
    sampling = sampling or Sampling(temperature=0.0, max_new_tokens=4)
    questions = [question(prompt, answer, criteria) for prompt, answer in asked]
    return [parse(answers[0].spoken) for answers in judge.generate(questions, sampling)]


def question(prompt: Prompt, answer: str, criteria: str) -> list[Message]:
    """The judge's messages. The answer is quoted as text: what it says cannot end the quotation's frame."""
    body = f"Conversation:\n{told(prompt)}\n\nAnswer:\n{quoted(answer)}\n\nGrade:"
    return [
        Message(role="system", content=INSTRUCTION.format(criteria=criteria)),
        Message(role="user", content=body),
    ]


def parse(reply: str) -> float | None:
    """Strict: a whole number from 0 to 10, perhaps with "/10" and a full stop behind it."""
    found = re.fullmatch(r"\s*(10|[0-9])(\s*/\s*10)?\.?\s*", reply)
    return int(found[1]) / BEST if found else None
