"""The work that `burnish bench train` times: a table. Knows objectives, heads and rates; knows no data and no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from burnish.models.lora import LoraConfig
from burnish.train.direct import DirectPreference
from burnish.train.objectives import Objective, RewardModel, Sft

LORA = LoraConfig(rank=16, alpha=32)
BETA = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One row of the table."""

    says: str
    answers: int
    """Answers of a row; 0: the rows are conversations."""
    objective: Callable[[], Objective]
    lr: float
    passes: int
    """What training costs, in forward passes: 3 for all weights, 2 where the backbone's gradients are not needed, one
    more where a reference reads every row once for its one pass of training."""
    score: bool = False
    """Whether a score head is trained; else the LM head predicts."""
    lora: LoraConfig | None = None
    referenced: bool = False
    per_step: float = 1.0
    """Rows of a step, as a share of those that were asked for: rows with more answers are longer."""

    def rows(self, asked: int) -> int:
        """Rows of a step."""
        return max(1, round(asked * self.per_step))


def _dpo() -> Objective:
    return DirectPreference("dpo", beta=BETA)


WORKS: Mapping[str, Work] = {
    "sft": Work(says="SFT, full", answers=0, objective=Sft, lr=1e-4, passes=3),
    "sft-lora": Work(says="SFT, LoRA r16", answers=0, objective=Sft, lr=1e-3, passes=2, lora=LORA),
    "dpo": Work(
        says="DPO, full, its reference pass counted", answers=2, objective=_dpo, lr=5e-6, passes=4, referenced=True
    ),
    "reward": Work(says="reward model, pairs", answers=2, objective=RewardModel, lr=1e-4, passes=3, score=True),
    "reward-k4": Work(
        says="reward model, rankings of 4",
        answers=4,
        objective=RewardModel,
        lr=1e-4,
        passes=3,
        score=True,
        per_step=0.5,
    ),
}
