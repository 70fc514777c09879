"""Ranks: how counts and metrics are added over the processes of one training job.

Today there is one process. The loop already asks here, so that adding ranks changes this file alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Ranks(Protocol):
    """The processes of a job."""

    size: int

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value added over all ranks."""
        ...


class Alone:
    """One process."""

    size = 1

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        return dict(values)
