"""The release stage: the policy, its card and its evidence as one sealed folder, if the gate lets it out."""

from __future__ import annotations

from burnish.pipeline.recipe import POLICIES
from burnish.pipeline.stage import Context, Facts
from burnish.release.bundle import build
from burnish.release.evidence import gather


def run(context: Context) -> Facts:
    """Build the bundle. Raises VerdictError or InconclusiveError where the gate gives no leave."""
    release = context.recipe.release
    assert release is not None
    policy = [name for name in POLICIES if name in context.inputs][-1]
    return build(
        context.inputs[policy] / "model",
        context.folder,
        gather(context.run),
        policy=policy,
        name=release.name,
        version=release.version,
        license=release.license,
        purpose=release.purpose,
        waiver=release.reason if release.allow_inconclusive else "",
    )
