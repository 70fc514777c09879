"""Laws of the loop: it knows no method, resumes bit for bit, and stops before an update that would spoil weights."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from burnish.batches import Batch, Document
from burnish.errors import ModelError, TrainingError
from burnish.models.forward import Output, Trainable
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, first_factors
from burnish.models.tiny import write_tiny
from burnish.runs import MetricsLog
from burnish.train import loop
from burnish.train.averages import Averages
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import DatasetFeed, Work
from burnish.train.guard import Guard
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Loss, Sft
from burnish.train.optim import OptimConfig, Optimizer, learning_rate
from burnish.train.validation import Validation
from burnish.types import Silent

LORA = LoraConfig(rank=3, alpha=6, dropout=0.1)


@pytest.fixture(scope="module")
def dropping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("loop") / "tiny", dropout=0.1)


class Run:
    """One training run of the tiny model with dropout."""

    def __init__(
        self,
        model: Path,
        folder: Path,
        documents: list[Document],
        dtype: torch.dtype,
        lora: LoraConfig | None = None,
    ) -> None:
        self.module = load_trainable(model, dtype=dtype)
        if lora:
            adapt(self.module, lora, seed=7)
        self.optimizer = Optimizer(self.module, OptimConfig(lr=1e-3, steps=12, warmup_steps=2, weight_decay=0.1))
        self.feed = DatasetFeed(documents, per_step=4, micro_tokens=40, seed=5)
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.log = MetricsLog(folder / "metrics.jsonl")

    def fit(self, until: int = 12) -> int:
        config = FitConfig(steps=until, seed=5, save_every=3)
        return fit(
            self.module,
            self.feed,
            Sft(),
            self.optimizer,
            config,
            log=self.log,
            checkpoints=self.checkpoints,
        )

    def bits(self) -> dict[str, bytes]:
        state = {**self.module.state_dict(), **self.optimizer.tensors()}
        return {
            name: tensor.detach().flatten().contiguous().view(torch.uint8).numpy().tobytes()
            for name, tensor in state.items()
        }

    def losses(self) -> list[float]:
        return [row["loss"] for row in self.log.read()]


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_run_equals_an_uninterrupted_one(
    dropping: Path, tmp_path: Path, conversations: list[Document], dtype: torch.dtype, lora: LoraConfig | None
) -> None:
    straight = Run(dropping, tmp_path / "straight", conversations, dtype, lora)
    straight.fit()
    Run(dropping, tmp_path / "cut", conversations, dtype, lora).fit(until=8)  # saved after 3 and 6; 7 and 8 are lost
    resumed = Run(dropping, tmp_path / "cut", conversations, dtype, lora)
    assert resumed.fit() == 6
    assert resumed.bits() == straight.bits()
    assert resumed.losses() == straight.losses()


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_averages_evaluation_and_guard_resume_to_the_same_bits(
    dropping: Path, tmp_path: Path, conversations: list[Document], lora: LoraConfig | None
) -> None:
    runs: dict[str, Run] = {}
    for name, until in (("straight", 12), ("cut", 8), ("again", 12)):
        folder = tmp_path / ("cut" if name == "again" else name)
        run = runs[name] = Run(dropping, folder, conversations[:4], torch.bfloat16, lora)
        held = DatasetFeed(conversations[4:], per_step=2, micro_tokens=40, seed=5).next(0)
        fit(
            run.module,
            run.feed,
            Sft(),
            run.optimizer,
            FitConfig(steps=until, seed=5, save_every=3),
            log=run.log,
            checkpoints=run.checkpoints,
            guard=Guard(spike=50),
            averages=Averages(run.optimizer, ema=0.8, start=0.1, factors=first_factors(run.module)),
            validation=Validation(held, every=2, patience=4, keep_best=True),
        )
    assert runs["again"].bits() == runs["straight"].bits()
    straight, again = ([{**row, "seconds": 0} for row in runs[name].log.read()] for name in ("straight", "again"))
    assert again == straight
    assert sum("eval/loss" in row for row in straight) == 6


def test_an_evaluation_changes_nothing_of_training(
    dropping: Path, tmp_path: Path, conversations: list[Document]
) -> None:
    plain, watched = (Run(dropping, tmp_path / name, conversations, torch.float32) for name in ("plain", "watched"))
    plain.fit()
    held = DatasetFeed(conversations, per_step=6, micro_tokens=40, seed=5).next(0)
    fit(
        watched.module,
        watched.feed,
        Sft(),
        watched.optimizer,
        FitConfig(steps=12, seed=5),
        log=watched.log,
        validation=Validation(held, every=1),
    )
    assert watched.bits() == plain.bits()
    assert watched.losses() == plain.losses()


def test_what_is_frozen_stays_as_it_was_and_out_of_checkpoints(
    dropping: Path, tmp_path: Path, conversations: list[Document]
) -> None:
    run = Run(dropping, tmp_path, conversations, torch.bfloat16, LORA)
    before = {name: p.clone() for name, p in run.module.named_parameters()}
    run.fit()
    for name, parameter in run.module.named_parameters():
        assert torch.equal(parameter, before[name]) == (".lora_" not in name), name
    kept = load_file(tmp_path / "checkpoints" / "step-00000009" / "optimizer.safetensors")
    names = {name for name in before if ".lora_" in name}
    assert set(kept) == {f"{part}.{name}" for part in ("master", "step", "exp_avg", "exp_avg_sq") for name in names}
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}


def test_a_checkpoint_is_refused_beside_other_frozen_weights(
    dropping: Path, tmp_path: Path, conversations: list[Document]
) -> None:
    Run(dropping, tmp_path / "run", conversations, torch.float32, LORA).fit(until=8)
    other = write_tiny(tmp_path / "other", dropout=0.1)
    again = Run(other, tmp_path / "run", conversations, torch.float32, LORA)
    assert again.checkpoints.restore(again.optimizer, again.feed) == 6
    other = write_tiny(tmp_path / "another", dropout=0.1, seed=1)
    again = Run(other, tmp_path / "run", conversations, torch.float32, LORA)
    with pytest.raises(ModelError, match="step-00000006: made beside other frozen weights"):
        again.checkpoints.restore(again.optimizer, again.feed)


def test_a_broken_checkpoint_is_passed_over_and_named(
    dropping: Path, tmp_path: Path, conversations: list[Document]
) -> None:
    Run(dropping, tmp_path, conversations, torch.float32).fit(until=8)
    newest = tmp_path / "checkpoints" / "step-00000006" / "optimizer.safetensors"
    spoilt = bytearray(newest.read_bytes())
    spoilt[-5] ^= 1
    newest.write_bytes(bytes(spoilt))
    again = Run(dropping, tmp_path, conversations, torch.float32)
    assert again.checkpoints.restore(again.optimizer, again.feed) == 3
    assert "optimizer.safetensors" in again.checkpoints.refused[0]
    (tmp_path / "checkpoints" / "step-00000003" / "state.json").write_text("{}")
    with pytest.raises(ModelError, match=r"(?s)step-00000006.*step-00000003"):
        again.checkpoints.restore(again.optimizer, again.feed)


class Poisoned(Sft):
    """Fine-tuning whose loss is not a number from the third step on."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.calls = 0

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        self.calls += 1
        result = super().loss(module, batch)
        if self.calls < 5:
            return result
        spoilt = result.sums["nll"] * float("nan") if self.where == "loss" else _infinite_slope(result.sums["nll"])
        return Loss({"nll": spoilt})


