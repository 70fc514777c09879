"""The ppo stage: the tuned model samples answers, its rewards score them, and PPO moves the policy, held near where it
began by a KL term in the reward (Ouyang et al. 2022)."""

from __future__ import annotations

from burnish.pipeline.on_policy import collected, finished, improve
from burnish.pipeline.reinforcement import Ppo
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import drop_checkpoints, trained
from burnish.train.advantages import KlInReward, PerToken

HORIZON = 10_000


def run(context: Context) -> Facts:
    """Train, seal the policy, and state how reward and KL moved."""
    settings = context.recipe.ppo
    assert settings is not None
    if not trained(context.folder):
        improve(context, settings, _advantages(settings), measures_kl=True, chosen=finished(settings))
    drop_checkpoints(context.folder)
    return collected(context, settings)


def _advantages(settings: Ppo) -> PerToken:
    return PerToken(
        kl=KlInReward(settings.kl_coef, target=settings.kl_target, horizon=settings.kl_horizon or HORIZON),
        gamma=settings.gamma,
        lam=settings.lam,
        leave_one_out=settings.baseline == "leave_one_out",
        whiten_rewards=settings.whiten_rewards,
    )
