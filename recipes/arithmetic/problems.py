"""Writes the three files beside it: small sums in words, whose right answers are known because they were computed.

python recipes/arithmetic/problems.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
COUNTS = {"conversations": 160, "prompts": 400, "cases": 200}
NAMES = ("Ada", "Ben", "Cleo", "Dev", "Ema", "Finn", "Gita", "Hugo", "Iris", "Jon")
THINGS = ("apples", "books", "coins", "pens", "shells", "stamps", "stones", "tickets")

Problem = tuple[str, str, int]
"""Question, working, answer."""


def added(name: str, thing: str, draw: Random) -> Problem:
    a, b = draw.randint(3, 30), draw.randint(3, 30)
    return f"{name} has {a} {thing} and finds {b} more. How many now?", f"{a} + {b} = {a + b}", a + b


def taken(name: str, thing: str, draw: Random) -> Problem:
    a, b = draw.randint(15, 40), draw.randint(3, 14)
    return f"{name} had {a} {thing} and lost {b}. How many are left?", f"{a} - {b} = {a - b}", a - b


def times(name: str, thing: str, draw: Random) -> Problem:
    a, b = draw.randint(2, 9), draw.randint(2, 9)
    return f"{name} fills {a} boxes with {b} {thing} each. How many in all?", f"{a} * {b} = {a * b}", a * b


def both(name: str, thing: str, draw: Random) -> Problem:
    a, b, c = draw.randint(3, 20), draw.randint(3, 20), draw.randint(2, 6)
    question = f"{name} has {a} {thing}, gets {b} more and gives {c} away. How many are left?"
    return question, f"{a} + {b} = {a + b}, {a + b} - {c} = {a + b - c}", a + b - c


def bought(name: str, thing: str, draw: Random) -> Problem:
    a, b, c = draw.randint(2, 6), draw.randint(2, 6), draw.randint(2, 9)
    question = f"{name} buys {a} bags of {b} {thing} and has {c} at home. How many in all?"
    return question, f"{a} * {b} = {a * b}, {a * b} + {c} = {a * b + c}", a * b + c


KINDS: tuple[Callable[[str, str, Random], Problem], ...] = (added, taken, times, both, bought)


def problems(draw: Random) -> list[Problem]:
    """As many as are wanted, no question twice, the kinds in turn."""
    found: dict[str, Problem] = {}
    while len(found) < sum(COUNTS.values()):
        made = KINDS[len(found) % len(KINDS)](draw.choice(NAMES), draw.choice(THINGS), draw)
        found[made[0]] = made
    return list(found.values())


def rows(kind: str, found: list[Problem]) -> list[dict[str, object]]:
    if kind == "conversations":
        return [{"prompt": asked, "completion": f"{work}. The answer is {right}."} for asked, work, right in found]
    return [{"id": f"{kind}-{n:03d}", "prompt": asked, "answer": right} for n, (asked, _, right) in enumerate(found)]


def write(folder: Path) -> None:
    left = problems(Random(7))
    for kind, count in COUNTS.items():
        found, left = left[:count], left[count:]
        lines = [json.dumps(row) + "\n" for row in rows(kind, found)]
        (folder / f"{kind}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write(HERE)
