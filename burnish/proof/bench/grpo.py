"""The other side of a GRPO step: TRL's trainer. Run as a program, with a job's file, a name and a setting.

It samples as it does by default, with transformers' `generate`, all of a step's answers at once. Prompts are given as
token ids, the same as ours.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from burnish.proof.bench.job import Job, read_job
from burnish.proof.bench.peer import Clock, dtype, shared_arguments
from burnish.proof.bench.policies import KL, LR, worth
from burnish.proof.bench.settings import MICRO_ROWS, Setting
from burnish.proof.bench.turns import Ended, Turns, peak_mb, turns


def train(job: Job, setting: Setting, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory."""
    with tempfile.TemporaryDirectory() as folder, suppress(Ended):
        made = _trainer(job, setting, Path(folder))
        made.add_callback(Clock(told, lambda step, logs: round(logs["completions/mean_length"] * _answers(job))))
        made.train()
    told.tell({"peak_mb": peak_mb()})


def _answers(job: Job) -> int:
    return job.per_step * job.answers


def _trainer(job: Job, setting: Setting, folder: Path) -> Any:
    trl: Any = import_module("trl")
    datasets: Any = import_module("datasets")
    ids = {item.row: item.ids for item in job.items}
    micro_rows = min(MICRO_ROWS, _answers(job))
    config = trl.GRPOConfig(
        **shared_arguments(LR, job.steps, setting, folder, micro_rows, _answers(job) // micro_rows),
        num_generations=job.answers,
        max_completion_length=job.new_tokens,
        temperature=1.0,
        beta=KL,
        loss_type="grpo",
        shuffle_dataset=False,
        model_init_kwargs={"dtype": dtype(setting)},
    )
    rows = [{"prompt": item.row} for step in range(job.steps) for item in job.rows(step)]
    made = trl.GRPOTrainer(
        model=job.model,
        reward_funcs=_worth,
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job.model),
    )

    def tokenized(names: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [ids[name] for name in names], None, {}

    made._tokenize_prompts = tokenized
    return made


def _worth(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    return [worth(ids) for ids in completion_ids]


if __name__ == "__main__":
    with turns() as mine:
        train(read_job(Path(sys.argv[1])), Setting.named(sys.argv[3]), mine)
