"""The machine and the software that a run stood on. Reads versions from installed packages; imports none of them."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from burnish import __version__

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "SQLAlchemy", "pydantic", "gguf")
"""Those that can change a number of a run."""


def environment() -> dict[str, Any]:
    """Versions, processor, cores and threads: what must be equal for a run to repeat itself bit by bit."""
    return {
        "burnish": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_allowed": _allowed(),
        "threads": os.environ.get("OMP_NUM_THREADS", "one a core"),
        "memory_gib": _memory(),
        "gpus": _gpus(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _allowed() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory() -> float | None:
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    total = [line.split()[1] for line in lines if line.startswith("MemTotal:")]
    return round(int(total[0]) / 2**20, 1) if total else None


def _gpus() -> list[str]:
    """Model, memory and driver of each GPU, as NVIDIA's own program says them; none where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs is no reason to hang with it
        return []
    return said.stdout.splitlines() if said.returncode == 0 else []
