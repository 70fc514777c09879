"""Ranks: the processes of one training job, and what each does of a step. Knows micro-batches, gradients and shards;
knows no method.

The first rank is the run: it has the feed, the files, the log. The others have a module and an optimiser; they are
dealt micro-batches, and give back sums. So a feed, its references and its rollouts need not know that there are others.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from burnish.batches import Batch
from burnish.errors import ModelError, Problem
from burnish.models.forward import Layout, Output, Trainable
from burnish.models.layers import decoder_layers, twin
from burnish.train import messages
from burnish.train.feeds import Feed, Work

Kind = Literal["ddp", "fsdp"]
torch.export.register_dataclass(Output)  # FSDP2 looks for the tensors of an output: there the way back begins


class Ranks(Protocol):
    """The processes of a job. Every method must be called by all of them, in the same order."""

    size: int
    rank: int
    """Which one this is; 0 has the feed, writes and speaks."""

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value added over all ranks."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """An error inside is raised on every rank; see `burnish.train.messages.together`."""
        ...

    def shared(self, value: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """What the first rank has, on every rank."""
        ...

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """Make each weight's gradient the sum over all ranks."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor of which each rank may hold a part."""
        ...

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All of tensors of which each rank may hold a part: the first rank's, which alone writes them."""
        ...

    def part(self, tensor: Tensor, like: Tensor | None) -> Tensor:
        """Of a whole tensor what this rank holds of `like`."""
        ...

    def parts(self, tensors: Mapping[str, Tensor], like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
        """Of the first rank's whole tensors what each rank holds of them; `like`: of a tensor's name what it is cut
        like."""
        ...

    def feed(self, feed: Feed | None) -> Feed:
        """The first rank's feed, dealt over all; the others give None."""
        ...

    def once(self, feed: Feed | None) -> Work | None:
        """The first step of the first rank's feed, dealt over all; None where it has no feed."""
        ...

    def spread(self, module: Trainable) -> Trainable:
        """The first rank's weights, in the module of each. Returns what is to be trained; until `collect` the module
        itself may be without weights."""
        ...

    def collect(self, spread: Trainable, into: Trainable) -> None:
        """Put what was trained into the first rank's module that was spread."""
        ...


class Alone:
    """One process."""

    size = 1
    rank = 0

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        return dict(values)

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def shared(self, value: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        return value, dict(tensors)

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        pass

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)

    def part(self, tensor: Tensor, like: Tensor | None) -> Tensor:
        return tensor

    def parts(self, tensors: Mapping[str, Tensor], like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
        return self.shared(None, tensors)[1]

    def feed(self, feed: Feed | None) -> Feed:
        assert feed is not None
        return feed

    def once(self, feed: Feed | None) -> Work | None:
        return feed.next(0) if feed else None

    def spread(self, module: Trainable) -> Trainable:
        return module

    def collect(self, spread: Trainable, into: Trainable) -> None:
        pass


class DataParallel(Alone):
    """Every rank has the whole model, and its share of each step's micro-batches. Gradients of a whole step are added
    once, in fp32: what torch's DistributedDataParallel does bucket by bucket while the backward pass is going on."""

    keeps_step = False
    """Whether every rank must pass the model equally often."""

    def __init__(self) -> None:
        self.size = dist.get_world_size()
        self.rank = dist.get_rank()

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        added: defaultdict[str, float] = defaultdict(float)
        for part in messages.gathered(dict(values)):
            for name, value in part.items():
                added[name] += value
        return added

    def together(self) -> AbstractContextManager[None]:
        return messages.together()

    def shared(self, value: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        return messages.shared(value, tensors)

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """One that no rank has stays None: a weight without a gradient is left alone by the optimiser."""
        seen = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32)
        dist.all_reduce(seen)
        learned = [weight for weight, found in zip(weights, seen.tolist(), strict=True) if found]
        for weight in learned:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        for work in [dist.all_reduce(weight.grad, async_op=True) for weight in learned]:
            assert work is not None
            work.wait()

    def feed(self, feed: Feed | None) -> Feed:
        return _Dealt(feed, self)

    def once(self, feed: Feed | None) -> Work | None:
        return self.feed(feed).next(0) if self.shared(feed is not None, {})[0] else None

    def given(self, parts: Sequence[Sequence[Batch]] | None) -> list[Batch]:
        """Of the first rank's batches for each rank, this one's; the others give None."""
        stated, tensors = messages.given(None if parts is None else [_packed(part) for part in parts])
        return [_unpacked(f"{i}.", tensors, *each) for i, each in enumerate(stated)]

    def spread(self, module: Trainable) -> Trainable:
        for tensor in module.state_dict().values():
            messages.hand_out(tensor)
        return module


class Sharded(DataParallel):
    """Every rank has a part of each weight, of its gradient and of its moments: FSDP2 (Rajbhandari et al. 2020).

    Layers are put together when they are needed, which needs every rank to pass the model equally often. Architectures
    that take one sequence at a time pass it as often as a micro-batch has sequences: they are refused.
    """

    keeps_step = True

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """Nothing: FSDP2 adds them in the backward pass, in fp32."""

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On the first rank's CPU. The others, and every device, hold one whole tensor at a time."""
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if self.rank:
                self.whole(tensor)  # for its part in it
            else:
                found[name] = self.whole(tensor).cpu()
        return found

    def part(self, tensor: Tensor, like: Tensor | None) -> Tensor:
        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)

    def parts(self, tensors: Mapping[str, Tensor], like: Callable[[str], Tensor | None]) -> dict[str, Tensor]:
        """One whole tensor is on its way at a time."""
        found: dict[str, Tensor] = {}
        for name in self.shared(list(tensors), {})[0]:
            own = {name: tensors[name]} if name in tensors else {}
            found[name] = self.part(self.shared(None, own)[1][name], like(name))
        return found

    def spread(self, module: Trainable) -> Trainable:
        """A sharded module in place of this one, whose weights are let go: they are empty until `collect`. Embeddings
        and LM head, which may be one tensor, share a group.

        Raises ModelError for an architecture that takes one sequence at a time.
        """
        if module.layout is Layout.ROWS:
            found = "it takes one sequence at a time, and a model in parts has to be passed equally often by all"
            raise ModelError(Problem(type(module.backbone).__name__, found, "Set parallel to ddp."))
        weights = list(super().spread(module).parameters())
        copy = twin(module)  # shards are cut from its tensors
        mesh = init_device_mesh(module.device.type, (self.size,))
        precision = MixedPrecisionPolicy(reduce_dtype=torch.float32)
        heads = [head for head in (copy.value, copy.score) if head is not None]  # fp32 beside weights in bfloat16
        for part in [*decoder_layers(copy), *heads, copy]:
            unit: Any = fully_shard(part, mesh=mesh, mp_policy=precision)
            unit.set_gradient_divide_factor(1.0)  # sums: the loop has divided by counts over all ranks
            unit.set_force_sum_reduction_for_comms(True)  # gloo has no other
        # Nothing of ours changes a module's output in place, which is what torch warns of.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
        copy.register_forward_hook(_let_go)
        for weight in weights:
            weight.data = weight.data.new_empty(0)
        return copy

    @torch.no_grad()
    def collect(self, spread: Trainable, into: Trainable) -> None:
        """On the first rank's CPU: its device may have no room for it until the shards are gone."""
        for name, whole in self.gathered(dict(spread.named_parameters())).items():
            into.get_parameter(name).data = whole


def _let_go(root: Any, inputs: Any, output: Any) -> None:
    """The root's own weights, put together, stay for a backward pass. Where there is none they would stay when the
    shards have changed, and the next pass would read them."""
    if not torch.is_grad_enabled():
        root.reshard()


def joined(kind: Kind) -> Ranks:
    """The ranks that have met, or this process alone."""
    if messages.world() == 1:
        return Alone()
    return DataParallel() if kind == "ddp" else Sharded()


class _Dealt:
    """A feed whose steps are dealt, a micro-batch at a time: a prompt and its answers stay on one rank."""

    def __init__(self, feed: Feed | None, ranks: DataParallel) -> None:
        self._feed = feed
        self._ranks = ranks

    def next(self, step: int) -> Work:
        work = Work([])
        with self._ranks.together():
            work = self._feed.next(step) if self._feed else work
        learned, measured = (self._deal(part) for part in (work.batches, work.measured))
        shares = {"measured": measured[0], "measured_fillers": measured[1]}
        return replace(work, batches=learned[0], fillers=learned[1], appended=0, **shares)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return self._feed.state() if self._feed else ({}, {})

    def load(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        if self._feed:
            self._feed.load(values, tensors)

    def _deal(self, batches: list[Batch]) -> tuple[list[Batch], list[Batch]]:
        """This rank's share of the first one's batches, and what it passes beside it to keep step."""
        shares = dealt(batches, self._ranks.size)
        most = max(map(len, shares)) if self._ranks.keeps_step else 0
        least = sorted(batches, key=lambda batch: batch.tokens)[:1]
        beside = [least * max(0, most - len(share)) for share in shares]
        first = self._ranks.rank == 0
        return self._ranks.given(shares if first else None), self._ranks.given(beside if first else None)


def dealt(batches: Sequence[Batch], ranks: int) -> list[list[Batch]]:
    """Each rank's share: the largest first, to and fro, so that shares cost nearly the same and differ by one at most.

    Args: ranks, how many there are.
    """
    shares: list[list[Batch]] = [[] for _ in range(ranks)]
    for number, batch in enumerate(sorted(batches, key=lambda batch: -batch.tokens)):
        turn, place = divmod(number, ranks)
        shares[ranks - 1 - place if turn % 2 else place].append(batch)
    return shares


def _packed(batches: Sequence[Batch]) -> tuple[Any, dict[str, Tensor]]:
    tensors = {f"{i}.{name}": each for i, batch in enumerate(batches) for name, each in batch.tensors().items()}
    return [[list(batch.rows), batch.temperature] for batch in batches], tensors


def _unpacked(prefix: str, tensors: Mapping[str, Tensor], rows: Sequence[str], temperature: float) -> Batch:
    own = {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
    return Batch.from_tensors(own, rows, temperature)
