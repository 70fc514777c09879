"""An adapter's folder as a model: found with its base, merged once, and refused where the base is not its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig

from burnish.batches import Document, pack
from burnish.errors import ModelError
from burnish.models.adapter import save_adapter
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, adapted
from burnish.models.quiet import quiet
from burnish.models.sources import resolve
from burnish.models.tiny import tiny_tokenizer, write_tiny
from burnish.pipeline.key import content
from burnish.records import durable
from burnish.types import Silent

from .families import MIXED, SMALL

# peft 0.21 asks transformers for a name that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
IDS = [5, 6, 7, 3, 4, 258]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "models" / "base")


def ours(base: Path, folder: Path, *, named: str, lm: bool = True) -> torch.Tensor:
    """An adapter of burnish's in a sealed folder; what base and adapter say together."""
    module = load_trainable(base, dtype=torch.float32, lm=lm, score=not lm)
    adapt(module, LoraConfig(rank=3, alpha=6), seed=1)
    for layer in adapted(module.backbone).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    with durable.folder(folder) as filling:
        save_adapter(module, filling, base, base_name=named)
    return said(module) if lm else torch.empty(0)


def said(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(pack([Document(row="a", ids=IDS, weights=[1.0] * len(IDS))])).logprobs_N


def found(name: str, base: Path) -> torch.Tensor:
    return said(load_trainable(resolve(name, base, Silent()), dtype=torch.float32))


def test_an_adapter_is_merged_into_its_base_once(base: Path, tmp_path: Path, own_cache: Path) -> None:
    wanted = ours(base, tmp_path / "adapter", named="models/base")
    assert not torch.allclose(said(load_trainable(base, dtype=torch.float32)), wanted, atol=1e-2)
    torch.testing.assert_close(found("adapter", tmp_path), wanted, atol=1e-5, rtol=1e-5)
    merged = resolve("adapter", tmp_path, Silent())
    assert merged.parent == own_cache / "models"
    weights = merged / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert resolve(str(tmp_path / "adapter"), tmp_path, Silent()) == merged
    assert weights.stat().st_mtime_ns == before
    weights.write_bytes(b"spoilt")
    torch.testing.assert_close(found("adapter", tmp_path), wanted, atol=1e-5, rtol=1e-5)


def test_an_adapter_of_a_run_finds_the_runs_own_model(base: Path, tmp_path: Path) -> None:
    """What dpo began with is called sft/model: in the run, from wherever a recipe names the adapter."""
    run = tmp_path / "runs" / "one"
    shutil.copytree(base, run / "sft" / "model")
    wanted = ours(base, run / "dpo" / "adapter", named="sft/model")
    torch.testing.assert_close(found("../runs/one/dpo/adapter", tmp_path / "models"), wanted, atol=1e-5, rtol=1e-5)


def test_a_base_that_is_not_there_or_another_is_refused(base: Path, tmp_path: Path) -> None:
    ours(base, tmp_path / "adapter", named="./models/base")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ModelError, match=r"(?s)an adapter of ./models/base, which is not to be had in .*elsewhere"):
        resolve("../adapter", tmp_path / "elsewhere", Silent())
    shutil.rmtree(base)
    write_tiny(base, seed=1)
    with pytest.raises(ModelError, match=r"(?s)SHA-256 .*was trained on.*Give the folder of ./models/base as it was"):
        resolve("adapter", tmp_path, Silent())


def test_an_adapter_that_answers_nothing_is_refused(base: Path, tmp_path: Path) -> None:
    ours(base, tmp_path / "adapter", named="models/base", lm=False)
    with pytest.raises(ModelError, match="scores and does not answer"):
        resolve("adapter", tmp_path, Silent())


def theirs(base: Path, folder: Path, **more: Any) -> torch.Tensor:
    """An adapter that peft made, and what peft says with it."""
    torch.manual_seed(1)
    chosen = PeftConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], **more})
    with quiet():  # of tied embeddings peft warns
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), chosen)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data.add_(0.1 * torch.randn_like(weight))
        model.save_pretrained(folder)
    with torch.no_grad():
        logprobs = model(torch.tensor([IDS])).logits[0].log_softmax(-1)
    return logprobs[torch.arange(len(IDS) - 1), IDS[1:]]


