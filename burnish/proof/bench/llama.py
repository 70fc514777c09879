"""The other side of sampling: llama.cpp, through llama-cpp-python. Run as a program, with a job's file, a name and a
setting. It reads GGUF files alone: the model's own, its weights unpacked to bfloat16 by llama.cpp.

A step is one batch of the setting's size, of the step's first prompts, each read once. Answers are the likeliest tokens
and all of the full length: drawing them would take it longer than that, so the comparison is in its favour.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from ctypes import byref
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from burnish.models.arithmetic import threads
from burnish.models.sources import gguf_file
from burnish.proof.bench.job import Job, read_job
from burnish.proof.bench.settings import Setting
from burnish.proof.bench.turns import Ended, Step, Turns, peak_mb, turns
from burnish.types import Silent

READ_AT_ONCE = 2048
"""Tokens of prompts in one call."""
Entry = tuple[int, int, int, bool]
"""A token, its position, its sequence, and whether the next one is asked for."""


def answer(job: Job, setting: Setting, told: Turns) -> None:
    """Steps as they are asked for; at the end, peak memory."""
    llama: Any = import_module("llama_cpp")
    with tempfile.TemporaryDirectory() as folder, suppress(Ended):
        model = _Model(llama, job, setting.batch, Path(folder) / "model.gguf")
        told.ready()
        for step in range(job.steps):
            prompts = [item.ids for item in job.rows(step)][: setting.batch // job.answers]
            began = time.perf_counter()
            model.answer(prompts, job)
            tokens = len(prompts) * job.answers * job.new_tokens
            told.done(Step(seconds=time.perf_counter() - began, tokens=tokens))
    told.tell({"peak_mb": peak_mb()})


class _Model:
    """A model in memory, with room for so many sequences."""

    def __init__(self, llama: Any, job: Job, sequences: int, file: Path) -> None:
        self._llama = llama
        llama.llama_backend_init()
        unpacking = llama.llama_model_quantize_default_params()
        unpacking.ftype, unpacking.allow_requantize, unpacking.nthread = llama.LLAMA_FTYPE_MOSTLY_BF16, True, threads()
        with gguf_file(job.source, Path(), Silent()) as source:
            failed = llama.llama_model_quantize(str(source).encode(), str(file).encode(), byref(unpacking))
        assert not failed, "llama.cpp cannot unpack this file"
        self._model = llama.llama_model_load_from_file(str(file).encode(), llama.llama_model_default_params())
        longest = max(len(item.ids) for item in job.items) + job.new_tokens
        room = llama.llama_context_default_params()
        room.n_ctx, room.n_seq_max, room.n_batch = sequences * longest, sequences, max(READ_AT_ONCE, longest)
        room.n_threads = room.n_threads_batch = threads()
        room.kv_unified = False  # else every sequence would walk through the keys of all
        self._context = llama.llama_init_from_model(self._model, room)
        self._vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        self._batch = llama.llama_batch_init(room.n_batch, 0, 1)

    def answer(self, prompts: Sequence[Sequence[int]], job: Job) -> None:
        """All answers to the prompts, each prompt read once."""
        memory = self._llama.llama_get_memory(self._context)
        self._llama.llama_memory_clear(memory, True)
        first = self._read(prompts, job.answers)
        for number in range(len(prompts)):
            own = number * job.answers
            for other in range(own + 1, own + job.answers):
                self._llama.llama_memory_seq_cp(memory, own, other, -1, -1)
        ids = np.repeat(first, job.answers).tolist()
        starts = np.repeat([len(prompt) for prompt in prompts], job.answers).tolist()
        for said in range(job.new_tokens - 1):
            ids = self._next(
                [(token, start + said, row, True) for row, (token, start) in enumerate(zip(ids, starts, strict=True))]
            )

    def _read(self, prompts: Sequence[Sequence[int]], answers: int) -> list[int]:
        """The first token of each prompt's answer."""
        found: list[int] = []
        waiting: list[Entry] = []
        for number, prompt in enumerate(prompts):
            if len(waiting) + len(prompt) > READ_AT_ONCE and waiting:
                found += self._next(waiting)
                waiting = []
            last = len(prompt) - 1
            waiting += [(token, place, number * answers, place == last) for place, token in enumerate(prompt)]
        return found + self._next(waiting)

    def _next(self, entries: Sequence[Entry]) -> list[int]:
        """The likeliest tokens to follow, of those entries that ask."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for place, (token, position, sequence, asked) in enumerate(entries):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, sequence, asked
        failed = self._llama.llama_decode(self._context, batch)
        assert not failed, failed
        count = sum(asked for *_, asked in entries)
        logits = self._llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (count, self._vocabulary)).argmax(-1).tolist()


if __name__ == "__main__":
    with turns() as mine:
        answer(read_job(Path(sys.argv[1])), Setting.named(sys.argv[3]), mine)
