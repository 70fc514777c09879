"""The rft stage: the tuned model answers each prompt several times, the best answers are learned as sft learns given
ones, and so on in rounds (RAFT, Dong et al. 2023). No reference model, no KL: what holds it near is that it learns its
own answers."""

from __future__ import annotations

from burnish.pipeline.on_policy import collected, improve
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import drop_checkpoints, metrics_log, trained
from burnish.train.choice import Best


def run(context: Context) -> Facts:
    """Train, seal the policy, and state how many answers were learned and how the reward moved."""
    settings = context.recipe.rft
    assert settings is not None
    if not trained(context.folder):
        usual = 1 if settings.threshold is None else None
        best = Best(per_prompt=settings.per_prompt or usual, threshold=settings.threshold)
        improve(context, settings, best, measures_kl=False, chosen=best.chosen)
    drop_checkpoints(context.folder)
    rows = [row for row in metrics_log(context.folder).read() if "val/chosen" in row]
    return {**collected(context, settings), "chosen": round(sum(row["val/chosen"] for row in rows))}
