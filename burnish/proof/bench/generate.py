"""The other side of sampling: transformers' `generate`. Run as a program, with a job's file, a name and a setting.

A step is one batch of the setting's size, of the step's first prompts: with more, `generate` would do the same again,
and tokens a second are what is compared.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from burnish.models.arithmetic import choose, device
from burnish.proof.bench.job import Job, read_job
from burnish.proof.bench.peer import dtype
from burnish.proof.bench.settings import Setting
from burnish.proof.bench.turns import Ended, Step, Turns, peak_mb, turns


def answer(job: Job, setting: Setting, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory."""
    tokenizer: Any = AutoTokenizer.from_pretrained(job.model)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    choose("auto")
    model: Any = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype(setting))
    model.to(device()).eval()
    with suppress(Ended):
        told.ready()
        for step in range(job.steps):
            prompts = [item.ids for item in job.rows(step)][: setting.batch // job.answers]
            torch.manual_seed(step)
            began = time.perf_counter()
            tokens = _answered(model, prompts, job, pad)
            told.done(Step(seconds=time.perf_counter() - began, tokens=tokens))
    told.tell({"peak_mb": peak_mb()})


def _answered(model: Any, prompts: list[list[int]], job: Job, pad: int) -> int:
    """Tokens of the answers, each up to its end."""
    longest = max(map(len, prompts))
    padded = torch.tensor([[pad] * (longest - len(ids)) + ids for ids in prompts])
    seen = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
    said = model.generate(
        input_ids=padded.to(device()),
        attention_mask=seen.to(device()),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=job.new_tokens,
        num_return_sequences=job.answers,
        pad_token_id=pad,
    )[:, longest:].cpu()
    ends = model.generation_config.eos_token_id
    is_end = torch.isin(said, torch.tensor(ends if isinstance(ends, list) else [ends]))
    return int((is_end.cumsum(1) - is_end.long() == 0).sum())


if __name__ == "__main__":
    with turns() as mine:
        answer(read_job(Path(sys.argv[1])), Setting.named(sys.argv[3]), mine)
