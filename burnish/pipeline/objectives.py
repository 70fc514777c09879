"""What each trained stage minimises, from the settings alone: a rank that has no feed and no folder knows it too."""

from __future__ import annotations

from burnish.pipeline import recipe as sections
from burnish.pipeline.critic_free import Grpo
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.reinforcement import PTX_COEF, OnPolicy
from burnish.pipeline.settings import Preference
from burnish.train.direct import DirectPreference, Kto
from burnish.train.distillation import Distillation
from burnish.train.objectives import Objective, Ppo, RewardModel, Sft
from burnish.train.policy_gradient import Correction, KlInLoss, PolicyGradient
from burnish.train.pretraining import WithPretraining

TIE_THRESHOLD = 0.5
"""Of Rao and Kupper's ties, where the recipe says none."""


def objective_of(recipe: Recipe, stage: str) -> Objective:
    """The objective of a stage that the recipe has."""
    if stage == "sft":
        assert recipe.sft is not None
        return Sft(recipe.sft.mean or "token")
    if stage == "reward":
        assert recipe.reward is not None
        return reward_model(recipe.reward)
    if stage == "dpo":
        assert recipe.dpo is not None
        return direct_preference(recipe.dpo)
    if stage == "kto":
        assert recipe.kto is not None
        kto = recipe.kto
        return Kto(beta=kto.beta, desirable_weight=kto.desirable_weight, undesirable_weight=kto.undesirable_weight)
    if stage == "distill":
        assert recipe.distill is not None
        return _with_text(Distillation(beta=recipe.distill.beta), recipe.distill)
    if stage == "rft":
        assert recipe.rft is not None
        return _with_text(Sft(), recipe.rft)
    if stage == "online_dpo":
        assert recipe.online_dpo is not None
        return _with_text(direct_preference(recipe.online_dpo), recipe.online_dpo)
    if stage == "grpo":
        assert recipe.grpo is not None
        return _with_text(policy_gradient(recipe.grpo), recipe.grpo)
    assert stage == "ppo"
    assert recipe.ppo is not None
    ppo = recipe.ppo
    clipped = Ppo(cliprange=ppo.cliprange, cliprange_value=ppo.cliprange_value, vf_coef=ppo.vf_coef)
    return _with_text(clipped, ppo)


def reward_model(settings: sections.RewardModel) -> RewardModel:
    return RewardModel(
        settings.loss or "k_wise",
        margin=settings.margin if isinstance(settings.margin, float) else 0.0,
        centring=settings.centring or 0.0,
        lapse=settings.lapse or 0.0,
        ties=settings.ties or "drop",
        tie_threshold=settings.tie_threshold or TIE_THRESHOLD,
    )


def direct_preference(settings: Preference) -> DirectPreference:
    return DirectPreference(
        settings.loss,
        beta=settings.strength,
        smoothing=settings.label_smoothing,
        gamma=settings.gamma,
        nll=settings.rpo_alpha,
    )


def policy_gradient(settings: Grpo) -> PolicyGradient:
    kl, weighing = settings.penalty, settings.weighing
    return PolicyGradient(
        settings.loss,
        budget=settings.max_new_tokens,
        clip=settings.clips,
        kl=KlInLoss(estimator="k2" if kl.kind == "k2" else "k3", coef=kl.coef) if kl and kl.place == "loss" else None,
        correction=Correction(**weighing.model_dump()) if weighing else None,
    )


def _with_text(objective: Objective, settings: OnPolicy) -> Objective:
    """PPO-ptx, where there is text to learn beside."""
    return WithPretraining(objective, settings.ptx_coef or PTX_COEF) if settings.ptx_data else objective
