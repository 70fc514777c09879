"""What is learned by methods that choose among the policy's own answers and do not weigh them: the best alone, or the
order of all. Knows scores; knows no model, no sampler and no objective.

Both stand where advantages stand. Their objectives are those of given data, sft's and dpo's: only the data are the
policy's own, and fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from burnish.batches import Batch
from burnish.train.collection import Group
from burnish.types import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Learn the best answers as if they had been given: rejection sampling, RAFT (Dong et al. 2023, algorithm 1).

    Trained to convergence on a round's answers, the policy is the old one conditioned on being chosen: with one of n
    that of best-of-n, with a threshold the old one cut off below it (up to answers said twice).
    """

    per_prompt: int | None = 1
    """So many of a prompt's answers, the best first; the first said where scores are equal. None: all."""
    threshold: float | None = None
    """Only answers with this score or more."""
    kl = None
    critic = False
    compares = False

    def of(self, batches: Sequence[Batch]) -> list[Batch]:
        return list(batches)

    def vanish(self, scores: Sequence[float]) -> bool:
        return self.threshold is not None and max(scores) < self.threshold

    def chosen(self, group: Group) -> Group:
        """The group with the answers that are learned, the same text once."""
        order = sorted(range(len(group.answers)), key=lambda place: -group.scores[place])
        good = [place for place in order if self.threshold is None or group.scores[place] >= self.threshold]
        first = {group.answers[place].ids: place for place in reversed(good)}
        return _part(group, sorted([p for p in good if first[group.answers[p].ids] == p][: self.per_prompt]))


@dataclass(frozen=True, slots=True)
class Order:
    """Learn which answers are better than which: direct preference on fresh answers (Guo et al. 2024, OAIF).

    Writes ranks_B: 1 is best, equal scores are a tie.
    """

    kl = None
    critic = False
    compares = False

    def of(self, batches: Sequence[Batch]) -> list[Batch]:
        return [self._ranked(batch) for batch in batches]

    def vanish(self, scores: Sequence[float]) -> bool:
        return len(set(scores)) == 1

    def _ranked(self, batch: Batch) -> Batch:
        scores_B, prompt_B = batch.extra["scores_B"], batch.prompt_B
        beaten_BB = (scores_B[None, :] > scores_B[:, None]) & (prompt_B[None, :] == prompt_B[:, None])
        return batch.with_extra(ranks_B=1 + beaten_BB.sum(1))


@dataclass(frozen=True, slots=True)
class Finished:
    """Learn the answers that came to an end: those that the budget cut are as if they had not been said, compared with
    no other and in no mean. (Overlong filtering, Yu et al. 2025, §3.4; it leaves them in the others' baseline.)
    """

    least: int = 1
    """Learn none where fewer are left: 2 where an answer is compared with its prompt's others."""

    def chosen(self, group: Group) -> Group:
        places = [place for place, answer in enumerate(group.answers) if answer.stop is not Stop.LENGTH]
        return _part(group, places if len(places) >= self.least else [])


def _part(group: Group, places: Sequence[int]) -> Group:
    """The group with these of its answers alone."""
    return replace(
        group,
        answers=[group.answers[place] for place in places],
        scores=[group.scores[place] for place in places],
        rewards=[group.rewards[place] for place in places],
        parts={name: [values[place] for place in places] for name, values in group.parts.items()},
    )
