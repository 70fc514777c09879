"""vLLM in the engine's place: the same answers by the same weights, after every update; and what is told without it.

`make vllm` runs all of them, in an environment that has vLLM for CPUs.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import Gemma2Config, MixtralConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig

from burnish.chat.tokenizer import Tokenizer
from burnish.errors import ConfigError, DataError, MachineError, ModelError
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, adapted
from burnish.models.tiny import write_random, write_tiny
from burnish.pipeline.critic_free import Grpo, ImportanceSampling
from burnish.pipeline.objectives import policy_gradient
from burnish.pipeline.preflight import check_files
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.reinforcement import Vllm
from burnish.rollout import vllm
from burnish.rollout.engine import Engine, Sampled
from burnish.rollout.vllm import VllmEngine
from burnish.types import Sampling, Stop

installed = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make vllm")
warned = pytest.mark.filterwarnings("ignore")  # vLLM's own, of torch
PROMPTS = [(20, 21, 22), tuple(range(30, 75)), (20, 21, 22, 23), (90,)]
GREEDY = Sampling(temperature=0, max_new_tokens=24)


class Policy:
    """A module, vLLM's copy of it, and our own engine over it."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.module = load_trainable(folder, dtype=dtype)
        adapt(self.module, LoraConfig(rank=2, alpha=8), seed=1)
        tokenizer = Tokenizer.load(folder)
        self.end_id = tokenizer.end_id
        self.own = Engine(self.module, end_ids=[self.end_id])
        self.vllm = VllmEngine(self.module, tokenizer, longest=128, cache_gib=0.25)

    def updated(self, change: Callable[[str, torch.Tensor], None]) -> None:
        with torch.no_grad():
            for name, weight in self.module.named_parameters():
                change(name, weight)
        self.vllm.version += 1


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policy]:
    made = Policy(write_tiny(tmp_path_factory.mktemp("vllm") / "model", width=128))
    yield made
    made.vllm.close()


def widen(name: str, weight: torch.Tensor) -> None:
    """Every weight a little larger: embeddings, and the LM head that is the same tensor, among them."""
    weight.mul_(1.02)


def learn_adapter(name: str, weight: torch.Tensor) -> None:
    if name.endswith("lora_B"):
        weight.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))


def agree(policy: Policy) -> None:
    """Greedy answers are the same, to their log-probabilities."""
    own, other = policy.own.generate(PROMPTS, GREEDY), policy.vllm.generate(PROMPTS, GREEDY)
    assert [row[0].ids for row in other] == [row[0].ids for row in own]
    for mine, its in zip(own, other, strict=True):
        assert its[0].logprobs == pytest.approx(mine[0].logprobs, abs=1e-4)
        assert its[0].stop is mine[0].stop
        assert its[0].version == policy.vllm.version


@installed
@warned
def test_it_answers_as_our_engine_does_after_every_update(policy: Policy) -> None:
    assert adapted(policy.module.backbone)
    agree(policy)
    before = policy.vllm.generate(PROMPTS, GREEDY)
    for change in (learn_adapter, widen, widen):
        policy.updated(change)
        agree(policy)
    after = policy.vllm.generate(PROMPTS, GREEDY)
    assert [row[0].ids for row in before] != [row[0].ids for row in after], "the updates changed what is said"


@installed
@warned
def test_older_weights_speak_until_the_version_changes(policy: Policy) -> None:
    """So that the test before this one would fail without an update."""
    before = policy.vllm.generate(PROMPTS, GREEDY)
    with torch.no_grad():
        for weight in policy.module.parameters():
            weight.mul_(0.9)
    assert policy.vllm.generate(PROMPTS, GREEDY) == before
    policy.vllm.version += 1
    agree(policy)


