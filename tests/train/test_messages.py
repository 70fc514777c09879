"""What ranks say to each other arrives to the bit, each has its share of a step, and an error of one is one of all."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from burnish.errors import MachineError
from burnish.train.messages import partings

PROGRAM = """
import math, sys
import torch
from burnish.errors import Problem, TrainingError
from burnish.train.messages import gathered, given as handed, join, leave, shared, together
from burnish.batches import Document, pack
from burnish.train.feeds import Work
from burnish.train.parallel import DataParallel, Sharded

rank = int(sys.argv[1])
join(sys.argv[2], rank, 2)
assert gathered([rank, 0.1 + rank, "ä" * rank]) == [[0, 0.1, ""], [1, 1.1, "ä"]]
assert math.isnan(gathered(math.nan)[1 - rank])
given = {"a": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16), "b": torch.arange(3), "c": torch.zeros(0, 2)}
value, found = shared({"n": 1} if rank == 0 else None, given if rank == 0 else None)
assert value == {"n": 1}
assert all(torch.equal(found[name], each) and found[name].dtype == each.dtype for name, each in given.items())
halves = [{"a": torch.full((2, 2), each + 0.5, dtype=torch.bfloat16), "b": torch.zeros(0)} for each in (0, 1)]
parts = [({"n": each}, half) for each, half in enumerate(halves)]
value, found = handed(None if rank else parts)
assert value == {"n": rank}
assert found["a"].tolist() == [[rank + 0.5] * 2] * 2 and found["a"].dtype is torch.bfloat16
assert found["b"].shape == (0,)
ranks = DataParallel()
assert ranks.sum({"a": 1.0} if rank else {"a": 2.0, "b": 5.0}) == {"a": 3.0, "b": 5.0}
one, none, own = (torch.zeros(2) for _ in range(3))
one.grad = torch.full((2,), 1.0 + rank)
own.grad = torch.full((2,), 7.0) if rank else None
ranks.add_gradients([one, none, own])
assert one.grad.tolist() == [3.0, 3.0] and none.grad is None and own.grad.tolist() == [7.0, 7.0]
class Given:
    def next(self, step):
        batches = [pack([Document(row=f"r{n}", ids=[n] * n, weights=[1.0] * n)]) for n in (2, 4, 3)]
        return Work(batches, {"seen": 1.0}, measured=batches[:1])

for ranks in (DataParallel(), Sharded()):
    work = ranks.feed(None if rank else Given()).next(0)
    assert [batch.rows for batch in work.batches] == ([("r3",), ("r2",)] if rank else [("r4",)])
    assert work.batches[0].ids_T.tolist() == ([3] * 3 if rank else [4] * 4)
    assert [batch.rows for batch in work.measured] == ([] if rank else [("r2",)])
    filled = [[batch.rows for batch in each] for each in (work.fillers, work.measured_fillers)]
    wanted = [[], [("r2",)]] if rank else [[("r2",)], []]
    assert filled == (wanted if isinstance(ranks, Sharded) else [[], []])
    held = ranks.once(None if rank else Given())
    assert [batch.rows for batch in held.batches] == [batch.rows for batch in work.batches]
    assert [len(held.fillers), len(held.measured)] == [len(work.fillers), len(work.measured)]
    assert ranks.once(None) is None
try:
    with together():
        if rank:
            raise TrainingError(Problem("step 3", "the loss is nan", "Look."))
except TrainingError as error:
    assert [each.where for each in error.problems] == ["step 3"]
else:
    raise AssertionError("the first rank went on")
with together():
    pass
leave()
"""


def test_two_processes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    others = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(rank), place]) for rank in range(2)]
    assert [other.wait(120) for other in others] == [0, 0]


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("NCCL error in: ProcessGroupNCCL.cpp:4, remote process exited or there was a network error", True),
        ("[Rank 0]: NCCL communicator was aborted on rank 0.", True),
        ("[../gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:1", True),
        (
            "NCCL error in: NCCLUtils.cpp:77, invalid usage (run with NCCL_DEBUG=WARN)\nncclInvalidUsage: two ranks",
            False,
        ),
        ("NCCL error: unhandled system error\nError while creating shared memory segment /dev/shm/nccl-x", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_only_a_process_that_went_away_is_told_as_one(said: str, gone: bool) -> None:
    with pytest.raises(MachineError if gone else RuntimeError) as caught, partings():
        raise RuntimeError(said)
    assert said.partition("\n")[0][:60] in str(caught.value)
    assert isinstance(caught.value, MachineError) is gone
