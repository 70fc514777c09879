"""What is computed elsewhere is what is computed here: on a second device that every machine has, and on a GPU where
there is one. On the second device a tensor that was left behind is an error.

The tiny model's heads are 8 wide, which FlexAttention's compiled kernel does not take: on a GPU these tests go document
by document, and tests/models/test_flex.py has the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from elsewhere import NAME, elsewhere

from burnish.batches import Document, pack
from burnish.chat.tokenizer import Tokenizer
from burnish.models import arithmetic
from burnish.models.critic import WithCritic, critic_of
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, save_trainable
from burnish.models.lora import LoraConfig, adapt, merge
from burnish.models.probe import one_at_a_time
from burnish.proof.law import Law
from burnish.proof.laws import LAWS
from burnish.proof.methods import FULL, LORA, METHODS
from burnish.proof.subject import Subject
from burnish.rollout.engine import Engine
from burnish.runs import MetricsLog
from burnish.train.averages import Averages
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import DatasetFeed
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Sft
from burnish.train.optim import OptimConfig, Optimizer
from burnish.train.rollouts import full_kl
from burnish.train.validation import Validation
from burnish.types import Sampling

NO_GPU = "needs an NVIDIA GPU"
TREES = [
    Document(row="branched", ids=[1, 2, 3, 4, 5], branches=[[6, 7, 8], [9, 10]]),
    Document(row="plain", ids=[3, 1, 4, 1, 5, 9], weights=[1.0] * 6),
]
ON_GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU))


@pytest.fixture(params=[NAME, ON_GPU])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The other device, chosen for this process."""
    if request.param == NAME:
        with elsewhere(monkeypatch):
            yield NAME
    else:
        monkeypatch.setitem(arithmetic._chosen, "device", torch.device("cuda"))
        yield "cuda"


def moved(module: Trainable, there: str) -> Trainable:
    return deepcopy(module).to(there)