@installed
@warned
def test_answers_depend_on_seed_prompt_and_number_alone(policy: Policy) -> None:
    sampling = Sampling(max_new_tokens=12, seed=4)
    rows = policy.vllm.generate(PROMPTS, sampling, 3)
    assert len({answer.ids for row in rows for answer in row}) == 12
    turned = policy.vllm.generate(PROMPTS[::-1], sampling, 2)[::-1]
    assert [[answer.ids for answer in row[:2]] for row in rows] == [[answer.ids for answer in row] for row in turned]
    seeded = policy.vllm.generate(PROMPTS[:2], Sampling(max_new_tokens=12), 3, seeds=[4, 5])
    assert [answer.ids for answer in seeded[0]] == [answer.ids for answer in rows[0]]
    assert [answer.ids for answer in seeded[1]] != [answer.ids for answer in rows[1]]


@installed
@warned
def test_more_prompts_than_one_pass_takes(policy: Policy) -> None:
    """vLLM for CPUs ends where it would read a prompt in two parts for a request that has a seed."""
    prompts = [(number, *range(30, 130)) for number in range(100)]
    rows = policy.vllm.generate(prompts, Sampling(max_new_tokens=4, seed=2), 2)
    assert [len(row) for row in rows] == [2] * 100


@installed
@warned
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_new_tokens=1),
        Sampling(max_new_tokens=1, temperature=0.6, top_k=20),
        Sampling(max_new_tokens=1, temperature=1.5, top_p=0.7, repetition_penalty=1.3),
    ],
)
def test_it_draws_from_the_distribution_that_we_draw_from(policy: Policy, sampling: Sampling) -> None:
    """The log-probabilities of the two are of one distribution, and vLLM's tokens are drawn from it."""
    prompt, count = PROMPTS[0], 2000
    mine = {a.ids[0]: a.logprobs[0] for a in policy.own.generate([prompt], sampling, count)[0]}
    drawn = policy.vllm.generate([prompt], sampling, count)[0]
    said = {answer.ids[0]: answer.logprobs[0] for answer in drawn}
    both = mine.keys() & said.keys()
    assert len(both) > 10
    assert [said[token] for token in both] == pytest.approx([mine[token] for token in both], abs=1e-4)
    expected = {token: count * math.exp(logprob) for token, logprob in (mine | said).items()}
    counted = Counter(answer.ids[0] for answer in drawn)
    often = [token for token, wanted in expected.items() if wanted >= 5]
    found = [*(counted[token] for token in often), count - sum(counted[token] for token in often)]
    wanted = [*(expected[token] for token in often), count - sum(expected[token] for token in often)]
    kept = [i for i, each in enumerate(wanted) if each >= 1]
    scale = sum(found[i] for i in kept) / sum(wanted[i] for i in kept)
    assert chisquare([found[i] for i in kept], [scale * wanted[i] for i in kept]).pvalue > 1e-4


@installed
@warned
def test_the_end_token_and_stop_strings_end_answers(policy: Policy) -> None:
    free = policy.vllm.generate([PROMPTS[0]], Sampling(max_new_tokens=100, seed=9), 64)[0]
    ended = [answer for answer in free if answer.stop is Stop.EOS]
    assert ended
    assert len(ended) < 64
    assert all(answer.ids[-1] == policy.end_id and policy.end_id not in answer.ids[:-1] for answer in ended)
    assert all(len(a.ids) == 100 and policy.end_id not in a.ids for a in free if a.stop is Stop.LENGTH)
    letter = next(token for token in free[0].ids[3:] if token not in free[0].ids[:3] and token < 256)
    stopped = policy.vllm.generate(
        [PROMPTS[0]],
        Sampling(max_new_tokens=100, seed=9, stop=("\x00never",)),
        1,
        stopped=lambda ids: letter in ids,
    )[0][0]
    assert stopped.ids == free[0].ids[: free[0].ids.index(letter) + 1]
    assert stopped.stop is Stop.STRING
    assert len(stopped.logprobs) == len(stopped.ids)


