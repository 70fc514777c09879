"""Checkpoints: everything that makes a resumed run bitwise equal to one that was never interrupted.

A checkpoint is a sealed folder (see records.durable): the fp32 weights that train, optimiser moments, the feed's state,
the step, and the digest of the weights that are frozen.
Random draws are functions of (seed, purpose, step), so no generator's state is kept. safetensors and JSON only.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from burnish.errors import DataError, ModelError, Problem
from burnish.records import durable
from burnish.train.feeds import Feed
from burnish.train.optim import Optimizer
from burnish.train.parallel import Alone, Ranks

_PREFIX = "step-"
_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one stage, newest last. The first rank writes and reads them, whole; all ranks must call."""

    def __init__(self, path: Path, *, keep: int = 2, ranks: Ranks | None = None) -> None:
        self.path = path
        self._ranks = ranks or Alone()
        self._keep = keep
        self.refused: list[str] = []
        """Why newer checkpoints were passed over by the last `restore`."""

    def save(self, step: int, optimizer: Optimizer, feed: Feed) -> None:
        """Write the state before update number `step`. Older ones go only after this one is on the disk."""
        kept, frozen = optimizer.tensors(), optimizer.frozen
        if self._ranks.rank:
            return
        values, tensors = feed.state()
        with durable.folder(self.path / f"{_PREFIX}{step:08d}") as aside:
            save_file(_contiguous(kept), aside / "optimizer.safetensors")
            save_file(_contiguous(tensors), aside / "feed.safetensors")
            durable.write_json(aside / "state.json", {"step": step, "feed": values, "frozen": frozen})
        for old in self._found()[: -self._keep]:
            shutil.rmtree(old)

    def restore(self, optimizer: Optimizer, feed: Feed) -> int:
        """Load the newest whole checkpoint and return its step; 0 where there is none.

        A broken one is passed over for the one before, and named in `refused`. If all are broken, a ModelError lists
        them: starting again from nothing would not be what was asked. So it is where the frozen weights are others.
        """
        if not self._ranks.rank:
            durable.sweep(self.path)
        if not self._ranks.shared(bool(self._found()), {})[0]:
            return 0
        frozen = optimizer.frozen
        step, tensors = 0, dict[str, Tensor]()
        with self._ranks.together():
            if not self._ranks.rank:
                step, tensors = self._newest(frozen, feed)
        step, tensors = self._ranks.shared(step, tensors)
        optimizer.load(tensors)
        return step

    def _newest(self, frozen: str, feed: Feed) -> tuple[int, dict[str, Tensor]]:
        """Step and tensors of the newest whole checkpoint, whose feed is loaded."""
        self.refused = []
        mend = f"Remove {self.path} to start this stage again."
        for path in reversed(self._found()):
            try:
                durable.verify(path)
            except DataError as error:
                self.refused.append(str(error))
                _log.warning("checkpoint passed over: %s", error)
                continue
            state: dict[str, Any] = json.loads((path / "state.json").read_bytes())
            if state["frozen"] != frozen:
                raise ModelError(Problem(str(path), "made beside other frozen weights than these", mend))
            feed.load(state["feed"], load_file(path / "feed.safetensors"))
            return int(state["step"]), load_file(path / "optimizer.safetensors")
        raise ModelError(*(Problem(str(self.path), reason, mend) for reason in self.refused))

    def _found(self) -> list[Path]:
        return sorted(child for child in self.path.glob(f"{_PREFIX}*") if child.is_dir())


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
