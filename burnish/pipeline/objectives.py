"""What each trained stage minimises, from the settings alone: a rank that has no feed and no folder knows it too."""

from __future__ import annotations

from burnish.pipeline.recipe import Dpo, Recipe
from burnish.train.direct import DirectPreference, Kto
from burnish.train.objectives import Objective, Ppo, RewardModel, Sft


def objective_of(recipe: Recipe, stage: str) -> Objective:
    """The objective of a stage that the recipe has."""
    if stage == "sft":
        return Sft()
    if stage == "reward":
        return RewardModel()
    if stage == "dpo":
        assert recipe.dpo is not None
        return direct_preference(recipe.dpo)
    if stage == "kto":
        assert recipe.kto is not None
        kto = recipe.kto
        return Kto(beta=kto.beta, desirable_weight=kto.desirable_weight, undesirable_weight=kto.undesirable_weight)
    assert stage == "ppo"
    assert recipe.ppo is not None
    ppo = recipe.ppo
    return Ppo(cliprange=ppo.cliprange, cliprange_value=ppo.cliprange_value, vf_coef=ppo.vf_coef)


def direct_preference(settings: Dpo) -> DirectPreference:
    return DirectPreference(
        settings.loss,
        beta=settings.strength,
        smoothing=settings.label_smoothing,
        gamma=settings.gamma,
        nll=settings.rpo_alpha,
    )
