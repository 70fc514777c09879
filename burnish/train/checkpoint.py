"""Checkpoints: everything that makes a resumed run bitwise equal to one that was never interrupted.

A checkpoint is a sealed folder (see records.durable): the fp32 weights that train, optimiser moments, the state of the
feed and of whatever else remembers steps, the step, and the digest of the weights that are frozen.
Random draws are functions of (seed, purpose, step), so no generator's state is kept. safetensors and JSON only.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file, save_file
from torch import Tensor

from burnish.errors import DataError, ModelError, Problem
from burnish.records import durable
from burnish.train.optim import Optimizer

_PREFIX = "step-"
_log = logging.getLogger(__name__)


class Part(Protocol):
    """What remembers something from step to step: a feed, a guard, an average, a validation."""

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]: ...

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None: ...


class Checkpoints:
    """The checkpoints of one stage, newest last."""

    def __init__(self, path: Path, *, keep: int = 2) -> None:
        self.path = path
        self._keep = keep
        self.refused: list[str] = []
        """Why newer checkpoints were passed over by the last `restore`."""

    def save(self, step: int, optimizer: Optimizer, feed: Part, **others: Part) -> None:
        """Write the state before update number `step`. Older ones go only after this one is on the disk."""
        states = {name: part.state() for name, part in {"feed": feed, **others}.items()}
        values = {name: values for name, (values, _) in states.items()}
        with durable.folder(self.path / f"{_PREFIX}{step:08d}") as aside:
            save_file(_contiguous(optimizer.tensors()), aside / "optimizer.safetensors")
            for name, (_, tensors) in states.items():
                save_file(_contiguous(tensors), aside / f"{name}.safetensors")
            durable.write_json(aside / "state.json", {"step": step, "frozen": optimizer.frozen, "parts": values})
        for old in self._found()[: -self._keep]:
            shutil.rmtree(old)

    def restore(self, optimizer: Optimizer, feed: Part, **others: Part) -> int:
        """Load the newest whole checkpoint and return its step; 0 where there is none.

        A broken one is passed over for the one before, and named in `refused`. If all are broken, a ModelError lists
        them: starting again from nothing would not be what was asked. So it is where the frozen weights are others.
        """
        durable.sweep(self.path)
        self.refused = []
        found = self._found()
        mend = f"Remove {self.path} to start this stage again."
        for path in reversed(found):
            try:
                durable.verify(path)
            except DataError as error:
                self.refused.append(str(error))
                _log.warning("checkpoint passed over: %s", error)
                continue
            state: dict[str, Any] = json.loads((path / "state.json").read_bytes())
            if state["frozen"] != optimizer.frozen:
                raise ModelError(Problem(str(path), "made beside other frozen weights than these", mend))
            optimizer.load(load_file(path / "optimizer.safetensors"))
            for name, part in {"feed": feed, **others}.items():
                part.load(state["parts"][name], load_file(path / f"{name}.safetensors"))
            return int(state["step"])
        if found:
            raise ModelError(*(Problem(str(self.path), reason, mend) for reason in self.refused))
        return 0

    def _found(self) -> list[Path]:
        return sorted(child for child in self.path.glob(f"{_PREFIX}*") if child.is_dir())


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