def _infinite_slope(loss: torch.Tensor) -> torch.Tensor:
    return loss + 0 * (loss - loss.detach()).abs().sqrt()


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_value_that_is_not_finite_stops_before_the_update(
    dropping: Path, tmp_path: Path, conversations: list[Document], where: str
) -> None:
    run = Run(dropping, tmp_path, conversations, torch.float32)
    with pytest.raises(TrainingError, match=rf"step \d+: the {where} is .*rows of this step: c"):
        fit(run.module, run.feed, Poisoned(where), run.optimizer, FitConfig(steps=12, seed=5))
    assert all(torch.isfinite(parameter).all() for parameter in run.module.parameters())


class Unlikelihood:
    """A method from outside the package: pushes the learned tokens down. Three members, and the loop is not touched."""

    weights: Mapping[str, float] = {"unlikely": 1.0}
    dropout = False

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"unlikely": float(batch.weight_N.sum())}

    def loss(self, module: Trainable, batch: Batch) -> Loss:
        logprobs_N = module(batch).logprobs_N
        assert logprobs_N is not None
        loss_N = -batch.weight_N * torch.log1p(-logprobs_N.exp().clamp(max=1 - 1e-6))
        return Loss({"unlikely": loss_N.sum()}, {"logprob": (float(logprobs_N.detach().sum()), logprobs_N.numel())})


