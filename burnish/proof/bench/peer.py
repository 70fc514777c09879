"""The other side: the same job done by TRL's trainers, or by transformers' own. Run as a program, with a job's file, a
trainer's name and its setting.

What is set is what the comparison fixes (rows of a step, their order, learning rate, betas, clipping) and what makes
the peer faster here: activations are not computed again, as TRL does by default for the cost of a forward pass; and the
setting, of which the best is found by trial. `packed` is TRL's padding-free batch, which its best-fit packing is
collated to as well; on a CPU attention gets it with a block mask. TRL has it for SFT alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from burnish.proof.bench.job import SEED, Item, Job, read_job
from burnish.proof.bench.settings import AUTOCAST, FP32, MICRO_ROWS, TRL, Setting
from burnish.proof.bench.turns import Ended, Step, Turns, peak_mb, settled, turns
from burnish.proof.bench.works import BETA, WORKS
from burnish.train.optim import OptimConfig


class Clock(TrainerCallback):
    """Holds a trainer between its steps. What is timed: fetching a batch, the passes, the update."""

    def __init__(self, told: Turns, useful: Callable[[int, dict[str, Any]], int]) -> None:
        """`useful`: tokens of a step, by its number from 0 and what the trainer logs of it."""
        self._turns = told
        self._useful = useful
        self._made = 0
        self._began = 0.0
        self._seconds = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._turns.ready()
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        settled()
        self._seconds = time.perf_counter() - self._began

    def on_log(self, *args: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        if "loss" in logs:
            tokens = self._useful(self._made, logs)
            self._made += 1
            self._turns.done(Step(seconds=self._seconds, tokens=tokens, loss=float(logs["loss"])))
            self._began = time.perf_counter()


def train(job: Job, library: str, setting: Setting, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory."""
    with tempfile.TemporaryDirectory() as folder, suppress(Ended):
        made = _make(job, library, setting, Path(folder))
        made.trainer.add_callback(Clock(told, lambda step, logs: job.useful(step)))
        rows: Any = [row for step in range(job.steps) for item in job.rows(step) for row in _rows(job.work, item)]
        loader = DataLoader(rows, made.micro_rows, shuffle=False, collate_fn=made.trainer.data_collator)
        fed = made.trainer.accelerator.prepare(loader)
        made.trainer.get_train_dataloader = lambda: fed  # in the job's order, and not tokenised again
        made.trainer.train()
    told.tell({"peak_mb": peak_mb()})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    trainer: Any
    micro_rows: int


def _rows(work: str, item: Item) -> Iterator[dict[str, list[int]]]:
    """What a collator is given of an item; a ranking is all of its pairs."""
    if not WORKS[work].answers:
        yield {"input_ids": item.ids, "labels": item.labels}
    for chosen, rejected in item.pairs():
        if WORKS[work].score:
            yield {"chosen_ids": item.ids + chosen, "rejected_ids": item.ids + rejected}
        else:
            yield {"prompt_ids": item.ids, "chosen_ids": chosen, "rejected_ids": rejected}


def _make(job: Job, library: str, setting: Setting, folder: Path) -> _Made:
    per_step = sum(1 for item in job.rows(0) for _ in _rows(job.work, item))
    parts = next(k for k in range(1, per_step + 1) if per_step % k == 0 and per_step // k <= MICRO_ROWS)
    shared = shared_arguments(WORKS[job.work].lr, job.steps, setting, folder, per_step // parts, parts)
    make = _trl if library == TRL else _plain
    return _Made(trainer=make(job, setting, shared), micro_rows=per_step // parts)


def shared_arguments(
    lr: float, steps: int, setting: Setting, folder: Path, micro_rows: int, parts: int
) -> dict[str, Any]:
    """Those that all trainers share; the optimiser's are the defaults of ours."""
    ours = OptimConfig(lr=lr, steps=steps)
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": micro_rows,
        "gradient_accumulation_steps": parts,
        "learning_rate": ours.lr,
        "lr_scheduler_type": "constant",
        "adam_beta1": ours.betas[0],
        "adam_beta2": ours.betas[1],
        "adam_epsilon": ours.eps,
        "weight_decay": ours.weight_decay,
        "max_grad_norm": ours.clip_norm,
        "bf16": setting.numbers == AUTOCAST,
        "use_cpu": not torch.cuda.is_available(),  # as ours
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "seed": SEED,
    }


def dtype(setting: Setting) -> str:
    return "float32" if setting.numbers in (FP32, AUTOCAST) else "bfloat16"


def _trl(job: Job, setting: Setting, arguments: dict[str, Any]) -> Any:
    """One of TRL's trainers. It prepares its data while it is made: it gets one row, which it never trains on."""
    trl: Any = import_module("trl")
    datasets: Any = import_module("datasets")
    work = WORKS[job.work]
    shared = {**arguments, "max_length": None, "model_init_kwargs": {"dtype": dtype(setting)}}
    if not work.answers:
        make, config = trl.SFTTrainer, trl.SFTConfig(**shared, padding_free=setting.packed)
        row: dict[str, Any] = {"input_ids": [0, 0], "labels": [0, 0]}
    elif work.score:
        make, config = trl.RewardTrainer, trl.RewardConfig(**shared)
        row = {"chosen_ids": [0], "rejected_ids": [0]}
    else:
        make, config = trl.DPOTrainer, trl.DPOConfig(**shared, beta=BETA)
        row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    adapter: Any = None
    if work.lora is not None:
        peft: Any = import_module("peft")
        adapter = peft.LoraConfig(
            r=work.lora.rank, lora_alpha=work.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    return make(
        model=job.model,
        args=config,
        train_dataset=datasets.Dataset.from_list([row]),
        processing_class=AutoTokenizer.from_pretrained(job.model),
        peft_config=adapter,
    )


def _plain(job: Job, setting: Setting, arguments: dict[str, Any]) -> Any:
    """transformers' own trainer, for SFT of all weights."""
    tokenizer: Any = AutoTokenizer.from_pretrained(job.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    rows: Any = []  # they come with the loader
    return Trainer(
        model=AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype(setting)),
        args=TrainingArguments(**arguments),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        train_dataset=rows,
    )


if __name__ == "__main__":
    with turns() as mine:
        train(read_job(Path(sys.argv[1])), sys.argv[2], Setting.named(sys.argv[3]), mine)
