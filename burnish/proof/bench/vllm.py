"""The other side of sampling: vLLM, as stages have it. Run as a program, with a job's file, a name and a setting.

A step is all of the step's answers at once: vLLM decides how many it writes at a time.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from burnish.chat.tokenizer import Tokenizer
from burnish.models.arithmetic import settle
from burnish.models.load import load_trainable
from burnish.proof.bench.job import Job, read_job
from burnish.proof.bench.peer import dtype
from burnish.proof.bench.rollouts import sampled
from burnish.proof.bench.settings import Setting
from burnish.proof.bench.turns import Turns, turns
from burnish.rollout.vllm import VllmEngine

CACHE_GIB = 4.0


def answer(job: Job, setting: Setting, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory of vLLM's process."""
    settle()
    folder = Path(job.model)
    module = load_trainable(folder, dtype=getattr(torch, dtype(setting)))
    longest = max(len(item.ids) for item in job.items) + job.new_tokens
    engine = VllmEngine(module, Tokenizer.load(folder), longest=longest, cache_gib=CACHE_GIB)
    sampled(engine, job, told)
    engine.close()
    told.tell({"peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024})


if __name__ == "__main__":
    with turns() as mine:
        answer(read_job(Path(sys.argv[1])), Setting.named(sys.argv[3]), mine)