@installed
@warned
def test_what_cannot_be_asked_is_refused(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        policy.vllm.generate(PROMPTS, Sampling(temperature=-1))
    with pytest.raises(DataError, match="prompt 1: it has no token"):
        policy.vllm.generate([(1,), ()], GREEDY)
    with pytest.raises(DataError, match="the model's context is 2048"):
        policy.vllm.generate([(1,) * 2040], GREEDY)


@installed
@warned
def test_logits_that_are_not_finite_are_told_and_a_process_that_was_killed(tmp_path: Path) -> None:
    """vLLM itself would give answers to the one, and wait without end for the other."""
    policy = Policy(write_tiny(tmp_path / "model", width=128))
    policy.updated(lambda name, weight: weight.mul_(float("nan")) if name.endswith("norm.weight") else None)
    with pytest.raises(ModelError, match="logits are not finite"):
        policy.vllm.generate(PROMPTS, GREEDY)
    (core,) = policy.vllm._processes
    os.kill(core.pid or 0, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(MachineError, match="its process has ended"):
        policy.vllm.generate(PROMPTS[:1], GREEDY)
    assert time.monotonic() - began < 30
    policy.vllm.close()
    assert core not in active_children()


SHAPE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


@installed
@warned
@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SHAPE, tie_word_embeddings=False),
        Qwen3Config(**SHAPE, tie_word_embeddings=True),
        # The cap of its attention is another in vLLM's kernel for CPUs.
        Gemma2Config(**SHAPE, query_pre_attn_scalar=32, final_logit_softcapping=5.0, attn_logit_softcapping=None),
        MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2),
        Qwen3MoeConfig(**SHAPE, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, mlp_only_layers=[0]),
    ],
    ids=lambda config: config.model_type,
)
def test_other_families_take_their_weights(tmp_path: Path, config: Any) -> None:
    """A head of its own, norms of heads, a soft cap of logits, experts: by names that vLLM reads, at the start and
    after."""
    policy = Policy(write_random(tmp_path / "model", config))
    agree(policy)
    policy.updated(learn_adapter)
    agree(policy)
    policy.updated(widen)
    agree(policy)
    policy.vllm.close()


TRAINER = """
import sys
from pathlib import Path
import torch
from burnish.chat.tokenizer import Tokenizer
from burnish.models.load import load_trainable
from burnish.rollout.vllm import VllmEngine
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    engine = VllmEngine(load_trainable(folder, dtype=torch.float32), Tokenizer.load(folder), longest=64, cache_gib=0.1)
    print(*(process.pid for process in engine._processes), flush=True)
    sys.stdin.read()
"""


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@installed
def test_it_does_not_outlive_a_trainer_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text(TRAINER)
    command = [sys.executable, tmp_path / "trainer.py", write_tiny(tmp_path / "model", width=128)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        core = next(int(line) for line in trainer.stdout if line.strip().isdecimal())
        assert runs(core)
        trainer.kill()
    until = time.monotonic() + 60
    while runs(core):
        assert time.monotonic() < until, "vLLM's process is still there"
        time.sleep(0.5)


@installed
@warned
def test_what_keeps_it_from_starting_is_told(tmp_path: Path) -> None:
    others = active_children()
    folder = write_tiny(tmp_path / "model", width=128)
    module = load_trainable(folder, dtype=torch.float32)
    with pytest.raises(
        MachineError, match=r"it did not start .*Set cache_gib higher where it says so.*or leave vllm out"
    ):
        VllmEngine(module, Tokenizer.load(folder), longest=2048, cache_gib=1e-6)
    assert active_children() == others


class Scripted:
    """What vLLM gives, without vLLM: it says what it was told to, and remembers what it was asked."""

    class Dead(Exception):
        pass

    device = "cpu"

    def __init__(self, *said: tuple[Sequence[int], str]) -> None:
        self.said = said
        self.folders: list[Path] = []
        self.calls: list[str] = []
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=lambda: self.calls.append("shutdown")))

    def LLM(self, model: str, **settings: Any) -> Scripted:
        self.settings = settings
        self.calls.append("start")
        self.read(model)
        return self

    def read(self, folder: str) -> None:
        self.folders.append(Path(folder))
        assert (self.folders[-1] / "model.safetensors").is_file()

    def SamplingParams(self, **settings: Any) -> dict[str, Any]:
        return settings

    def generate(self, prompts: list[Any], params: list[Any], use_tqdm: bool) -> list[Any]:
        self.calls.append("generate")
        self.params = params
        return [SimpleNamespace(outputs=[answered(ids, reason)]) for ids, reason in self.said]

    def collective_rpc(self, method: str, args: tuple[Any, ...]) -> None:
        self.calls.append(method)
        if method == "receive":
            self.read(*args)

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset")
        return True


