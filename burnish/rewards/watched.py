"""A reward with a second opinion that pays nothing. Knows rewards, and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from burnish.types import Completion, Prompt, Rated, Reward


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedReward:
    """Pays what `paid` says, and keeps beside its parts what `watcher` says of the same answers."""

    paid: Reward
    watcher: Reward
    name: str = "held_out"
    """Of the watcher's part."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        rated, seen = self.paid.score(prompts, completions), self.watcher.score(prompts, completions)
        return replace(rated, parts={**rated.parts, self.name: seen.scores})
