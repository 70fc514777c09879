"""Adapter folders: peft reads what we write, and an adapter goes onto its own base only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from burnish.batches import Document, pack
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import DataError, ModelError
from burnish.models.adapter import load_adapted, save_adapter
from burnish.models.folder import backbone_name
from burnish.models.forward import Output, Trainable
from burnish.models.load import load_trainable, save_trainable
from burnish.models.lora import LoraConfig, adapt, adapted, merge
from burnish.models.tiny import write_random, write_tiny
from burnish.records import durable
from burnish.records.adapters import CONFIG, FILE, base_name

from .families import FAMILIES

# peft 0.21 asks transformers for a name that it has deprecated; peft's own warnings, of missing keys say, stay errors.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
IDS = [5, 6, 7, 3, 4, 258]
BATCH = pack([Document(row="a", ids=IDS, weights=[1.0] * len(IDS))])


def trained(
    base: Path, *, dtype: torch.dtype = torch.float32, layers: int | None = None, lm: bool = True, **lora: Any
) -> Trainable:
    torch.manual_seed(3)
    module = load_trainable(base, dtype=dtype, lm=lm, score=True, layers=layers)
    adapt(module, LoraConfig(**{"rank": 3, "alpha": 6, **lora}), seed=1)
    for layer in adapted(module.backbone).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    return module


def saved(module: Trainable, folder: Path, base: Path) -> Path:
    with durable.folder(folder) as filling:
        save_adapter(module, filling, base, base_name="tiny")
    return folder


def said(module: Trainable) -> Output:
    with torch.no_grad():
        return module(BATCH)


def logprobs(model: Any) -> Tensor:
    """What a model of transformers' gives each token after the first."""
    with torch.no_grad():
        found = model(torch.tensor([IDS])).logits[0].float().log_softmax(-1)
    return found[torch.arange(len(IDS) - 1), IDS[1:]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_saved_is_what_is_loaded(tiny: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    module = trained(tiny, dtype=dtype)
    again = load_adapted(saved(module, tmp_path / "a", tiny), tiny, dtype=dtype, score=True)
    before, after = said(module), said(again)
    assert torch.equal(before.logprobs_N, after.logprobs_N)
    assert torch.equal(before.scores_B, after.scores_B), "heads lie beside the adapter"
    assert {p.requires_grad for n, p in again.named_parameters() if "lora_" not in n and "score" not in n} == {False}


def test_the_same_adapter_has_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    first, second = (saved(trained(tiny), tmp_path / name, tiny) for name in "ab")
    assert durable.digest_folder(first) == durable.digest_folder(second)
    assert json.loads((first / CONFIG).read_bytes())["base_model_name_or_path"] == "tiny"


def test_a_base_of_a_revision_is_named_as_peft_names_it(tiny: Path, tmp_path: Path) -> None:
    with durable.folder(tmp_path / "a") as filling:
        save_adapter(trained(tiny), filling, tiny, base_name="owner/name@v2")
    stated = json.loads((tmp_path / "a" / CONFIG).read_bytes())
    assert (stated["base_model_name_or_path"], stated["revision"]) == ("owner/name", "v2")
    assert base_name(tmp_path / "a") == "owner/name@v2"
    load_adapted(tmp_path / "a", tiny, dtype=torch.float32, score=True)


def whole(base: Path) -> Any:
    """The base in the architecture's own classes."""
    return AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")


@pytest.mark.parametrize("name", FAMILIES)
def test_peft_loads_our_adapter_and_merges_it_alike(name: str, tmp_path: Path) -> None:
    base = write_random(tmp_path / "base", FAMILIES[name].config)
    module, plain = trained(base), logprobs(whole(base))
    theirs: Any = PeftModel.from_pretrained(whole(base), saved(module, tmp_path / "a", base))
    torch.testing.assert_close(logprobs(theirs), said(module).logprobs_N, rtol=0, atol=1e-5)
    assert (logprobs(theirs) - plain).abs().max() > 0.1, "the adapter does something"
    again = load_adapted(tmp_path / "a", base, dtype=torch.float32, score=True)
    assert torch.equal(said(again).logprobs_N, said(module).logprobs_N)
    merge(module)
    unloaded = theirs.merge_and_unload()
    wanted = getattr(unloaded, backbone_name(unloaded)).state_dict()
    for key, tensor in module.backbone.state_dict().items():
        torch.testing.assert_close(tensor, wanted[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("targets", [("down_proj",), ("gate_proj",), ("q_proj", "up_proj")])
def test_peft_loads_layers_that_share_their_names_with_experts(targets: tuple[str, ...], tmp_path: Path) -> None:
    """Alone, without the layer that peft would fuse them with, and after a training with dropout."""
    base = write_random(tmp_path / "base", FAMILIES["qwen3_moe"].config)
    module = trained(base, targets=targets, dropout=0.1)
    theirs = PeftModel.from_pretrained(whole(base), saved(module, tmp_path / "a", base))
    torch.testing.assert_close(logprobs(theirs), said(module).logprobs_N, rtol=0, atol=1e-5)


def test_transformers_loads_the_merged_model(tiny: Path, tmp_path: Path) -> None:
    module = trained(tiny)
    before = said(module).logprobs_N
    merge(module)
    with durable.folder(tmp_path / "m") as filling:
        save_trainable(module, filling, Tokenizer.load(tiny), dtype=torch.float32)
    assert set(load_file(tmp_path / "m" / "model.safetensors")) == set(load_file(tiny / "model.safetensors"))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    torch.testing.assert_close(logprobs(theirs), before, rtol=0, atol=1e-5)


def test_an_adapter_of_the_first_layers(tiny: Path, tmp_path: Path) -> None:
    """peft puts it on the whole model, where it reaches those layers alone."""
    module = trained(tiny, layers=1, lm=False)
    folder = saved(module, tmp_path / "a", tiny)
    again = load_adapted(folder, tiny, dtype=torch.float32, lm=False, score=True)
    assert len(again.backbone.layers) == 1
    assert torch.equal(said(again).scores_B, said(module).scores_B)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), folder)
    reached = {name.split(".layers.")[1][0] for name, _ in theirs.named_parameters() if "lora_A" in name}
    assert reached == {"0"}


def test_another_base_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = saved(trained(tiny), tmp_path / "a", tiny)
    other = write_tiny(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match=r"(?s)other: SHA-256 .*was trained on.*Give the folder of tiny"):
        load_adapted(folder, other, dtype=torch.float32)


def test_a_changed_byte_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = saved(trained(tiny), tmp_path / "a", tiny)
    spoilt = bytearray((folder / FILE).read_bytes())
    spoilt[-3] ^= 1
    (folder / FILE).write_bytes(bytes(spoilt))
    with pytest.raises(DataError, match=FILE):
        load_adapted(folder, tiny, dtype=torch.float32)


def say(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        stated = json.loads((folder / CONFIG).read_bytes())
        (folder / CONFIG).write_text(json.dumps({**stated, **changes}))

    return change


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    tensors.pop("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight")
    save_file(tensors, folder / FILE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (say(use_rslora=True), "use_rslora: True, which burnish does not compute"),
        (say(rank_pattern={"q_proj": 4}), "rank_pattern"),
        (say(target_parameters=["mlp.up_proj.weight", "mlp.experts.down_proj"]), r"\['mlp.experts.down_proj'\], which"),
        (say(r="3"), "r, lora_alpha, lora_dropout must be numbers"),
        (say(r=4), r"lora_A.weight: shape \[3, 32\], \[4, 32\] is wanted"),
        (lose_a_tensor, r"layers.1.mlp.up_proj.lora_B.weight: missing"),
        (lambda folder: (folder / FILE).unlink(), f"no {FILE} here"),
    ],
)
def test_what_is_not_such_an_adapter_is_refused(
    tiny: Path, tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    save_adapter(trained(tiny), folder, tiny, base_name="tiny")  # without a manifest: no digest guards it
    change(folder)
    with pytest.raises(ModelError, match=says):
        load_adapted(folder, tiny, dtype=torch.float32)