def answered(ids: Sequence[int], reason: str) -> Any:
    logprobs = [{token: SimpleNamespace(logprob=-0.5 - place)} for place, token in enumerate(ids)]
    return SimpleNamespace(token_ids=list(ids), logprobs=logprobs, finish_reason=reason)


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Trainable, Tokenizer]:
    folder = write_tiny(tmp_path / "model")
    return load_trainable(folder, dtype=torch.float32), Tokenizer.load(folder)


def beside(script: Scripted, tiny: tuple[Trainable, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> VllmEngine:
    found = {
        "vllm": script,
        "vllm.v1.engine.exceptions": SimpleNamespace(EngineDeadError=Scripted.Dead),
        "vllm.platforms": SimpleNamespace(current_platform=SimpleNamespace(device_type=script.device)),
    }
    monkeypatch.setattr(vllm, "import_module", found.__getitem__)
    for name in vllm.ENVIRONMENT:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return VllmEngine(*tiny, longest=64, cache_gib=0.5)


def test_weights_are_written_once_a_version_and_left_nowhere(
    tiny: tuple[Trainable, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Scripted(([1, 2], "length"))
    engine = beside(script, tiny, monkeypatch)
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1", "nothing is reported to anybody"
    assert not script.settings["trust_remote_code"]
    for version in (0, 0, 3, 3, 0):
        engine.version = version
        assert engine.generate([(5,)], Sampling(max_new_tokens=2))[0][0].version == version
        assert not any(folder.exists() for folder in script.folders)
    begun, update = ["start", "end_with"], ["receive", "reset"]
    assert script.calls == [*begun, "generate", "generate", *update, "generate", "generate", *update, "generate"]
    assert len(script.folders) == 3
    engine.close()
    assert script.calls[-1] == "shutdown"


@pytest.mark.parametrize(
    ("ids", "reason", "stopped", "kept", "stop"),
    [
        ((1, 2, 3), "length", None, 3, Stop.LENGTH),
        ((1, 2, 258), "stop", None, 3, Stop.EOS),
        ((1, 2, 258), "stop", 9, 3, Stop.EOS),
        ((1, 2, 3), "stop", 3, 3, Stop.STRING),
        ((1, 2, 3, 4), "stop", 2, 2, Stop.STRING),  # vLLM saw it two tokens later
        ((1, 2, 258), "stop", 2, 2, Stop.STRING),
        ((1, 2, 258), "stop", 258, 3, Stop.EOS),
        ((1, 2, 3), "stop", 9, 3, Stop.STRING),  # vLLM read a string that we do not
    ],
)
def test_how_an_answer_ended(
    tiny: tuple[Trainable, Tokenizer],
    monkeypatch: pytest.MonkeyPatch,
    ids: tuple[int, ...],
    reason: str,
    stopped: int | None,
    kept: int,
    stop: Stop,
) -> None:
    assert tiny[1].end_id == 258
    engine = beside(Scripted((ids, reason)), tiny, monkeypatch)
    sampling = Sampling(stop=("x",) if stopped else ())
    (found,) = engine.generate([(5,)], sampling, stopped=(lambda ids: stopped in ids) if stopped else None)[0]
    logprobs = (-0.5, -1.5, -2.5, -3.5)[:kept]
    assert found == Sampled(ids=ids[:kept], logprobs=logprobs, stop=stop, version=0)
    engine.close()


def test_requests_carry_all_that_a_sampling_says(
    tiny: tuple[Trainable, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Scripted(*[((1,), "length")] * 4)
    engine = beside(script, tiny, monkeypatch)
    sampling = Sampling(temperature=0.7, top_k=5, top_p=0.9, min_p=0.1, repetition_penalty=1.1, max_new_tokens=6)
    rows = engine.generate([(5,), (6,)], sampling, 2, seeds=[1, 1])
    assert [len(row) for row in rows] == [2, 2]
    (first, *others) = script.params
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_tokens")
    assert [first[name] for name in names] == [0.7, 5, 0.9, 0.1, 1.1, 6]
    assert (first["stop_token_ids"], first["ignore_eos"], first["logprobs"]) == ([258], True, 0)
    assert (first["stop"], first["detokenize"]) == ([], False)
    assert len({first["seed"], *(each["seed"] for each in others)}) == 4, "each answer has a seed of its own"
    assert all(0 <= each["seed"] < 2**63 for each in script.params)
    engine.close()


def test_stop_strings_are_vllms_to_look_for(tiny: tuple[Trainable, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(((1,), "length"))
    engine = beside(script, tiny, monkeypatch)
    engine.generate([(5,)], Sampling(stop=("a", "b")), stopped=lambda ids: False)
    (asked,) = script.params
    assert (asked["stop"], asked["include_stop_str_in_output"], asked["detokenize"]) == (["a", "b"], True, True)
    engine.close()


def test_one_that_is_built_for_another_device_is_refused(
    tiny: tuple[Trainable, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Scripted()
    script.device = "cuda"
    with pytest.raises(MachineError, match="computes on cuda, and the policy on cpu"):
        beside(script, tiny, monkeypatch)
    assert script.calls == []


def test_weights_that_are_not_taken_are_told(
    tiny: tuple[Trainable, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Scripted(((1,), "length"))
    engine = beside(script, tiny, monkeypatch)

    def refuse(method: str, args: tuple[Any, ...]) -> None:
        raise Exception(f"Call to {method} method failed: CUDA out of memory")

    monkeypatch.setattr(script, "collective_rpc", refuse)
    engine.version = 1
    with pytest.raises(MachineError, match=r"it did not take weights .*out of memory.* Set cache_gib lower"):
        engine.generate([(5,)], GREEDY)
    assert not list(vllm.MEMORY.glob(f"burnish-vllm-{os.getpid()}-*"))


def test_what_a_killed_process_left_is_removed(
    tiny: tuple[Trainable, Tokenizer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vllm, "MEMORY", tmp_path)
    for process in (2**22 + 1, os.getpid()):
        (tmp_path / f"burnish-vllm-{process}-x").mkdir()
        (tmp_path / f"burnish-vllm-{process}-x" / "model.safetensors").write_bytes(b"x")
    beside(Scripted(), tiny, monkeypatch).close()
    assert [path.name for path in tmp_path.glob("burnish*")] == [f"burnish-vllm-{os.getpid()}-x"]


def test_where_it_is_not_installed_a_recipe_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("burnish.pipeline.reinforcement.find_spec", lambda name: None)
    recipe = Recipe(name="t", model="m", grpo=Grpo(prompts="prompts.jsonl", vllm=Vllm()))
    with pytest.raises(MachineError, match=r"grpo\.vllm: needs the package vllm\. docs/guide/machines\.md"):
        check_files(recipe, tmp_path, ["grpo"])


def test_answers_of_another_engine_are_weighed() -> None:
    assert Grpo().weighing is None
    assert Grpo(vllm=Vllm()).weighing == ImportanceSampling(level="token", rule="truncate", most=2.0)
    own = ImportanceSampling(level="answer")
    assert Grpo(vllm=Vllm(), importance_sampling=own).weighing == own
    assert policy_gradient(Grpo())._correction is None
    assert policy_gradient(Grpo(vllm=Vllm()))._correction is not None
