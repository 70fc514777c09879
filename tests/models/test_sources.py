"""Names of models: one meaning each, nothing fetched that could run, and a cache that mends itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf as writer
import numpy as np
import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.errors import MachineError, ModelError
from burnish.models import sources
from burnish.models.load import load_trainable, save_trainable
from burnish.models.quiet import quiet
from burnish.models.sources import ALIAS, WHEEL, resolve
from burnish.records import durable
from burnish.types import Message, Silent

from .gguf_files import VOCABULARY, begun, finished, settings_of, tensors_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "slow" not in request.keywords:
        monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("BURNISH_WHEELS", raising=False)


def write_gguf(path: Path, pre: str = "gpt-2") -> Path:
    """A Llama of one layer and random weights, with the byte tokenizer."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    tensors = tensors_of(AutoModelForCausalLM.from_config(config), "llama")
    finished(begun(path, "llama", pre=pre, keys=settings_of(config)), tensors)
    return path


def test_a_gguf_file_becomes_a_folder_once_and_again_when_damaged(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", pre="smollm")
    folder = resolve("m.gguf", tmp_path, Silent())
    digest = durable.digest_folder(folder)
    module = load_trainable(folder, dtype=torch.float32)
    embedding = writer.GGUFReader(path).tensors[0].data
    assert np.array_equal(module.backbone.get_input_embeddings().weight.detach().numpy(), embedding)
    assert Renderer(Tokenizer.load(folder)).prompt([Message(role="user", content="a")])[0] == 257
    assert '"Digits"' in (folder / "tokenizer.json").read_text()

    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve(str(path), Path("/nowhere"), Silent()) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert durable.digest_folder(resolve("m.gguf", tmp_path, Silent())) == digest
    load_trainable(folder, dtype=torch.float32)


def test_a_folder_is_itself(tiny: Path) -> None:
    assert resolve(tiny.name, tiny.parent, Silent()) == tiny
    assert resolve(str(tiny), Path("/nowhere"), Silent()) == tiny


def test_a_tokenizer_larger_than_the_embedding_is_refused(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "m")
    (tmp_path / "m" / durable.MANIFEST).unlink()
    path = tmp_path / "m" / "tokenizer.json"
    stored = json.loads(path.read_text())
    stored["model"]["vocab"]["zz"] = 299
    path.write_text(json.dumps(stored))
    with pytest.raises(ModelError, match="the tokenizer knows 300 tokens, the model only 259"):
        resolve("m", tmp_path, Silent())


def test_a_special_token_beyond_the_embedding_is_no_fault_where_nothing_writes_it(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "m")
    (tmp_path / "m" / durable.MANIFEST).unlink()
    path = tmp_path / "m" / "tokenizer.json"
    stored = json.loads(path.read_text())
    stored["added_tokens"].append({**stored["added_tokens"][-1], "id": 259, "content": "<image>"})
    path.write_text(json.dumps(stored))
    assert resolve("m", tmp_path, Silent()) == tmp_path / "m"
    template = tmp_path / "m" / "chat_template.jinja"
    template.write_text("<image>" + template.read_text())
    with pytest.raises(ModelError, match="the tokenizer knows 260 tokens, the model only 259"):
        resolve("m", tmp_path, Silent())


def test_a_run_is_no_model_and_its_models_are_named(tiny: Path, tmp_path: Path) -> None:
    for stage in ("sft", "dpo"):
        shutil.copytree(tiny, tmp_path / "run" / stage / "model")
    with pytest.raises(ModelError, match=r"a folder of models, and no model\. Name one: .*dpo/model, .*sft/model"):
        resolve("run", tmp_path, Silent())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("modle", 'no such model. Did you mean "model"'),
        ("weights.pt", "pickle can run code: refused"),
        ("notes.txt", "a file, but not .gguf"),
        ("bad.gguf", "does not begin with GGUF"),
        ("../x/../y", "no such model"),
        ("$(id)", "no such model"),
        ("empty", "no config.json here"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "empty").mkdir()
    for file in ("weights.pt", "notes.txt", "bad.gguf"):
        (tmp_path / file).write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match=said.replace("(", r"\(")):
        resolve(name, tmp_path, Silent())
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache" / "models").iterdir())


