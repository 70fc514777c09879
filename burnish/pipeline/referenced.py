"""What the tuned model says of the documents that a stage learns from, kept in the run folder. Knows no method."""

from __future__ import annotations

from burnish.models.arithmetic import chosen_kernels
from burnish.models.blocks import tiled
from burnish.models.forward import Trainable
from burnish.pipeline.key import folder_content
from burnish.pipeline.speaker import tuned_model
from burnish.pipeline.stage import Context
from burnish.records import durable
from burnish.train.feeds import DatasetFeed, Feed
from burnish.train.references import ReferencedFeed, reference_logprobs

REFERENCES = ".references"
"""Folder of a run for what references said: it outlives a change of settings that they do not depend on."""


def referenced(context: Context, feed: DatasetFeed, untrained: Trainable, *, save_every: int, label: str) -> Feed:
    """The feed, with what the reference said: that is the module itself, before any step."""
    dtype = next(untrained.parameters()).dtype
    kernels = chosen_kernels()
    ways = {
        " with tiles": tiled(dtype),
        " with Liger's kernels": kernels == "liger",
        " compiled": kernels == "compiled",
    }
    numbers = f"{dtype} on {untrained.device.type}{''.join(way for way, taken in ways.items() if taken)}"
    key = durable.digest_value([folder_content(tuned_model(context)), numbers, feed.digest()])
    folder = context.run / REFERENCES / key[:16]
    reference = reference_logprobs(
        untrained, feed, folder, save_every=save_every, progress=context.progress, label=label
    )
    return ReferencedFeed(feed, reference)
