"""The online_dpo stage: the policy answers each prompt afresh, the rewards say which answer is better, and it learns
that as dpo does (OAIF, Guo et al. 2024). The reference is the tuned model."""

from __future__ import annotations

from burnish.pipeline.objectives import direct_preference
from burnish.pipeline.on_policy import collected, improve
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import drop_checkpoints, metrics_log, trained
from burnish.train.choice import Order


def run(context: Context) -> Facts:
    """Train, seal the policy, and state how reward and KL moved."""
    settings = context.recipe.online_dpo
    assert settings is not None
    if not trained(context.folder):
        improve(context, settings, Order(), measures_kl=not direct_preference(settings).reference_free)
    drop_checkpoints(context.folder)
    rows = [row for row in metrics_log(context.folder).read() if "objective/scores" in row]
    return {
        **collected(context, settings),
        "loss": settings.loss,
        "beta": settings.strength,
        "groups_without_order": round(sum(row["val/groups_without_advantage"] for row in rows)),
    }
