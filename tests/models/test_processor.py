"""Threads within a container's quota, and number formats by their speed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from burnish.models import processor

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of control groups; this process is in /pod/container."""
    own = tmp_path / "own"
    own.write_text("0::/pod/container\n")
    monkeypatch.setattr(processor, "_OWN_GROUP", own)
    monkeypatch.setattr(processor, "_GROUPS", tmp_path)
    (tmp_path / "pod" / "container").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four threads, as if nobody had said how many; afterwards as many as before."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("pod", "container", "wanted"),
    [
        ("max 100000", "100000 100000", 1),
        ("50000 100000", "max 100000", 1),
        ("150000 100000", "800000 100000", min(2, ALL)),
        ("max 100000", "max 100000", ALL),
    ],
)
def test_the_tightest_quota_counts_and_half_a_core_is_one(groups: Path, pod: str, container: str, wanted: int) -> None:
    (groups / "pod" / "cpu.max").write_text(pod + "\n")
    (groups / "pod" / "container" / "cpu.max").write_text(container + "\n")
    assert processor.cores() == wanted


def test_threads_keep_within_the_quota(groups: Path, threads: None) -> None:
    (groups / "cpu.max").write_text("100000 100000\n")
    assert processor.limit_threads() == torch.get_num_threads() == 1


def test_what_the_user_says_stands(groups: Path, threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (groups / "cpu.max").write_text("100000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert processor.limit_threads() == 4


@pytest.mark.parametrize(("narrow", "gains"), [(1.0, True), (1.5, True), (1.6, False), (6.0, False)])
def test_the_faster_format_is_taken_where_it_is_clearly_faster(
    narrow: float, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds in fp32: 1.5 in bfloat16 is 1.33 times as fast, 1.6 is 1.25 times."""
    monkeypatch.setattr(processor, "_seconds", lambda dtype: narrow if dtype is torch.bfloat16 else 2.0)
    assert processor.gains_bfloat16.__wrapped__() is gains


@pytest.mark.parametrize(("said", "tiles"), [({"amx_bf16": True}, True), ({"amx_bf16": False}, False), ({}, False)])
def test_tiles_are_there_where_torch_says_so(
    said: dict[str, bool], tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: said, raising=False)
    assert processor.has_tiles.__wrapped__() is tiles


def test_a_torch_that_says_nothing_of_tiles_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert processor.has_tiles.__wrapped__() is False


def test_the_measure_takes_the_shortest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock readings before and after each product: 9 to warm up, then 5, 3, 4, 3, 8."""
    readings = iter([0, 9, 0, 5, 0, 3, 0, 4, 0, 3, 0, 8])
    monkeypatch.setattr(processor.time, "thread_time", lambda: next(readings))
    assert processor._seconds(torch.float32) == 3
