"""Reward models, watcher and critic as adapters on the policy's weights: one copy of those is held, and let go."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from contexts import context_of
from torch import nn

from burnish.chat.tokenizer import Tokenizer
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, save_trainable
from burnish.models.lora import LoraConfig, adapt, adapted
from burnish.models.tiny import write_tiny
from burnish.pipeline import ppo, reward
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.training import keep_adapter
from burnish.records import durable
from burnish.types import Silent

WITHIN = ("", "member-02", "watcher")
SETTINGS: dict[str, Any] = {
    **{"prompts": "prompts.jsonl", "iterations": 2, "prompts_per_iteration": 2, "minibatches": 1, "max_new_tokens": 6},
    **{"lora": {"rank": 2}, "lr": 1e-3, "save_every": 1, "watch": {"stop": False}},
}


class Looks(Silent):
    """Which modules there are when training ends, and whether each is gone before the adapter is sealed."""

    def __init__(self, place: Path, *, stop_at: int = -1) -> None:
        self.held: set[int] = set()
        """Where a weight lies in each of them."""
        self.late: list[bool] = []
        self._place, self._left = place, stop_at
        self._known = [id(each) for each in trainables()]
        self._watched: list[weakref.ref[nn.Module]] = []

    def advance(self, done: int = 1, note: str = "") -> None:
        self._left -= done
        if note and self._left < 0 <= self._left + done:
            raise InterruptedError

    def finish(self, note: str = "") -> None:
        found = [each for each in trainables() if id(each) not in self._known]
        self.held = {each.backbone.layers[0].mlp.up_proj.weight.data_ptr() for each in found}
        beside = {id(each.backbone): each.backbone for each in found if each.lm is None}
        self._watched = [weakref.ref(each, self._gone) for each in beside.values()]

    def _gone(self, _: object) -> None:
        self.late.append((self._place / "adapter").exists())


def trainables() -> list[Any]:
    return [each for each in gc.get_objects() if issubclass(type(each), Trainable)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What sft and a reward stage with adapters leave."""
    folder = tmp_path_factory.mktemp("sharing")
    base = write_tiny(folder / "sft" / "model")
    with durable.folder(folder / "reward" / "model") as aside:
        for number, name in enumerate(WITHIN):
            torch.manual_seed(number)
            module = load_trainable(base, dtype=torch.float32, lm=False, score=True, layers=1)
            adapt(module, LoraConfig(rank=3, alpha=6), seed=number)
            for layer in adapted(module.backbone).values():
                nn.init.normal_(layer.lora_B, std=0.1)
            keep_adapter(module, folder / "reward" / name, base, "sft/model")
            (aside / name).mkdir(exist_ok=True)
            save_trainable(module, aside / name, Tokenizer.load(base), dtype=torch.float32)
            durable.write_json(aside / name / "normalisation.json", {"mean": 0.5, "std": 2.0})
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("Where is it?", "Why?", "When?")]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(place: Path, name: str, stop_at: int = -1, **other: Any) -> tuple[Path, Looks]:
    recipe = Recipe.model_validate({"name": "t", "model": "m", "dtype": "float32", "ppo": {**SETTINGS, **other}})
    folder = place / name / "ppo"
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {stage: place / stage for stage in ("sft", "reward")}
    looks = Looks(folder, stop_at=stop_at)
    gc.disable()  # what is let go must not wait for chance
    try:
        ppo.run(context_of(recipe, folder, inputs=inputs, base=place, progress=looks))
    finally:
        gc.enable()
    return folder, looks


def first_row(folder: Path, critic: str) -> dict[str, float]:
    """Of an own critic the gradient is another, since it goes on with its adapter or begins one on the merged model."""
    row: dict[str, float] = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    other = ("seconds", "grad_norm") if critic == "reward" else ("seconds",)
    return {name: value for name, value in row.items() if not name.startswith(other) and value is not None}


@pytest.mark.parametrize("critic", ["shared", "reward"])
def test_one_copy_of_the_weights_is_held(place: Path, tmp_path: Path, critic: str) -> None:
    folder, looks = run(place, f"adapters-{critic}", critic=critic)
    assert len(looks.held) == 1
    assert len(looks.late) == 3 + (critic == "reward")
    assert not any(looks.late), "what stands beside the policy goes before its adapter is merged"
    for stage in ("sft", "reward"):
        shutil.copytree(place / stage, tmp_path / stage)
    for name in WITHIN:
        shutil.rmtree(tmp_path / "reward" / name / "adapter")
    shutil.copy(place / "prompts.jsonl", tmp_path)
    whole, looks = run(tmp_path, "whole", critic=critic)
    assert len(looks.held) == 4 + (critic == "reward")
    assert first_row(folder, critic) == pytest.approx(first_row(whole, critic), rel=1e-3, abs=1e-5)


def test_a_run_that_was_stopped_ends_with_the_same_bytes(place: Path) -> None:
    folder, _ = run(place, "straight", critic="reward")
    with pytest.raises(InterruptedError):
        run(place, "stopped", stop_at=3, critic="reward")
    assert (place / "stopped" / "ppo" / "checkpoints").exists()
    again, _ = run(place, "stopped", critic="reward")
    assert durable.digest_folder(again / "model") == durable.digest_folder(folder / "model")
    assert durable.digest_folder(again / "adapter") == durable.digest_folder(folder / "adapter")


class Counts(Silent):
    """How many models there are when one is trained."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self._before = len(trainables())

    def start(self, label: str, total: int) -> None:
        if label.startswith("reward:"):
            self.held[label] = len(trainables()) - self._before


def test_sealed_reward_models_are_let_go_before_folds_are_trained(place: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Where is {n}?", "chosen": "Here it is.", "rejected": f"No {n}."} for n in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"rankings": "pairs.jsonl", "members": 2, "folds": 2, "held_out": 0.3, "save_every": 9}
    recipe = Recipe.model_validate({"name": "t", "model": "m", "dtype": "float32", "reward": settings})
    folder = tmp_path / "reward"
    folder.mkdir()
    counts = Counts()
    reward.run(context_of(recipe, tmp_path, folder=folder, inputs={"sft": place / "sft"}, progress=counts))
    trained = ["reward: fold 1 of 2", "reward: shuffled labels", "reward: fold 2 of 2"]
    assert [counts.held[label] for label in trained] == [1, 2, 1]  # the first fold's model is probed after the control
    assert json.loads((folder / "report.json").read_bytes())["measured"] == "2-fold cross-validation by prompt"
