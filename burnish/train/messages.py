"""What the processes of a job say to each other: JSON values and tensors' bytes. Knows torch's process group; knows no
model. Objects are never pickled, as torch's own way of sending them would.

Every function here must be called by all ranks, in the same order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from burnish.errors import BurnishError, MachineError, Problem

PATIENCE = timedelta(days=365)
"""Other ranks wait while the first one samples, evaluates, or waits for people. One that dies is noticed at once."""
_GONE = re.compile(
    r"closed by peer|reset by peer|broken pipe|connection|socket|gloo|nccl.*(remote process|abort|closed)",
    re.IGNORECASE | re.DOTALL,
)
"""nccl's other errors are of this machine's GPUs: nobody has gone."""


def join(place: str = "env://", rank: int = -1, size: int = -1, patience: timedelta = PATIENCE) -> None:
    """Meet the other processes at `place`. The environment says who they are (RANK, WORLD_SIZE, MASTER_ADDR,
    MASTER_PORT), as torchrun sets it; at tcp://HOST:PORT the first one listens.

    What lies on the CPU goes by gloo, messages and batches always; weights and gradients on GPUs go by nccl.
    """
    ways = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "cpu:gloo"
    dist.init_process_group(ways, place, timeout=patience, rank=rank, world_size=size)


def leave() -> None:
    """Part, all at once: a process that goes while another is listening may end in torch's threads."""
    dist.barrier()
    dist.destroy_process_group()


def world() -> int:
    """How many processes train together; 1 where none have met."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gathered(value: Any) -> list[Any]:
    """A JSON value of each rank, the first one's first, on every rank. Floats arrive to the bit, NaN included."""
    own = _bytes(value)
    sizes = [torch.zeros(1, dtype=torch.long) for _ in range(world())]
    dist.all_gather(sizes, torch.tensor([own.numel()]))
    lengths = [int(size) for size in sizes]
    padded = torch.zeros(max(lengths), dtype=torch.uint8)
    padded[: own.numel()] = own
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return [_value(part[:length]) for part, length in zip(parts, lengths, strict=True)]


def shared(value: Any, tensors: Mapping[str, Tensor] | None = None) -> tuple[Any, dict[str, Tensor]]:
    """What the first rank has, on every rank: a JSON value and tensors. What the others give is not looked at."""
    first = dist.get_rank() == 0
    named = dict(tensors or {}) if first else {}
    header = _header(value, named)
    size = torch.tensor([header.numel()])
    dist.broadcast(size, 0)
    header = header if first else torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(header, 0)
    value, empty = _announced(header)
    found = named if first else empty
    for tensor in found.values():
        hand_out(tensor)
    return value, found


def hand_out(tensor: Tensor) -> None:
    """Overwrite a tensor on every rank by the first one's, to the bit, whatever its type."""
    if tensor.numel():
        flat = _flat(tensor)
        dist.broadcast(flat, 0)
        if flat.data_ptr() != tensor.data_ptr():
            tensor.detach().copy_(flat.view(tensor.dtype).view_as(tensor))


def given(parts: Sequence[tuple[Any, Mapping[str, Tensor]]] | None) -> tuple[Any, dict[str, Tensor]]:
    """Of what the first rank has for each rank the own part, a JSON value and tensors on the CPU. The others give
    None, and see nothing of each other's parts."""
    if parts is not None:
        for rank, (value, tensors) in enumerate(parts[1:], start=1):
            header = _header(value, tensors)
            for each in (torch.tensor([header.numel()]), header, *tensors.values()):
                if each.numel():
                    dist.send(_flat(each), rank)
        return parts[0][0], dict(parts[0][1])
    size = torch.zeros(1, dtype=torch.long)
    dist.recv(_flat(size), 0)
    header = torch.empty(int(size), dtype=torch.uint8)
    dist.recv(header, 0)
    value, found = _announced(header)
    for tensor in found.values():
        if tensor.numel():
            dist.recv(_flat(tensor), 0)
    return value, found


@contextmanager
def together() -> Generator[None]:
    """What is wrong on one rank is wrong on all: an error inside is raised everywhere, with the problems of all ranks.

    Nothing inside may speak to other ranks.
    """
    own: BurnishError | None = None
    try:
        yield
    except BurnishError as error:
        own = error
    problems = [] if own is None else [[each.where, each.found, each.mend] for each in own.problems]
    told = gathered([type(own).__name__, problems] if own else None)
    if failed := [each for each in told if each]:
        kinds = {kind.__name__: kind for kind in BurnishError.__subclasses__()}
        raise kinds[failed[0][0]](*(Problem(*parts) for _, found in failed for parts in found)) from own


@contextmanager
def partings() -> Generator[None]:
    """A process that went away is an error of the machine. torch says so by RuntimeErrors without a class of their own,
    so they are told by their words."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, BurnishError) or not _GONE.search(str(error)):
            raise
        told = str(error).partition("\n")[0][:200]
        found, mend = f"another process of this job has ended ({told})", "See what it said; the same command continues."
        raise MachineError(Problem("ranks", found, mend)) from error


def _header(value: Any, tensors: Mapping[str, Tensor]) -> Tensor:
    """A JSON value, and of the tensors that follow it names, types and shapes."""
    return _bytes(
        [value, [[name, str(each.dtype).removeprefix("torch."), list(each.shape)] for name, each in tensors.items()]]
    )


def _announced(header: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """The value, and room for the tensors."""
    value, stated = _value(header)
    return value, {name: torch.empty(shape, dtype=getattr(torch, kind)) for name, kind, shape in stated}


def _flat(tensor: Tensor) -> Tensor:
    """The bytes of a tensor: its own, where they lie in one piece."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def _bytes(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _value(data: Tensor) -> Any:
    return json.loads(bytes(data.tolist()))
