"""A few short rows of each kind, for a model whose user gives none. Knows text; knows no model."""

from __future__ import annotations

from burnish.types import Example, Message, Prompt, Ranking


def _said(*texts: str) -> tuple[Message, ...]:
    """Turns that begin with the user's."""
    return tuple(Message(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(texts))


EXAMPLES = [
    Example(id="post", messages=_said("Do you ship to Norway?", "Yes, within five days.")),
    Example(
        id="hours",
        messages=_said("When do you close on Sundays?", "At four.", "And on holidays?", "We stay closed."),
    ),
    Example(id="greeting", messages=_said("Guten Morgen!", "Guten Morgen! Was kann ich für Sie tun?")),
    Example(id="sum", messages=_said("12 times 12?", "144")),
]
RANKINGS = [
    Ranking(
        prompt=Prompt(id="return", messages=_said("May I send a plant back?")),
        completions=("Yes, within 30 days.", "No.", "Plants are green."),
        ranks=(1, 2, 3),
    ),
    Ranking(
        prompt=Prompt(id="cat", messages=_said("Is a fern poisonous for cats?")),
        completions=("Perhaps.", "No, ferns do cats no harm."),
        ranks=(2, 1),
    ),
    Ranking(
        prompt=Prompt(id="water", messages=_said("Tap or rain?", "Rain.", "Why?")),
        completions=("It holds no lime.", "Because.", "It is soft.", "Rain is wet."),
        ranks=(1, 3, 1, 2),
    ),
]
