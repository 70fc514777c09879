"""The release stage: the policy, its card and its evidence as one sealed folder, if the gate lets it out."""

from __future__ import annotations

import logging
from pathlib import Path

from burnish.errors import MachineError, ModelError
from burnish.pipeline.recipe import POLICIES
from burnish.pipeline.speaker import base_model
from burnish.pipeline.stage import Context, Facts
from burnish.records.licences import licence_texts
from burnish.release.bundle import build
from burnish.release.evidence import gather

_log = logging.getLogger(__name__)


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
        licences=_licences(context),
    )


def _licences(context: Context) -> list[Path]:
    """The base model's, as far as its folder is still to be had: it was there when the first stage began."""
    try:
        return licence_texts(base_model(context))
    except (MachineError, ModelError) as error:
        _log.warning("%s: the release has no licence texts of it (%s)", context.recipe.model, error)
        return []
