"""What training writes, on a disk that refuses it: an error of the machine with its mend, and nothing half written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from disk import small_files
from tabular import Table

from burnish.batches import Document
from burnish.errors import MachineError
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import DatasetFeed
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.references import reference_logprobs

FEED = DatasetFeed(
    [Document(row=f"d{n}", ids=[0, n % 4], weights=[0, 1]) for n in range(2000)], per_step=2000, micro_tokens=64, seed=0
)


def test_a_checkpoint_that_the_disk_refuses_is_the_machine_s_fault(tmp_path: Path) -> None:
    optimizer = Optimizer(Table(torch.full((40, 40), 1 / 40)), OptimConfig(lr=0.1, steps=1))
    with small_files(4096), pytest.raises(MachineError, match=r"step-00000000: cannot be written .* it continues\."):
        Checkpoints(tmp_path).save(0, optimizer, FEED)
    assert os.listdir(tmp_path) == []


def test_so_is_what_a_reference_said(tmp_path: Path) -> None:
    with small_files(4096), pytest.raises(MachineError, match=r"steps-.*: cannot be written .* it continues\."):
        reference_logprobs(Table(torch.full((4, 4), 1 / 4)), FEED, tmp_path, save_every=1)
    assert os.listdir(tmp_path) == []