@pytest.mark.parametrize("more", [{"task_type": "CAUSAL_LM"}, {}])
def test_an_adapter_that_peft_made(base: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    """Its base is that of its name, and part of a stage's key: nothing in the folder says what it holds."""
    wanted = theirs(base, tmp_path / "peft", **more)
    torch.testing.assert_close(found("peft", tmp_path), wanted, atol=1e-5, rtol=1e-5)
    before = content("peft", tmp_path)
    shutil.rmtree(base)
    write_tiny(base, seed=1)
    assert content("peft", tmp_path) != before
    assert not torch.allclose(found("peft", tmp_path), wanted, atol=1e-2), "merged anew"


FORMS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "by_layer": {"rank_pattern": {"layers.1.mlp.down_proj": 2}, "alpha_pattern": {"q_proj": 32}},
    "dora": {"use_dora": True},
    "whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "head_alone": {"modules_to_save": ["lm_head"]},
    "head_adapted": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings_adapted": {"target_modules": ["q_proj", "embed_tokens"]},
    "tokens": {"trainable_token_indices": [5, 258]},
    "one_layer": {"layers_to_transform": [1]},
    "regex": {"target_modules": r".*layers\.0\..*(q|down)_proj"},
    "all_linear": {"target_modules": "all-linear"},
    "gaussian": {"init_lora_weights": "gaussian"},
    "left_out": {"exclude_modules": ["k_proj"]},
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_peft_can_put_into_an_adapter(form: str, base: Path, tmp_path: Path) -> None:
    wanted = theirs(base, tmp_path / "peft", task_type="CAUSAL_LM", **FORMS[form])
    torch.testing.assert_close(found("peft", tmp_path), wanted, atol=1e-5, rtol=1e-5)
    plain = said(load_trainable(base, dtype=torch.float32))
    assert not torch.allclose(plain, wanted, atol=1e-2), "the adapter does something"


def test_an_adapter_brings_its_own_tokens(base: Path, tmp_path: Path) -> None:
    """Made on embeddings that had grown by two: peft keeps them whole."""
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(model.vocab_size + 2, mean_resizing=False)
    with quiet():
        grown = get_peft_model(model, PeftConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
        grown.save_pretrained(tmp_path / "peft", save_embedding_layers=True)
    merged = load_trainable(resolve("peft", tmp_path, Silent()), dtype=torch.float32)
    with torch.no_grad():
        logprobs = grown(torch.tensor([IDS])).logits[0].log_softmax(-1)
    assert merged.backbone.get_input_embeddings().weight.shape[0] == 261
    torch.testing.assert_close(said(merged), logprobs[torch.arange(len(IDS) - 1), IDS[1:]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("older", [False, True])
def test_of_an_adapter_of_a_model_that_sees_what_its_text_learned_is_taken(older: bool, tmp_path: Path) -> None:
    """By names of the whole model, newer ones and older ones, and a pattern that fits nothing else."""
    seeing = {**SMALL, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(
        text_config=Gemma3TextConfig(**MIXED, query_pre_attn_scalar=20),
        vision_config={name: value for name, value in seeing.items() if name != "vocab_size"},
        mm_tokens_per_image=1,
    )
    torch.manual_seed(0)
    whole: Any = Gemma3ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save(tmp_path / "base")
    chosen = PeftConfig(r=2, target_modules=r".*(language|vision).*q_proj", base_model_name_or_path="base")
    with quiet():
        model = get_peft_model(whole, chosen)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data.add_(0.1 * torch.randn_like(weight))
        model.save_pretrained(tmp_path / "peft")
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([IDS])).logits[0].log_softmax(-1)
    file = tmp_path / "peft" / "adapter_model.safetensors"
    stored = load_file(file)
    assert any("vision" in name for name in stored), "it is left out"
    new, old = "model.model.language_model.", "model.language_model.model."
    assert any(new in name for name in stored)
    save_file({name.replace(new, old) if older else name: tensor for name, tensor in stored.items()}, file)
    path = tmp_path / "peft" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "base_model_name_or_path": "base"}))
    torch.testing.assert_close(found("peft", tmp_path), logprobs[range(len(IDS) - 1), IDS[1:]], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"init_lora_weights": "pissa"}, "'pissa': its base was changed before it was trained"),
        ({"peft_type": "IA3"}, "IA3, and only LORA is merged"),
        ({"alora_invocation_tokens": [1]}, r"alora_invocation_tokens: \[1\], which cannot be merged"),
        ({"of_tomorrow": True}, "of_tomorrow: True, which cannot be merged"),
        ({"target_modules": ["wqkv"]}, "peft cannot put it on"),
        ({"r": 3}, "peft cannot put it on"),
        ({"target_modules": ["q_proj"]}, "down_proj.lora_A.*no layer of the base"),
        ({"target_modules": ["q_proj", "down_proj", "up_proj"]}, "up_proj.lora_A.*missing"),
    ],
)
def test_what_cannot_be_merged_is_refused(changes: dict[str, Any], says: str, base: Path, tmp_path: Path) -> None:
    theirs(base, tmp_path / "peft")
    path = tmp_path / "peft" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))
    with pytest.raises(ModelError, match=says):
        resolve("peft", tmp_path, Silent())


def test_a_pickled_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    theirs(base, tmp_path / "peft")
    (tmp_path / "peft" / "adapter_model.safetensors").rename(tmp_path / "peft" / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.bin: pickle can run code: refused"):
        resolve("peft", tmp_path, Silent())


@pytest.mark.parametrize(
    ("stated", "says"),
    [("peft", "names itself"), ("", "does not say which model"), ("nowhere", "which is not to be had")],
)
def test_what_says_no_base(base: Path, tmp_path: Path, stated: str, says: str) -> None:
    theirs(base, tmp_path / "peft")
    path = tmp_path / "peft" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "base_model_name_or_path": stated}))
    with pytest.raises(ModelError, match=says):
        resolve("peft", tmp_path, Silent())


def test_adapters_of_one_another_have_no_base(base: Path, tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        theirs(base, tmp_path / name)
        path = tmp_path / name / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "base_model_name_or_path": other}))
    with pytest.raises(ModelError, match="names itself as its base"):
        resolve("one", tmp_path, Silent())
    with pytest.raises(ModelError, match="names itself as its base"):
        content("one", tmp_path)


def test_another_revision_of_the_base_is_refused(base: Path, tmp_path: Path) -> None:
    theirs(base, tmp_path / "peft")
    path = tmp_path / "peft" / "adapter_config.json"
    for revision, refused in ((None, False), ("main", False), ("v2", True)):
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "revision": revision}))
        if refused:
            with pytest.raises(ModelError, match="base@v2, which is not to be had"):
                resolve("peft", tmp_path, Silent())
        else:
            assert resolve("peft", tmp_path, Silent()).is_dir()
