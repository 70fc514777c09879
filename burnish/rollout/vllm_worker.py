"""What vLLM's worker learns to do for `burnish.rollout.vllm`: it is mixed into the worker, in vLLM's process. Knows
vLLM's layers; nothing of burnish is known there."""

from __future__ import annotations

import logging
import os
import time
from importlib import import_module
from threading import Thread
from typing import Any

_RELOADING = "vllm.model_executor.model_loader.reload.layerwise"
"""It warns at every update of layers that no file has a tensor for: rotations, an LM head that is the embeddings."""


class Receiver:
    """A worker that takes weights from a folder, and does not outlive the trainer."""

    def end_with(self, trainer: int) -> None:
        """End when that process has: one that is killed tells nobody, and vLLM would keep its memory."""
        Thread(target=_end_with, args=(import_module("psutil").Process(trainer),), daemon=True).start()

    def receive(self, folder: str) -> None:
        """Read the folder's weights in place of those that the worker has."""
        worker: Any = self
        logging.getLogger(_RELOADING).setLevel(logging.ERROR)
        worker.reload_weights(weights_path=folder)
        head: Any = import_module("vllm.model_executor.layers.vocab_parallel_embedding").ParallelLMHead
        for layer in worker.get_model().modules():
            # On a CPU an LM head computes with a packed copy. One that is the embeddings is in no file, so that vLLM
            # 0.32 does not pack it anew: tokens would be drawn from older weights' head.
            if isinstance(layer, head):
                layer.quant_method.process_weights_after_loading(layer)
            # Experts are packed there when they are first read, and read as packed ever after: new ones are not.
            kernel = getattr(getattr(layer, "quant_method", None), "moe_kernel", None)
            if kernel is not None and layer.w13_weight.device.type == "cpu":
                kernel.fused_experts.process_weights_after_loading(layer)


def _end_with(trainer: Any) -> None:
    try:
        while trainer.is_running() and trainer.status() != "zombie":
            time.sleep(1)
    finally:  # it may go between the two questions
        os._exit(1)  # where the worker is not vLLM's core, as on CPUs, that notices, and ends too
