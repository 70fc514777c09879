"""The grpo stage: the tuned model answers each prompt several times, and answers that scored better than others to the
same prompt become likelier. GRPO, its relatives, RLOO and REINFORCE, one section with a `loss`; no critic."""

from __future__ import annotations

from burnish.pipeline.critic_free import Grpo
from burnish.pipeline.on_policy import collected, finished, improve
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import drop_checkpoints, metrics_log, trained
from burnish.train.advantages import Advantages, KlInReward, PerAnswer, PerToken


def run(context: Context) -> Facts:
    """Train, seal the policy, and state how reward and KL moved."""
    settings = context.recipe.grpo
    assert settings is not None
    if not trained(context.folder):
        kl = settings.penalty
        in_loss = kl is not None and kl.place == "loss"
        improve(
            context,
            settings,
            _advantages(settings),
            measures_kl=kl is not None,
            learns_without_advantage=in_loss,
            chosen=finished(settings),
        )
    drop_checkpoints(context.folder)
    rows = [row for row in metrics_log(context.folder).read() if "objective/scores" in row]
    return {
        **collected(context, settings),
        "loss": settings.loss,
        "groups": round(sum(row["val/groups"] for row in rows)),
        "groups_without_advantage": round(sum(row["val/groups_without_advantage"] for row in rows)),
    }


def _advantages(settings: Grpo) -> Advantages:
    penalty = settings.penalty
    kl = KlInReward(penalty.coef) if penalty and penalty.place == "reward" else None
    match settings.usual.against:
        case "nothing":
            return PerAnswer(kl=kl, baseline="none")
        case "others":
            return PerAnswer(kl=kl, baseline="leave_one_out")
        case "iteration":
            return PerToken(kl=kl, critic=False, lam=1.0)
        case "group":
            return PerAnswer(kl=kl, baseline="standardised" if settings.scaled else "mean")