def test_a_new_method_needs_no_change_of_ours(dropping: Path, tmp_path: Path, conversations: list[Document]) -> None:
    run = Run(dropping, tmp_path, conversations, torch.float32)
    fit(run.module, run.feed, Unlikelihood(), run.optimizer, FitConfig(steps=12, seed=5), log=run.log)
    logprobs = [row["logprob"] for row in run.log.read()]
    assert sum(logprobs[-3:]) < sum(logprobs[:3])


def test_the_loop_names_no_method() -> None:
    source = inspect.getsource(loop).lower()
    for name in ("sft", "ppo", "reward", "dpo", "grpo", "isinstance", "match "):
        assert name not in source.replace("ppo's epochs", ""), name


class Notes(Silent):
    """What a progress line said after each step."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def advance(self, done: int = 1, note: str = "") -> None:
        self.said += [note] * done


class Telling(DatasetFeed):
    """A feed that has something to tell at every other step."""

    def next(self, step: int) -> Work:
        return Work(super().next(step).batches, {} if step % 2 else {"val/length": 12.25 + step, "other": 3.0})


def test_a_progress_line_says_what_it_is_asked_to_and_else_the_loss(
    dropping: Path, tmp_path: Path, conversations: list[Document]
) -> None:
    run, notes = Run(dropping, tmp_path, conversations, torch.float32), (Notes(), Notes())
    feed = Telling(conversations, per_step=2, micro_tokens=40, seed=5)
    for note, shown in zip(notes, ({}, {"absent": "nothing", "val/length": "tokens"}), strict=True):
        fit(run.module, feed, Sft(), run.optimizer, FitConfig(steps=4, seed=5), progress=note, shown=shown)
    assert [each.split()[0] for each in notes[0].said] == ["loss"] * 4
    assert notes[1].said == ["tokens 12.2", "tokens 12.2", "tokens 14.2", "tokens 14.2"]


class Table(Trainable):
    """A tabular module with the same forward: one logit a token, no network. The loop trains it as it is."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__(nn.Identity())
        self.logits_V = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, batch: Batch) -> Output:
        return Output(logprobs_N=self.logits_V.log_softmax(-1)[batch.target_N])


def test_fine_tuning_a_table_reaches_the_frequencies() -> None:
    """Maximum likelihood of a unigram table is the empirical distribution: 4/8, 3/8 and 1/8."""
    documents = [
        Document(row=f"{n}", ids=[0, token], weights=[0, 1]) for n, token in enumerate([1] * 4 + [2] * 3 + [3])
    ]
    table = Table(5)
    optimizer = Optimizer(table, OptimConfig(lr=0.3, steps=400, schedule="linear", betas=(0.9, 0.99)))
    feed = DatasetFeed(documents, per_step=8, micro_tokens=6, seed=0)
    fit(table, feed, Sft(), optimizer, FitConfig(steps=400, seed=0))
    assert table.logits_V.softmax(-1)[1:4].tolist() == pytest.approx([0.5, 0.375, 0.125], abs=2e-3)


def test_learning_rates_at_hand_computed_steps() -> None:
    def rate(schedule: Literal["constant", "linear", "cosine"], step: int) -> float:
        return learning_rate(OptimConfig(lr=1.0, steps=12, warmup_steps=2, schedule=schedule), step)

    assert [rate("cosine", step) for step in (0, 1, 2, 7)] == pytest.approx([0.5, 1.0, 1.0, 0.55])
    assert rate("cosine", 12) == pytest.approx(0.1)
    assert [rate("linear", step) for step in (2, 7, 12)] == pytest.approx([1.0, 0.5, 0.0])
    assert rate("constant", 11) == 1.0


def test_gradients_are_clipped_to_the_norm_that_was_measured() -> None:
    layer = nn.Linear(2, 1, bias=False)
    optimizer = Optimizer(layer, OptimConfig(lr=1e-3, steps=1, clip_norm=1.0))
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    assert optimizer.gradient_norm() == pytest.approx(5.0)


def test_metrics_are_one_line_a_step(dropping: Path, tmp_path: Path, conversations: list[Document]) -> None:
    Run(dropping, tmp_path, conversations, torch.float32).fit(until=4)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert all({"step", "seconds", "tokens", "loss", "lr", "grad_norm"} <= line.keys() for line in lines)