@pytest.fixture
def here(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Trainable:
    monkeypatch.setitem(arithmetic._chosen, "device", torch.device("cpu"))
    torch.manual_seed(3)
    return load_trainable(tiny, dtype=torch.float32, value=True, score=True)


@pytest.mark.parametrize(("method", "way"), [*((name, FULL) for name in METHODS), ("ppo", LORA)])
def test_every_method_makes_the_same_step(subject: Subject, method: str, way: str, there: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(arithmetic._chosen, "device", torch.device("cpu"))
        trial = subject.trial(method, way)
    batches = [trial.batch(trial.documents[:1]), trial.batch(trial.documents[1:])]
    wanted, found = trial.step(*batches), replace(trial, module=moved(trial.module, there)).step(*batches)
    apart = replace(found, gradient=found.gradient.cpu()).apart(wanted)
    assert apart["loss"] < 1e-5
    assert apart["gradient"] < 1e-4


def once(law: Law) -> bool:
    """The laws of methods are the same measures for each of them, whose steps are compared above: one is enough."""
    method = re.split("[:,]", law.name)[0]
    return method not in METHODS or method == "ppo"


@pytest.mark.parametrize("law", [law for law in LAWS if once(law)], ids=lambda law: law.name)
def test_every_law_of_the_doctor_holds(law: Law, subject: Subject, there: str) -> None:
    assert [finding for finding in law.tried(subject) if not finding.passed] == []
    assert subject.module().device.type == there


def test_what_a_forward_pass_gives_lies_on_the_cpu(here: Trainable, there: str) -> None:
    module, batch = moved(here, there), pack(TREES)
    with torch.no_grad():
        wanted, found = here(batch), module(batch)
        assert module.device.type == there
        assert module.hidden(batch).device.type == there
        for name in ("logprobs_N", "values_N", "scores_B"):
            ours = getattr(found, name)
            assert ours.device.type == "cpu"
            torch.testing.assert_close(ours, getattr(wanted, name), atol=1e-4, rtol=1e-4)
        assert full_kl(found, found).tolist() == [0.0] * batch.target_N.numel()


def test_one_sequence_at_a_time(here: Trainable, there: str) -> None:
    module, batch = moved(here, there), pack(TREES)
    with torch.no_grad(), one_at_a_time(module):
        torch.testing.assert_close(module(batch).logprobs_N, here(batch).logprobs_N, atol=1e-4, rtol=1e-4)


def test_a_critic_of_its_own(here: Trainable, there: str) -> None:
    policy, reward = moved(here, there), moved(here, there)
    with torch.no_grad():
        found = WithCritic(policy, critic_of(reward, 0.5, 2.0))(pack(TREES)).values_N
        wanted = WithCritic(here, critic_of(deepcopy(here), 0.5, 2.0))(pack(TREES)).values_N
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_answers_are_the_same(here: Trainable, there: str) -> None:
    prompts, sampling = [[1, 2, 3, 4] * 3, [1, 2, 3], [7]], Sampling(temperature=1.0, max_new_tokens=6, seed=1)
    wanted, found = (Engine(each, end_ids=[0]).generate(prompts, sampling, n=2) for each in (here, moved(here, there)))
    assert [[answer.ids for answer in row] for row in found] == [[answer.ids for answer in row] for row in wanted]


class Run:
    """A run with everything that remembers: masters, moments, an average, evaluations, checkpoints."""

    def __init__(self, tiny: Path, folder: Path) -> None:
        documents = [replace(TREES[1], row=f"{n}", ids=[n, *TREES[1].ids[1:]]) for n in range(1, 7)]
        self.module = load_trainable(tiny, dtype=torch.bfloat16)
        self.optimizer = Optimizer(self.module, OptimConfig(lr=1e-2, steps=4, schedule="constant"))
        self.folder = folder
        self.feed = DatasetFeed(documents[:4], per_step=2, micro_tokens=8, seed=5)
        self.held = DatasetFeed(documents[4:], per_step=2, micro_tokens=8, seed=5).next(0)

    def fit(self, steps: int) -> dict[str, torch.Tensor]:
        fit(
            self.module,
            self.feed,
            Sft(),
            self.optimizer,
            FitConfig(steps=steps, seed=1, save_every=2),
            log=MetricsLog(self.folder / "metrics.jsonl"),
            checkpoints=Checkpoints(self.folder / "checkpoints"),
            averages=Averages(self.optimizer, ema=0.5, start=0.1),
            validation=Validation(self.held, every=2, keep_best=True),
        )
        return {name: tensor.detach().cpu() for name, tensor in self.module.state_dict().items()}


def test_a_resumed_run_equals_an_uninterrupted_one(tiny: Path, tmp_path: Path, there: str) -> None:
    run = Run(tiny, tmp_path / "straight")
    assert {weight.device.type for weight in run.module.parameters()} == {there}
    begun = {name: tensor.cpu() for name, tensor in run.module.state_dict().items()}
    wanted = run.fit(4)
    Run(tiny, tmp_path / "cut").fit(3)  # saved after 2
    found = Run(tiny, tmp_path / "cut").fit(4)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert not all(torch.equal(begun[name], wanted[name]) for name in wanted)


def test_a_merged_adapter_is_saved_whole(tiny: Path, tmp_path: Path, here: Trainable, there: str) -> None:
    for module in (here, away := moved(here, there)):
        adapt(module, LoraConfig(rank=2, alpha=4), seed=3)
        with torch.no_grad():
            for name, weight in module.named_parameters():
                if name.endswith("lora_B"):
                    weight.fill_(0.1)
        merge(module)
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder, module in zip(folders, (here, away), strict=True):
        folder.mkdir()
        save_trainable(module, folder, Tokenizer.load(tiny), dtype=torch.float32)
    ours, theirs = (load_trainable(folder, dtype=torch.float32).state_dict() for folder in folders)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor.cpu(), theirs[name].cpu(), atol=1e-5, rtol=1e-5)


def test_what_is_left_behind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above can fail."""
    with elsewhere(monkeypatch):
        far = torch.ones(3).to(NAME)
        assert (far + far).cpu().tolist() == [2.0] * 3
        with pytest.raises(RuntimeError, match="two devices"):
            far + torch.ones(3)
