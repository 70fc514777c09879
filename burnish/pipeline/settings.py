"""Settings that several sections of a recipe share. Knows no section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from burnish.config import Strict
from burnish.pipeline import trl_names
from burnish.types import Sampling

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Device = Literal["auto", "cpu", "cuda"]
DType = Literal["auto", "bfloat16", "float32"]
Schedule = Literal["constant", "linear", "cosine"]
TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class SamplingSettings(Strict):
    """How answers are drawn."""

    temperature: float = Field(default=1.0, ge=0, le=10)
    """0 is greedy."""
    top_p: Rate = 1.0
    """Only the most likely tokens that hold this share of the probability are drawn."""
    top_k: Positive | None = None
    """Only so many of the most likely tokens are drawn."""
    min_p: Rate | None = None
    """Only tokens are drawn that have this share of the most likely one's probability."""
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    """Logits of tokens that stand in prompt or answer already are divided by this where positive, else multiplied."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """An answer ends before the first of these texts."""
    max_new_tokens: Positive = 64
    """An answer is cut after so many tokens."""

    def at(self, seed: int) -> Sampling:
        return Sampling(**{name: value for name, value in self if value is not None}, seed=seed)


class Lora(Strict):
    """Low-rank adapters: small matrices beside frozen weights, merged into them when the stage ends."""

    rank: Positive = 16
    """Columns of an adapter's narrow side."""
    alpha: Positive = 32
    """What an adapter adds is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that is dropped. Only sft and rft train with dropout."""
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """Which layers: all linear ones but the LM head, or those of these last names, for example [q_proj, v_proj]."""


def _strength(said: Mapping[str, Any]) -> float:
    """What a preference says of `beta`, or the usual one of its loss."""
    return said.get("beta") or {"dpo_norm": 5.0, "simpo": 2.0}.get(said.get("loss", ""), 0.1)


def _margin(said: Mapping[str, Any]) -> float:
    return _strength(said) / 2 if said.get("loss") == "simpo" else 0.0


class Preference(Strict):
    """How a policy learns directly which of two answers is better."""

    values_elsewhere: ClassVar[Mapping[str, Mapping[str, str]]] = trl_names.PREFERENCE_VALUES
    loss: Literal["dpo", "ipo", "cdpo", "robust", "dpo_norm", "simpo", "orpo"] = "dpo"
    """What is minimised; `burnish.losses.direct` has the equations. simpo and orpo have no reference model."""
    beta: Annotated[float, Field(gt=0)] | None = None
    """Strength: β of dpo, cdpo, robust, dpo_norm and simpo, τ of ipo, λ of orpo. Absent: 0.1; dpo_norm 5, simpo 2."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs that cdpo and robust take to be labelled the wrong way round; usually 0.1."""
    gamma: float = Field(default_factory=_margin, ge=0)
    """SimPO's margin: what the better answer must be ahead by; usually 0.3 to 0.8 times beta. Absent: half of beta."""
    rpo_alpha: float = Field(default=0.0, ge=0)
    """Weight of the better answer's negative log-likelihood, a token's mean, beside the loss; orpo has its own."""

    @property
    def strength(self) -> float:
        """`beta`, or the usual one."""
        return _strength({"loss": self.loss, "beta": self.beta})


class Kept(Strict):
    """What every trained stage says about AdamW, about the weights that it keeps, and about when it stops."""

    elsewhere: ClassVar[Mapping[str, str]] = trl_names.TRAINED
    betas: tuple[Decay, Decay] | None = None
    """AdamW's β1 and β2: what is left after a step of the averages of gradients and of their squares. Absent: [0.9,
    0.95]. Its ε is 1e-8."""
    ema: Share | None = None
    """Keep an average of the weights over the steps, in fp32. The share is its decay: each older step weighs this much
    of the next one (0.99: the last hundred or so count)."""
    average_with_start: Share | None = None
    """Share of the weights that training began with in those that are kept: gives back some of what was forgotten."""
    spike: float | None = Field(default=None, gt=1)
    """Stop before an update whose loss or gradient norm is more than so many times the median of the last 50 steps
    (10 is generous); of stages that learn from their own answers, the gradient norm alone. Never changes the result of
    a stage that ends."""
