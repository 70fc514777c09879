"""A law: two ways that mean the same, the difference between them, and how large it may be. Knows no particular law."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from burnish.models.forward import Layout
from burnish.proof.subject import Subject


@dataclass(frozen=True, slots=True)
class Measured:
    """Differences by what they are differences of; a law with one difference calls it ""."""

    values: Mapping[str, float]
    note: str = ""

    @staticmethod
    def one(value: float, note: str = "") -> Measured:
        return Measured({"": value}, note)

    @staticmethod
    def worst(parts: list[dict[str, float]]) -> Measured:
        """The largest of each."""
        return Measured({name: max(part[name] for part in parts) for name in parts[0]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference, and whether the law holds by it."""

    name: str
    says: str
    measured: float
    tolerance: float
    because: str
    """Why the tolerance is what it is."""
    seconds: float
    """Those of the whole law, on the first of its findings; 0 on the others."""
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.measured <= self.tolerance  # not so for NaN

    def as_json(self) -> dict[str, Any]:
        """`measured` is null where it was no finite number: JSON has no such."""
        return {
            "name": self.name,
            "says": self.says,
            "measured": self.measured if math.isfinite(self.measured) else None,
            "tolerance": self.tolerance,
            "because": self.because,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What must hold on every model and all data."""

    name: str
    says: str
    """In one sentence."""
    measure: Callable[[Subject], Measured]
    tolerances: Mapping[str, float]
    """The largest difference with which it holds, for each that is measured."""
    because: str
    """Why the tolerance is what it is."""
    trees_only: bool = False
    """Whether it is about packed trees, and has nothing to say of a model that takes one sequence at a time."""

    adapters_only: bool = False
    """Whether it is about adapters, and has nothing to say of a model without linear layers."""

    def fits(self, subject: Subject) -> bool:
        """Whether it has something to say of this model."""
        tree = subject.layout is Layout.TREE
        return (tree or not self.trees_only) and (subject.adaptable or not self.adapters_only)

    def tried(self, subject: Subject) -> list[Finding]:
        """Measure it: one finding for each difference."""
        began = time.perf_counter()
        measured = self.measure(subject)
        seconds = time.perf_counter() - began
        assert measured.values.keys() == self.tolerances.keys(), self.name
        return [
            Finding(
                name=f"{self.name}, {what}" if what else self.name,
                says=self.says,
                measured=value,
                tolerance=self.tolerances[what],
                because=self.because,
                seconds=0.0 if number else seconds,
                note=measured.note,
            )
            for number, (what, value) in enumerate(measured.values.items())
        ]
