"""On which device, in which numbers and by whose kernels a stage computes: what `auto` comes to, and that it stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from contexts import context_of

from burnish.errors import ConfigError, MachineError
from burnish.models import arithmetic, processor
from burnish.pipeline import computing
from burnish.pipeline.graph import GRAPH
from burnish.pipeline.key import contents, stage_key
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.stage import Context


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is settled is the process's, and this one is not its own."""
    monkeypatch.setitem(arithmetic._chosen, "device", torch.device("cpu"))
    monkeypatch.setitem(arithmetic._chosen, "kernels", "torch")
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    processor.gains_bfloat16.cache_clear()
    yield
    processor.gains_bfloat16.cache_clear()


def has(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, bfloat16: bool = False) -> None:
    """A machine that has these."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
    monkeypatch.setattr(arithmetic, "gains_bfloat16", lambda: bfloat16)


def context(folder: Path, **stated: str) -> Context:
    folder.mkdir(exist_ok=True)
    recipe = Recipe.model_validate({"name": "r", "model": "m", **stated})
    return context_of(recipe, folder)


def settled(folder: Path, **stated: str) -> tuple[str, str]:
    recipe = computing.settled(context(folder, **stated)).recipe
    return recipe.device, recipe.dtype


@pytest.mark.parametrize(
    ("gpus", "bfloat16", "wanted"),
    [
        (0, False, ("cpu", "float32")),
        (0, True, ("cpu", "bfloat16")),
        (2, False, ("cuda", "float32")),
        (2, True, ("cuda", "bfloat16")),
    ],
)
def test_auto_is_what_the_machine_is_good_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, bfloat16: bool, wanted: tuple[str, str]
) -> None:
    has(monkeypatch, gpus=gpus, bfloat16=bfloat16)
    assert settled(tmp_path) == wanted
    assert arithmetic.device().type == wanted[0]


def test_a_stage_that_was_begun_goes_on_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, bfloat16=False)
    assert settled(tmp_path / "begun") == ("cpu", "float32")
    has(monkeypatch, gpus=1, bfloat16=True)
    assert settled(tmp_path / "begun") == ("cpu", "float32")
    assert settled(tmp_path / "new") == ("cuda", "bfloat16")


def test_what_the_recipe_names_wins_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, gpus=1, bfloat16=True)
    assert settled(tmp_path) == ("cuda", "bfloat16")
    assert settled(tmp_path, device="cpu", dtype="float32") == ("cpu", "float32")
    kept = {"device": "cpu", "dtype": "float32", "kernels": "torch"}
    assert json.loads((tmp_path / computing.FILE).read_text()) == kept
    assert settled(tmp_path) == ("cpu", "float32")


def kernels(folder: Path, **stated: str) -> str:
    found = computing.settled(context(folder, **stated)).recipe.kernels
    assert found == arithmetic.chosen_kernels()
    return found


def test_kernels_are_torchs_until_the_recipe_names_others_and_stay_as_a_stage_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, gpus=1)
    monkeypatch.setattr(arithmetic, "find_spec", lambda name: object())  # whatever is asked for is installed
    assert kernels(tmp_path / "begun", kernels="liger") == "liger"
    assert kernels(tmp_path / "new") == "torch"
    assert kernels(tmp_path / "begun") == "liger"
    monkeypatch.setattr(arithmetic, "refusal", lambda place: None)
    assert kernels(tmp_path / "other", kernels="compiled") == "compiled"
    assert kernels(tmp_path / "other") == "compiled"
    assert kernels(tmp_path / "begun", kernels="torch") == "torch"
    assert kernels(tmp_path / "begun") == "torch"


def test_a_stage_that_began_before_kernels_were_a_setting_goes_on_with_torchs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch)
    (tmp_path / computing.FILE).write_text('{"device": "cpu", "dtype": "float32"}')
    assert kernels(tmp_path) == "torch"


def test_ligers_kernels_are_refused_where_the_stage_computes_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match="kernels: liger, whose kernels run on GPUs"):
        settled(tmp_path, kernels="liger")
    assert not (tmp_path / computing.FILE).exists()
    assert settled(tmp_path, kernels="torch") == ("cpu", "float32")


def test_a_gpu_that_is_not_there_is_an_error_of_the_machine_that_names_a_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, gpus=1)
    assert settled(tmp_path)[0] == "cuda"
    has(monkeypatch, gpus=0)
    for stated in ({}, {"device": "cuda"}):
        with pytest.raises(MachineError, match=r"device: cuda, and process 1 of this machine finds 0 GPUs") as raised:
            settled(tmp_path, **stated)
        assert "device" in raised.value.problems[0].mend
    assert settled(tmp_path, device="cpu") == ("cpu", "float32")


def test_each_process_of_a_machine_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, gpus=2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    arithmetic.choose("auto")
    assert arithmetic.device() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(MachineError, match="process 3 of this machine finds 2 GPUs"):
        arithmetic.choose("auto")
    arithmetic.choose("cpu")
    assert arithmetic.device().type == "cpu"


def test_device_kernels_and_what_layers_keep_are_in_no_key_and_the_format_is(tmp_path: Path) -> None:
    stage = next(each for each in GRAPH if each.name == "sft")
    recipe = Recipe.model_validate({"name": "r", "model": "m", "sft": {}, "seed": 1})
    keys = [
        stage_key(each, stage, contents(each, tmp_path, stage), {})
        for changed in (
            {},
            {"device": "cpu"},
            {"kernels": "liger"},
            {"gradient_checkpointing": True},
            {"track": ("wandb",)},
            {"dtype": "float32"},
        )
        for each in [recipe.model_copy(update=changed)]
    ]
    assert len({*keys[:-1]}) == 1
    assert keys[-1] != keys[0]


@pytest.mark.parametrize(("name", "value"), [("device", "tpu"), ("kernels", "unsloth")])
def test_what_nobody_knows_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Recipe.model_validate({"name": "r", "model": "m", name: value})