@pytest.mark.parametrize(
    ("name", "repository", "revision"),
    [
        ("owner/name", "owner/name", None),
        ("owner/name@v1.0", "owner/name", "v1.0"),
        ("owner/name@refs/pr/3", "owner/name", "refs/pr/3"),
    ],
)
def test_a_model_of_the_hub_may_be_held_to_a_revision(
    name: str, repository: str, revision: str | None, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []
    weights: list[bool] = []

    def fetched(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert not any("bin" in each or "py" in each or each.startswith("*") for each in allow_patterns)
        asked.append((repository, revision))
        weights.append(any("safetensors" in each for each in allow_patterns))
        return str(tiny)

    monkeypatch.setattr(sources, "snapshot_download", fetched)
    assert resolve(name, tmp_path, Silent()) == tiny
    assert asked == [(repository, revision), (repository, tiny.name)], "weights of the commit that was looked at"
    assert weights == [False, True]


def test_a_gguf_file_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "m.Q8_0.gguf")
    asked: list[tuple[str, str | None, list[str]]] = []

    def fetched(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(sources, "snapshot_download", fetched)
    folder = resolve("owner/name@v1:m.Q8_0.gguf", Path("/nowhere"), Silent())
    assert folder == resolve("m.Q8_0.gguf", tmp_path, Silent())
    assert asked == [("owner/name", "v1", ["m.Q8_0.gguf"])]
    with pytest.raises(ModelError, match="no such file on the Hub"):
        resolve("owner/name:m.gguf", Path("/nowhere"), Silent())
    with pytest.raises(ModelError, match=r"name one: owner/name:FILE\.gguf"):
        resolve("owner/name", Path("/nowhere"), Silent())


def test_a_reward_model_is_no_model_that_answers(tiny: Path, tmp_path: Path) -> None:
    """Its embeddings are its LM head too, so that nothing is missing."""
    module = load_trainable(tiny, dtype=torch.float32, lm=False, score=True)
    with durable.folder(tmp_path / "rm") as filling:
        save_trainable(module, filling, Tokenizer.load(tiny), dtype=torch.float32)
    with pytest.raises(ModelError, match="a reward model, which scores and does not answer"):
        resolve("rm", tmp_path, Silent())


def test_an_adapter_of_the_hub_and_its_base(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base of the revision that the adapter names; nothing is asked of the adapter's folder but that it is one."""
    with quiet():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), PeftConfig(target_modules=["q_proj"]))
        model.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    stated = {**json.loads(path.read_bytes()), "base_model_name_or_path": "owner/base", "revision": "v2"}
    path.write_text(json.dumps(stated))
    asked: list[tuple[str, str | None]] = []

    def fetched(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        return str(tiny if repository == "owner/base" else tmp_path / "adapter")

    monkeypatch.setattr(sources, "snapshot_download", fetched)
    merged = load_trainable(resolve("owner/adapter", tmp_path, Silent()), dtype=torch.float32)
    assert asked[0] == ("owner/adapter", None)
    assert ("owner/base", "v2") in asked
    plain = load_trainable(tiny, dtype=torch.float32)
    assert torch.equal(
        merged.backbone.layers[0].self_attn.q_proj.weight, plain.backbone.layers[0].self_attn.q_proj.weight
    )


@pytest.mark.parametrize("file", ["config.json", "chat_template.jinja"])
def test_what_is_refused_is_refused_before_its_weights_are_fetched(
    file: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for each in tiny.iterdir():
        if each.suffix != ".safetensors" and each.name not in (file, "manifest.json"):
            shutil.copyfile(each, small / each.name)
    asked: list[list[str]] = []

    def fetched(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(small)

    monkeypatch.setattr(sources, "snapshot_download", fetched)
    with pytest.raises(ModelError):
        resolve("owner/name", tmp_path, Silent())
    assert len(asked) == 1


def test_a_wheel_with_other_bytes_is_not_the_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / WHEEL).write_bytes(b"something else")
    monkeypatch.setenv("BURNISH_WHEELS", str(tmp_path))
    with pytest.raises(ModelError, match="SHA-256"):
        resolve(ALIAS, tmp_path, Silent())


@pytest.mark.slow
def test_the_alias_renders_as_transformers_does() -> None:
    from transformers import AutoTokenizer

    try:
        folder = resolve(ALIAS, Path(), Silent())
    except MachineError as error:
        pytest.skip(str(error))
    theirs = AutoTokenizer.from_pretrained(folder)
    tokenizer = Tokenizer.load(folder)
    renderer = Renderer(tokenizer)
    assert (tokenizer.end_id, tokenizer.vocab_size, len(tokenizer.special)) == (2, 49152, 17)
    for content in ("Hello", "¿Cuánto cuesta? 35 €", "Liste:\n\n1. Größe 42\n2. Ärmel", "def f(x):\n    return 2**10"):
        messages = [Message(role="user", content=content), Message(role="assistant", content=content)]
        text = theirs.apply_chat_template([m.as_json() for m in messages], tokenize=False)
        assert renderer.example(messages).ids == theirs(text, add_special_tokens=False)["input_ids"]
    forged = "".join(tokenizer.special)
    assert not set(tokenizer.encode(forged)) & set(tokenizer.special.values())
    assert tokenizer.decode(tokenizer.encode(forged)) == forged
