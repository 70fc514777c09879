"""What is saved is what is loaded, by us and by transformers."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from burnish.batches import Document, pack
from burnish.chat.tokenizer import GENERATION, Tokenizer
from burnish.errors import BurnishError, ConfigError, DataError, ModelError
from burnish.models import weights
from burnish.models.folder import HEADS
from burnish.models.forward import Output, Trainable
from burnish.models.load import load_trainable, pick_dtype, save_trainable
from burnish.models.tiny import write_tiny
from burnish.records import durable

from .families import write

BATCH = pack([Document(row="a", ids=[5, 6, 7], branches=[[1, 2], [3, 4, 258]])])


def outputs(module: Trainable) -> Output:
    with torch.no_grad():
        return module(BATCH)


def saved(module: Trainable, folder: Path, tiny: Path, dtype: torch.dtype = torch.float32) -> Path:
    with durable.folder(folder) as filling:
        save_trainable(module, filling, Tokenizer.load(tiny), dtype=dtype)
    return folder


def test_the_same_arguments_give_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    again, other = write_tiny(tmp_path / "again"), write_tiny(tmp_path / "other", seed=1)
    assert durable.digest_folder(again) == durable.digest_folder(tiny)
    assert durable.digest_folder(other) != durable.digest_folder(tiny)


def test_transformers_loads_what_we_save(module: Trainable, tiny: Path, tmp_path: Path) -> None:
    folder = saved(module, tmp_path / "m", tiny)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 6, 7, 3, 4, 258]])
    with torch.no_grad():
        logprobs = theirs(ids).logits[0].float().log_softmax(-1)
    wanted = logprobs[torch.arange(2, 5), ids[0, 3:]]
    torch.testing.assert_close(outputs(module).logprobs_N[2:], wanted, rtol=0, atol=1e-5)
    assert theirs.generation_config.eos_token_id == 258
    assert AutoTokenizer.from_pretrained(folder)("hi")["input_ids"] == Tokenizer.load(folder).encode("hi")


def test_all_ends_are_saved_and_the_learned_one_stands_first(module: Trainable, tiny: Path, tmp_path: Path) -> None:
    base = _spoilt(tiny, tmp_path / "base", lambda f: (f / GENERATION).write_text('{"eos_token_id": [256, 257, 258]}'))
    folder = saved(module, tmp_path / "m", base)
    assert json.loads((folder / GENERATION).read_text()) == {"eos_token_id": [258, 256, 257], "pad_token_id": 258}
    assert Tokenizer.load(folder).end_ids == {256, 257, 258}


def test_tied_weights_are_one_tensor_in_memory_and_on_disk(module: Trainable, tiny: Path, tmp_path: Path) -> None:
    assert module.lm.weight is module.backbone.get_input_embeddings().weight
    stored = load_file(saved(module, tmp_path / "m", tiny) / "model.safetensors")
    assert "lm_head.weight" not in stored


def test_untied_heads_are_kept(tiny: Path, tmp_path: Path) -> None:
    folder = _spoilt(tiny, tmp_path / "m", untie)
    module = load_trainable(folder, dtype=torch.float32)
    assert module.lm.weight is not module.backbone.get_input_embeddings().weight
    again = load_trainable(saved(module, tmp_path / "n", tiny), dtype=torch.float32)
    assert torch.equal(again.lm.weight, module.lm.weight)
    headless = load_trainable(folder, dtype=torch.float32, lm=False, score=True)
    assert headless.lm is None
    assert load_trainable(saved(headless, tmp_path / "o", tiny), dtype=torch.float32, lm=False, score=True).lm is None


def test_a_reward_model_keeps_its_score_head_in_fp32(tiny: Path, tmp_path: Path) -> None:
    module = load_trainable(tiny, dtype=torch.bfloat16, lm=False, score=True)
    folder = saved(module, tmp_path / "m", tiny, torch.bfloat16)
    assert {name: tensor.dtype for name, tensor in load_file(folder / HEADS).items()} == {
        "score.weight": torch.float32,
        "score.bias": torch.float32,
    }
    again = load_trainable(folder, dtype=torch.bfloat16, lm=False, score=True)
    assert torch.equal(outputs(module).scores_B, outputs(again).scores_B)
    assert outputs(again).logprobs_N is None


def test_new_heads_start_as_stated(tiny: Path) -> None:
    torch.manual_seed(3)
    first = load_trainable(tiny, dtype=torch.float32, value=True, score=True)
    torch.manual_seed(3)
    second = load_trainable(tiny, dtype=torch.float32, value=True, score=True)
    assert outputs(first).values_N.abs().max() == 0
    assert torch.equal(first.score.weight, second.score.weight)
    assert 0.05 < first.score.weight.std() < 0.4  # 1/sqrt(33) is 0.17


def test_fewer_layers(tiny: Path) -> None:
    module = load_trainable(tiny, dtype=torch.float32, layers=1)
    assert len(module.backbone.layers) == module.backbone.config.num_hidden_layers == 1
    assert not torch.equal(outputs(module).logprobs_N, outputs(load_trainable(tiny, dtype=torch.float32)).logprobs_N)
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        load_trainable(tiny, dtype=torch.float32, layers=3)


def test_types(tiny: Path) -> None:
    module = load_trainable(tiny, dtype=torch.bfloat16, value=True)
    assert {p.dtype for p in module.backbone.parameters()} == {torch.bfloat16}
    assert module.value.weight.dtype == torch.float32
    assert pick_dtype("float32") is torch.float32
    assert pick_dtype("auto") in (torch.float32, torch.bfloat16)
    with pytest.raises(ConfigError, match="float16"):
        pick_dtype("float16")


def test_dropout_of_the_configuration_works_in_training_only(tmp_path: Path) -> None:
    module = load_trainable(write_tiny(tmp_path / "m", dropout=0.5), dtype=torch.float32)
    assert torch.equal(outputs(module).logprobs_N, outputs(module).logprobs_N)
    module.train()
    assert not torch.equal(outputs(module).logprobs_N, outputs(module).logprobs_N)


def test_loaded_weights_do_not_hang_on_the_file(tiny: Path, tmp_path: Path) -> None:
    folder = _spoilt(tiny, tmp_path / "m", lambda _: None)
    module = load_trainable(folder, dtype=torch.float32)
    before = outputs(module).logprobs_N
    with open(folder / "model.safetensors", "r+b") as file:
        file.write(bytes(file.seek(0, 2)))
    assert torch.equal(outputs(module).logprobs_N, before)


# What follows spoils a folder in one way each. The copy is not sealed: digests would find everything.


def _spoilt(tiny: Path, folder: Path, spoil: Callable[[Path], object]) -> Path:
    folder.mkdir()
    for file in tiny.iterdir():
        if file.name != durable.MANIFEST:
            (folder / file.name).write_bytes(file.read_bytes())
    spoil(folder)
    return folder


def weights_with(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return spoil


def config_with(**values: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


def header_with(change: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = change(data[8 : 8 + length].decode()).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])

    return spoil


def untie(folder: Path) -> None:
    config_with(tie_word_embeddings=False)(folder)
    weights_with(lambda t: t.update({"lm_head.weight": torch.randn(259, 32)}))(folder)


def pickled(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors").rename(folder / name) and None


def indexed(value: object) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors.index.json").write_text(json.dumps(value)) and None


def resized(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return spoil


NORM, GATE = "model.norm.weight", "model.layers.1.mlp.gate_proj.weight"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "pytorch_model.bin": (pickled("pytorch_model.bin"), "pytorch_model.bin: pickle can run code: refused.*convert"),
    "model.pt": (pickled("model.pt"), "pickle can run code"),
    "model.ckpt": (pickled("model.ckpt"), "pickle can run code"),
    "weights.npy": (pickled("weights.npy"), "pickle can run code"),
    "model.joblib": (pickled("model.joblib"), "pickle can run code"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors here"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "no config.json here"),
    "configuration not JSON": (lambda f: (f / "config.json").write_text("{'a': 1}"), "config.json: not JSON"),
    "auto_map": (
        config_with(auto_map={"AutoModel": "modeling_x.Y"}, model_type="own"),
        r"brings its own code \(auto_map\): not run",
    ),
    "code beside": (
        lambda f: (config_with(model_type="own")(f), (f / "modeling_x.py").write_text("raise SystemExit")),
        r"modeling_x\.py.*not run",
    ),
    "unknown architecture": (config_with(model_type="lama"), 'model_type .lama.*Did you mean "llama"'),
    "text as a size": (config_with(hidden_size="many"), "not a configuration of llama"),
    "a billion layers": (config_with(num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    "no heads": (config_with(num_attention_heads=0, head_dim=None), "not a configuration of llama|cannot be built"),
    "quantised": (
        config_with(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "weights are quantised .*Use a copy of it in bfloat16",
    ),
    "whole numbers": (
        weights_with(lambda t: t.update({GATE: t[GATE].to(torch.int8)})),
        f"{GATE}: holds I8, floating-point weights are wanted",
    ),
    "truth values": (weights_with(lambda t: t.update({NORM: t[NORM] > 0})), f"{NORM}: holds BOOL"),
    "heads that do not divide": (config_with(num_attention_heads=5, head_dim=None), "config.json|shape"),
    "another shape": (
        weights_with(lambda t: t.update({NORM: torch.ones(7)})),
        rf"{NORM}: shape \[7\], \[32\] is wanted",
    ),
    "missing tensor": (weights_with(lambda t: t.pop(GATE)), rf"{GATE}: missing; \[64, 32\] is wanted"),
    "extra tensor": (
        weights_with(lambda t: t.update({"model.extra": torch.ones(2)})),
        "model.extra: not a tensor of this",
    ),
    "NaN": (
        weights_with(lambda t: t[GATE].view(-1)[:3].fill_(float("nan"))),
        f"{GATE}: 3 of 2,048 values are not finite",
    ),
    "infinity": (weights_with(lambda t: t[NORM][0].fill_(float("-inf"))), f"{NORM}: 1 of 32 values are not finite"),
    "index outside": (indexed({"weight_map": {NORM: "../../etc/passwd"}}), "no safetensors file of this folder"),
    "index of nothing": (indexed({"weight_map": {NORM: "gone.safetensors"}}), "gone.safetensors: named by the index"),
    "index of numbers": (indexed({"weight_map": {NORM: 3}}), "no safetensors file of this folder"),
    "index without map": (indexed([1]), "not an index of weights"),
    "truncated": (resized(lambda data: data[:-5]), "truncated"),
    "longer": (resized(lambda data: data + b"more"), "longer than its header says"),
    "empty": (resized(lambda data: b""), "truncated, or not safetensors"),
    "header of 2^63": (resized(lambda data: (1 << 63).to_bytes(8, "little") + data[8:]), "a header of 9,223,372,036"),
    "header not JSON": (header_with(lambda text: text.replace("{", "(", 1)), "the header is not JSON"),
    "name twice": (header_with(lambda text: text.replace("model.layers.1.", "model.layers.0.")), "stands twice"),
    "unknown type": (header_with(lambda text: text.replace('"F32"', '"F33"', 1)), "dtype 'F33' is unknown"),
    "shape not its bytes": (header_with(lambda text: text.replace("[32]", "[31]", 1)), "bytes for F32 of shape"),
    "negative shape": (header_with(lambda text: text.replace("[32]", "[-32]", 1)), "whole numbers"),
    "huge shape": (
        header_with(lambda text: text.replace("[32]", "[4611686018427387904,4]", 1)),
        "bytes for F32 of shape",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_folders_are_refused_by_name(tiny: Path, tmp_path: Path, kind: str) -> None:
    spoil, said = BAD[kind]
    folder = _spoilt(tiny, tmp_path / "m", spoil)
    with pytest.raises(ModelError, match=said) as caught:
        load_trainable(folder, dtype=torch.float32)
    assert caught.value.exit_code == 2
    assert "Traceback" not in str(caught.value)


def test_code_of_its_own_is_not_run_and_not_needed_where_transformers_has_the_architecture(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As Phi-3's folders are. What is saved names no code, which would not lie there."""
    folder = _spoilt(tiny, tmp_path / "model", config_with(auto_map={"AutoConfig": "configuration_x.X"}))
    (folder / "configuration_x.py").write_text("raise SystemExit")
    module = load_trainable(folder, dtype=torch.float32)
    assert "its own code (configuration_x.py) is not run: transformers has the architecture llama" in caplog.text
    again = saved(module, tmp_path / "again", tiny)
    assert "auto_map" not in json.loads((again / "config.json").read_text())


