"""Checkpoints: everything that makes a resumed run bitwise equal to one that was never interrupted.

A checkpoint is a sealed folder (see records.durable): the fp32 weights that train, optimiser moments, the state of the
feed and of whatever else remembers steps, the step, and the digest of the weights that are frozen.
Random draws are functions of (seed, purpose, step), so no generator's state is kept. safetensors and JSON only.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file
from torch import Tensor

from burnish.errors import DataError, ModelError, Problem
from burnish.models import weights
from burnish.records import durable
from burnish.train.optim import Optimizer
from burnish.train.parallel import Alone, Ranks

_PREFIX = "step-"
_log = logging.getLogger(__name__)


class Part(Protocol):
    """What remembers something from step to step: a feed, a guard, an average, a validation."""

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]: ...

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None: ...


class Checkpoints:
    """The checkpoints of one stage, newest last. The first rank writes and reads them, whole; all ranks must call."""

    def __init__(self, path: Path, *, keep: int = 2, ranks: Ranks | None = None) -> None:
        self.path = path
        self._ranks = ranks or Alone()
        self._keep = keep
        self.refused: list[str] = []
        """Why newer checkpoints were passed over by the last `restore`."""

    def save(self, step: int, optimizer: Optimizer, feed: Part, **others: Part) -> None:
        """Write the state before update number `step`. Older ones go only after this one is on the disk."""
        tensors = {"optimizer": self._ranks.gathered(optimizer.tensors())}
        values: dict[str, Any] = {}
        for name, part in {"feed": feed, **others}.items():
            values[name], kept = part.state()
            tensors[name] = self._ranks.gathered(kept)
        frozen = optimizer.frozen
        if self._ranks.rank:
            return
        with durable.folder(self.path / f"{_PREFIX}{step:08d}") as aside:
            for name, kept in tensors.items():
                weights.write(aside / f"{name}.safetensors", _contiguous(kept))
            durable.write_json(aside / "state.json", {"step": step, "frozen": frozen, "parts": values})
        for old in self._found()[: -self._keep]:
            shutil.rmtree(old)

    def restore(self, optimizer: Optimizer, feed: Part, **others: Part) -> int:
        """Load the newest whole checkpoint and return its step; 0 where there is none.

        A broken one is passed over for the one before, and named in `refused`. If all are broken, a ModelError lists
        them: starting again from nothing would not be what was asked. So it is where the frozen weights are others.
        """
        if not self._ranks.rank:
            durable.sweep(self.path)
        if not self._ranks.shared(bool(self._found()), {})[0]:
            return 0
        frozen = optimizer.frozen
        state, tensors = dict[str, Any](), dict[str, Tensor]()
        with self._ranks.together():
            if not self._ranks.rank:
                state, tensors = self._newest(frozen, feed, others)
        state, _ = self._ranks.shared(state, {})
        own = optimizer.weights
        tensors = self._ranks.parts(tensors, lambda key: own.get(_weight(key)))
        optimizer.load(_of("optimizer", tensors))
        for name, part in others.items():
            part.load(state["parts"][name], _of(name, tensors))
        return int(state["step"])

    def _newest(self, frozen: str, feed: Part, others: Iterable[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What the newest whole checkpoint says, and all its tensors but the feed's, which is loaded."""
        self.refused = []
        mend = f"Remove {self.path} to start this stage again."
        for path in reversed(self._found()):
            try:
                durable.verify(path)
            except DataError as error:
                reason = "; ".join(f"{each.where}: {each.found}" for each in error.problems)
                self.refused.append(reason)
                _log.warning("checkpoint passed over: %s", reason)
                continue
            state: dict[str, Any] = json.loads((path / "state.json").read_bytes())
            if state["frozen"] != frozen:
                raise ModelError(Problem(str(path), "made beside other frozen weights than these", mend))
            feed.load(state["parts"]["feed"], load_file(path / "feed.safetensors"))
            kept = {name: load_file(path / f"{name}.safetensors") for name in ("optimizer", *others)}
            return state, {f"{name}/{key}": each for name, tensors in kept.items() for key, each in tensors.items()}
        raise ModelError(*(Problem(str(self.path), reason, mend) for reason in self.refused))

    def _found(self) -> list[Path]:
        return sorted(child for child in self.path.glob(f"{_PREFIX}*") if child.is_dir())


def _weight(key: str) -> str:
    """The name of the weight to which a checkpoint's tensor belongs."""
    part, _, name = key.partition("/")
    return name.partition(".")[2] if part == "optimizer" else name


def _of(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
