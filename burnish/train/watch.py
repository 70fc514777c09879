"""The watch over a policy that is paid by a model of people's judgement: when to stop, and which weights to keep, by
what is seen without asking people again. Knows readings, one an iteration; knows no reward and no method.

A policy that is paid by a reward model comes to please that model, and from some point on nobody else: its score goes
on rising while what it was to stand for falls (Gao et al. 2023). Two things are seen without the truth. A reward model
that learned from other judgements makes other mistakes, so that its score stops rising where only the paid model's
mistakes are being exploited. And every answer costs drift from the start: the KL says how much. What all judgements
have in common neither model shows; answers that grow long or short without end often do.

A reading is taken of answers when they have been sampled, before anything is learned of them: of the weights as they
are then. Those are the weights that are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from torch import Tensor

from burnish.models.forward import Trainable
from burnish.rewards.combination import HELD_OUT, SURE
from burnish.train.averages import Averages, copied
from burnish.train.feeds import Feed, Work
from burnish.train.objectives import Objective
from burnish.train.parallel import Ranks


class Ending(Enum):
    """Why a watched run ends early."""

    BUDGET = "kl_budget"
    """The answers' KL from the start is above what may be spent."""
    SCORE = "score"
    """The held-out score has not risen for as many iterations as patience has."""
    LENGTH = "length"
    """The answers' mean length has left its bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to stop."""

    kl_budget: float
    """Nats an answer."""
    window: int
    """Readings that are averaged before they are compared: one alone is mostly luck of its prompts."""
    patience: int
    """So many averages in a row without a new best end the run."""
    length: tuple[float, float] | None = None
    """Between what shares of the answers' first mean length the run goes on, averaged as scores are; None: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One iteration's answers."""

    kl: float
    """From the start, nats an answer."""
    score: float | None = None
    """Mean score by what does not pay, or what an ensemble is sure of; None where there is neither, and the budget
    alone decides."""
    length: float | None = None
    """Mean tokens of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a rule makes of readings."""

    kept: int
    """Iteration whose weights, as they were when it began, are kept; 0 is the start."""
    ending: Ending | None = None
    """Why the run ends after the last reading; None: it goes on."""


def decide(readings: Sequence[Reading], rule: Rule) -> Decision:
    """The weights to keep after these readings, and whether to go on. Pure, so that a rule can be tried on a run that
    is over: no reading depends on the rule before it ends the run.

    Averages begin with the first full window; before it the newest weights are as good as any. A reading above the
    budget, or with which the length leaves its bounds, ends the run and is never kept.
    """
    kept, best, missed = 0, None, 0
    for place, reading in enumerate(readings):
        if reading.kl > rule.kl_budget:
            return Decision(kept=kept, ending=Ending.BUDGET)
        if rule.length and not rule.length[0] <= lengthened(readings[: place + 1], rule.window) <= rule.length[1]:
            return Decision(kept=kept, ending=Ending.LENGTH)
        score = smoothed(readings[: place + 1], rule.window)
        if score is None or best is None or score > best:
            kept, best, missed = place, score if score is not None else best, 0
        else:
            missed += 1
        if missed >= rule.patience:
            return Decision(kept=kept, ending=Ending.SCORE)
    return Decision(kept=kept)


def smoothed(readings: Sequence[Reading], window: int) -> float | None:
    """Mean held-out score of the last `window` readings; None where there are fewer, or one has none."""
    scores = [each.score for each in readings[-window:] if each.score is not None]
    return sum(scores) / window if len(scores) == window else None


def lengthened(readings: Sequence[Reading], window: int) -> float:
    """Mean length of the last `window` readings over that of the first; 1 where there are fewer."""
    lengths = [each.length for each in readings if each.length is not None]
    return sum(lengths[-window:]) / max(sum(lengths[:window]), 1e-9) if len(lengths) >= window else 1.0


def readings_of(rows: Iterable[Mapping[str, float]]) -> list[Reading]:
    """Those of iterations whose metrics are given, in order."""
    found: list[Reading] = []
    for row in rows:
        found.append(_reading(row, found))
    return found


def _reading(metrics: Mapping[str, float], before: Sequence[Reading]) -> Reading:
    """Where no answer taught anything no KL was measured: it is as it was before. Without a held-out model the score is
    what the ensembles that pay are sure of."""
    kl = metrics.get("objective/full_kl", before[-1].kl if before else 0.0)
    score = metrics.get(f"reward/{HELD_OUT}", metrics.get(f"reward/{SURE}"))
    return Reading(kl=kl, score=score, length=metrics.get("val/length"))


class Watch:
    """Takes readings of a feed, ends a run by a rule, and keeps the weights that the rule chose.

    It stands where a `burnish.train.validation.Validation` stands: the loop need not know which of the two it asks.
    """

    def __init__(self, rule: Rule, averages: Averages, *, every: int, stops: bool = True) -> None:
        """`averages`: the weights that would be kept; readings are of those that train, and tell of averages roughly.
        `every`: updates of an iteration. `stops` False: only look, and leave the run to its end and last weights."""
        self._rule = rule
        self._averages = averages
        self._every = every
        self._stops = stops
        self._readings: list[Reading] = []
        self._weights: dict[str, Tensor] = {}
        self._told = 0
        """Readings that all ranks know of: they must end together, so that an iteration is finished before a run is."""

    def read(self, metrics: Mapping[str, float]) -> None:
        """Take the reading of an iteration whose answers were sampled by the weights as they are now."""
        self._readings.append(_reading(metrics, self._readings))
        if self._stops and decide(self._readings, self._rule).kept == len(self._readings) - 1:
            self._weights = copied(self._averages.kept())

    @property
    def over(self) -> bool:
        """Whether the rule has ended the run."""
        return self._stops and decide(self._readings[: self._told], self._rule).ending is not None

    def due(self, updates: int, steps: int) -> bool:
        """Whether an iteration is done."""
        return updates % self._every == 0

    def measure(self, module: Trainable, objective: Objective, averages: Averages, ranks: Ranks) -> dict[str, float]:
        """Tell the other ranks what the first has read, so that all stop together; and what comes of it."""
        told, _ = ranks.shared([asdict(each) for each in self._readings], {})
        self._readings, self._told = [Reading(**each) for each in told], len(told)
        metrics: dict[str, float] = {"watch/kept": decide(self._readings, self._rule).kept}
        score = smoothed(self._readings, self._rule.window)
        return metrics | ({} if score is None else {"watch/held_out": score})

    def kept(self, averages: Averages) -> dict[str, Tensor]:
        """The weights to keep when the run ends: the last ones, where the last reading was the best yet. (Of several
        ranks the first has what was chosen, and it alone writes weights.)"""
        risen = decide(self._readings, self._rule).kept == len(self._readings) - 1
        return averages.kept() if risen or not self._stops else self._weights or averages.kept()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"readings": [asdict(each) for each in self._readings]}, self._weights

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._readings = [Reading(**each) for each in values["readings"]]
        self._told = len(self._readings)
        self._weights = tensors


class Watched:
    """A feed of answers, each iteration of which is read as it comes."""

    def __init__(self, feed: Feed, watch: Watch) -> None:
        self._feed = feed
        self._watch = watch

    def next(self, step: int) -> Work:
        work = self._feed.next(step)
        if "objective/scores" in work.metrics:  # told once an iteration, with its first step
            self._watch.read(work.metrics)
        return work

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return self._feed.state()

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._feed.load(values, tensors)