def test_overlapping_tensors_are_refused(tiny: Path, tmp_path: Path) -> None:
    def overlap(text: str) -> str:
        header = json.loads(text)
        names = sorted((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"][0])
        same = [n for n in names if header[n]["shape"] == [32]]
        header[same[1]]["data_offsets"] = header[same[0]]["data_offsets"]
        return json.dumps(header)

    with pytest.raises(ModelError, match="overlaps the tensor before it"):
        load_trainable(_spoilt(tiny, tmp_path / "m", header_with(overlap)), dtype=torch.float32)


def test_all_problems_are_told_at_once(tiny: Path, tmp_path: Path) -> None:
    folder = _spoilt(tiny, tmp_path / "m", weights_with(lambda t: (t.pop(GATE), t.pop(NORM))))
    with pytest.raises(ModelError) as caught:
        load_trainable(folder, dtype=torch.float32)
    assert len(caught.value.problems) == 2


def test_a_flipped_byte_of_a_sealed_folder_is_found(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "m")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-9] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(DataError, match=r"model\.safetensors: changed since it was written"):
        load_trainable(folder, dtype=torch.float32)


def test_what_the_disk_refuses_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="os error 2") as caught:  # the library's own error has no number to go by
        weights.write(tmp_path / "gone" / "model.safetensors", {"x": torch.ones(1)})
    assert caught.value.errno == errno.ENOENT


