"""What a campaign asks beside an order, and what a judgement says of it. Knows no kind, no database and no form.

Everything here is by answer and in the answers' order: the shown one where a person says it, the answers' own one where
it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")
STRENGTHS: Mapping[int, str] = {1: "slightly", 2: "clearly", 3: "much"}
"""How far the better of two answers is ahead."""
LIKERT = range(1, 8)
"""Grades of one axis; 7 is best."""
FLAGS: Mapping[str, str] = {
    "harmful:violence": "Harmful: violence",
    "harmful:hate": "Harmful: hate",
    "harmful:sexual": "Harmful: sexual",
    "harmful:self_harm": "Harmful: self-harm",
    "harmful:crime": "Harmful: help with a crime",
    "harmful:advice": "Harmful: dangerous advice",
    "harmful:other": "Harmful in another way",
    "personal_data": "Has somebody's personal data",
    "wrong_language": "Is in the wrong language",
    "gives_itself_away": "Says which model wrote it",
    "refused_wrongly": "Refuses what it should answer",
}
"""What can be wrong with an answer whatever its place: what is stored, and what the page says. An answer is harmful in
one way at most."""
LONGEST_RATIONALE = 2_000
LONGEST_EDIT = 20_000
"""Characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What a campaign asks beside the order of answers."""

    strength: bool = False
    """Of pairs: how far the better answer is ahead."""
    axes: tuple[str, ...] = ()
    """Of scales: what is graded."""
    rationale: bool = False
    """Whether a reason must be given. It always may."""
    edits: bool = False
    """Whether answers may be written better."""

    def as_json(self) -> dict[str, Any]:
        """What is asked; {} for nothing."""
        return {name: list(said) if name == "axes" else said for name, said in asdict(self).items() if said}

    @staticmethod
    def of(found: Mapping[str, Any]) -> Asks:
        given: dict[str, Any] = {**found, "axes": tuple(found.get("axes", ()))}
        return Asks(**given)


ORDER_ONLY = Asks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What one person said of an item beside the order. A list is empty, or has an entry for each answer."""

    strength: int | None = None
    """One of STRENGTHS; None for a tie, or where nobody asked."""
    both_bad: bool = False
    """Of a tie: neither answer is any good."""
    good: bool | None = None
    """Of a single answer."""
    ratings: tuple[Mapping[str, int], ...] = ()
    """By axis, each of LIKERT."""
    flags: tuple[tuple[str, ...], ...] = ()
    """Of FLAGS, sorted."""
    rationale: str = ""
    edits: tuple[str | None, ...] = ()
    """The better text; None for an answer that was left as it is."""

    @property
    def said(self) -> set[str]:
        """The names of what is said here."""
        return set(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """What is said; {} for nothing. Plain lists, as a database gives them back."""
        found: dict[str, Any] = {
            "strength": self.strength,
            "both_bad": self.both_bad or None,
            "good": self.good,
            "ratings": [dict(each) for each in self.ratings] or None,
            "flags": [list(each) for each in self.flags] if any(self.flags) else None,
            "rationale": self.rationale or None,
            "edits": list(self.edits) if any(each is not None for each in self.edits) else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    @staticmethod
    def of(found: Mapping[str, Any]) -> Details:
        given: dict[str, Any] = {
            **found,
            **{name: tuple(found[name]) for name in ("ratings", "edits") if name in found},
            "flags": tuple(tuple(flags) for flags in found.get("flags", ())),
        }
        return Details(**given)

    def own_order(self, order: Sequence[int]) -> Details:
        """From the shown order to the answers' own; `order[i]` is the own position of the answer shown in place i."""
        return self._moved([list(order).index(position) for position in range(len(order))])

    def shown_order(self, order: Sequence[int]) -> Details:
        """From the answers' own order to the shown one."""
        return self._moved(order)

    def _moved(self, places: Sequence[int]) -> Details:
        def moved(said: Sequence[T]) -> tuple[T, ...]:
            return tuple(said[place] for place in places) if said else ()

        return replace(self, ratings=moved(self.ratings), flags=moved(self.flags), edits=moved(self.edits))


NOTHING_MORE = Details()
