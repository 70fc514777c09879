"""The settings of grpo: reinforcement learning without a critic, one section with a `loss`, and what is usual for each
loss. Knows no stage's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from burnish.config import Strict
from burnish.pipeline import trl_names
from burnish.pipeline.reinforcement import Reinforced
from burnish.pipeline.settings import Positive

Loss = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce", "reinforce_pp"]


class Kl(Strict):
    """How the policy is held near the tuned model, r being the score and ref the tuned model.

    In the reward (k1), the optimum is ref·exp(r/coef)/Z, answer by answer. In the loss, each token's distribution is
    pulled to ref·exp(Q/coef) by k2 and to coef·ref/(c - Q) by k3, where Q is the score to be expected after it and c
    makes the sum 1: both look one token ahead. That needs one optimiser step an iteration: at further ones the answers
    are an older policy's, and the KL in the loss has no ratio that makes up for it. Where scores are divided by their
    spread (`scale_rewards: group`), coef counts in units of that spread; the KL itself is not divided.
    """

    place: Literal["reward", "loss"] = Field(default="reward", alias="in")
    """Taken from the reward, or added to the loss."""
    estimator: Literal["k1", "k2", "k3"] | None = None
    """k1: log π/ref. k2: half its square. k3: ref/π - 1 + log π/ref. Absent: k1 in the reward, k3 in the loss. In the
    reward only k1 has its whole gradient; in the loss k1 has none."""
    coef: float = Field(default=0.05, ge=0)
    """Its weight, β; 0: no KL, and no reference model."""

    @property
    def kind(self) -> Literal["k1", "k2", "k3"]:
        return self.estimator or ("k1" if self.place == "reward" else "k3")


def _kl(place: Literal["reward", "loss"], coef: float) -> Kl:
    return Kl.model_validate({"in": place, "coef": coef})


class ImportanceSampling(Strict):
    """Weights for what sampler and trainer say differently of the same token. They have the same weights here, and
    other kernels: in float32 next to nothing is left to weigh, in bfloat16 0.05 nats a token on the mean. vLLM's are
    others again."""

    level: Literal["token", "answer"] = "token"
    """A token's ratio, or that of the whole answer."""
    rule: Literal["truncate", "mask"] = "truncate"
    """Ratios above `most` count as `most`; or those outside of `least` and `most` count nothing."""
    most: float = Field(default=2.0, ge=1)
    least: float = Field(default=0.5, ge=0, le=1)
    """Of `rule: mask` alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What a loss means where a recipe says nothing else. What is learned of a token, and over what it is averaged,
    stands in `burnish.train.policy_gradient.FAMILY`."""

    against: Literal["group", "others", "iteration", "nothing"]
    """What an answer's score is compared with: the mean of all answers to its prompt, that of the others, or, of
    rewards still to come, all tokens of the iteration."""
    scaled: bool = False
    """Whether that is divided by the spread of the group's scores."""
    clip: tuple[float, float] | None = (0.2, 0.2)
    """ε and ε_high: ratios are clipped to 1 - ε and 1 + ε_high. None where no ratio is learned."""
    kl: Kl | None = None
    attempts: int = 1
    """How often an iteration samples, at most, until its groups differ within."""


USUAL: Mapping[Loss, Usual] = {
    "grpo": Usual(against="group", scaled=True, kl=_kl("loss", 0.04)),
    "dr_grpo": Usual(against="group"),
    "dapo": Usual(against="group", scaled=True, clip=(0.2, 0.28), attempts=4),
    "gspo": Usual(against="group", scaled=True, clip=(3e-4, 4e-4)),
    "cispo": Usual(against="group", scaled=True, clip=(1.0, 4.0)),
    "rloo": Usual(against="others", clip=None, kl=_kl("reward", 0.05)),
    "reinforce": Usual(against="nothing", clip=None, kl=_kl("reward", 0.05)),
    "reinforce_pp": Usual(against="iteration", kl=_kl("reward", 0.001)),
}


class Grpo(Reinforced):
    """Reinforcement learning without a critic: answers are compared with others to the same prompt. Names follow TRL's
    GRPOConfig, but for `elsewhere`."""

    elsewhere: ClassVar[Mapping[str, str]] = {**Reinforced.elsewhere, **trl_names.GRPO}
    values_elsewhere: ClassVar[Mapping[str, Mapping[str, str]]] = trl_names.GRPO_VALUES
    loss: Loss = "grpo"
    """Which of the family; docs/guide/methods.md has what each means. What is absent below is what is usual for it."""
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Answers a prompt."""
    kl: Kl | None = None
    """Absent: grpo k3 in the loss, 0.04; rloo and reinforce in the reward, 0.05, reinforce_pp 0.001; others none."""
    epsilon: Annotated[float, Field(gt=0)] | None = None
    """The ratio is clipped from below at 1 - epsilon. Absent: 0.2; gspo, whose ratio is a whole answer's, 0.0003."""
    epsilon_high: Annotated[float, Field(gt=0)] | None = None
    """And from above at 1 + epsilon_high. Absent: as epsilon; dapo 0.28, gspo 0.0004, cispo 4."""
    scale_rewards: Literal["group", "none"] | None = None
    """Divide advantages by the standard deviation of the group's scores. Absent: group, for those losses that compare
    with the group's mean; dr_grpo none."""
    dynamic_sampling: Positive | None = None
    """Sample again, so many times in all at most, until an iteration has its number of prompts whose answers are not
    all as good by the rewards, penalties left out. Absent: once; dapo 4, unless the KL is in the reward."""
    importance_sampling: ImportanceSampling | None = None
    """Absent: none; with `vllm`, truncate, a token's ratio, at 2."""

    @property
    def answers(self) -> int:
        return self.num_generations

    @property
    def attempts(self) -> int:
        return self.dynamic_sampling or (1 if self.kl_is_paid else self.usual.attempts)

    @property
    def kl_is_paid(self) -> bool:
        """Whether the KL is in the reward, so that answers with the same score differ in what they are paid."""
        return self.penalty is not None and self.penalty.place == "reward"

    @property
    def compared(self) -> bool:
        return self.usual.against in ("group", "others")

    @property
    def usual(self) -> Usual:
        """What is so where nothing is said."""
        return USUAL[self.loss]

    @property
    def scaled(self) -> bool:
        """Whether advantages are divided by the spread of the group's scores."""
        return self.usual.scaled if self.scale_rewards is None else self.scale_rewards == "group"

    @property
    def clips(self) -> tuple[float, float] | None:
        """ε and ε_high; None where no ratio is learned."""
        if self.usual.clip is None:
            return None
        low, high = self.usual.clip
        return self.epsilon or low, self.epsilon_high or (self.epsilon if low == high and self.epsilon else high)

    @property
    def weighing(self) -> ImportanceSampling | None:
        """The weights that there are."""
        return self.importance_sampling or (ImportanceSampling() if self.vllm else None)

    @property
    def penalty(self) -> Kl | None:
        """The KL that there is."""
        found = self.kl or self.usual.kl
        return found if found and found.coef else None