def test_a_matrix_of_zeros_is_warned_about(tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = _spoilt(tiny, tmp_path / "m", weights_with(lambda t: t[GATE].zero_()))
    with caplog.at_level(logging.WARNING):
        load_trainable(folder, dtype=torch.float32)
    assert f"{GATE}: every value is zero" in caplog.text


def test_heads_of_another_width_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = _spoilt(tiny, tmp_path / "m", lambda f: save_file({"score.weight": torch.ones(1, 7)}, f / HEADS))
    with pytest.raises(ModelError, match=r"score.weight: shape \[1, 7\], \[1, 32\] is wanted"):
        load_trainable(folder, dtype=torch.float32, score=True)


def test_random_damage_is_a_typed_error_or_harmless(tiny: Path, tmp_path: Path) -> None:
    folder = _spoilt(tiny, tmp_path / "m", lambda _: None)
    whole = (folder / "model.safetensors").read_bytes()
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(3):
            data[int(torch.randint(2500, (), generator=generator))] = int(torch.randint(256, (), generator=generator))
        (folder / "model.safetensors").write_bytes(data)
        try:
            load_trainable(folder, dtype=torch.float32)
        except BurnishError:
            refused += 1
    assert refused > 50  # the rest changed a name's case in metadata, or nothing that is read


def test_a_bias_of_the_lm_head_is_kept_and_may_be_missing(tmp_path: Path) -> None:
    """Phi has one. A reward model is saved without the head, and is loaded again without it."""
    first = write(tmp_path / "first", "phi")
    module = load_trainable(first, dtype=torch.float32)
    assert module.lm is not None
    torch.nn.init.normal_(module.lm.bias)
    with durable.folder(tmp_path / "second") as filling:
        save_trainable(module, filling, Tokenizer.load(first), dtype=torch.float32)
    again = load_trainable(tmp_path / "second", dtype=torch.float32)
    assert again.lm is not None
    assert torch.equal(again.lm.bias, module.lm.bias)
    headless = load_trainable(first, dtype=torch.float32, lm=False, score=True)
    with durable.folder(tmp_path / "scored") as filling:
        save_trainable(headless, filling, Tokenizer.load(first), dtype=torch.float32)
    assert load_trainable(tmp_path / "scored", dtype=torch.float32, lm=False, score=True).lm is None
