"""Every family does what its own classes in transformers do: trained in packs or rows, adapted, and writing answers."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    OPTConfig,
    PixtralVisionConfig,
    PretrainedConfig,
)

from burnish.batches import Document, pack
from burnish.errors import DataError, ModelError
from burnish.models import attention, head, load
from burnish.models.attention import DenseAttention, Rule, register
from burnish.models.folder import backbone_name
from burnish.models.forward import Layout
from burnish.models.load import load_trainable
from burnish.models.lora import LoraConfig, adapt, adapted, merge
from burnish.models.tiny import tiny_tokenizer, write_random
from burnish.models.weights import FILE
from burnish.records import durable
from burnish.rollout import cache, prefill
from burnish.rollout.engine import Engine
from burnish.types import Sampling

from .families import FAMILIES, GROUPED, MIXED, OLDER, SMALL, write

TREE = [name for name, family in FAMILIES.items() if family.layout is Layout.TREE]
DOCUMENTS = [
    Document(row="a", ids=[9, 8, 7, 6, 5, 14, 15], branches=[[1, 2, 3, 11, 12, 13], [4], [1, 2, 9, 9]]),
    Document(row="b", ids=[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], weights=[0.0, *[1.0] * 11]),
    Document(row="c", ids=[2], branches=[[7, 1], [8, 2, 8]]),
]
PROMPTS = [(9, 8, 7, 6, 5, 14), (9, 8, 7, 6, 5, 14, 15, 16), (2,), (3, 1, 4, 1, 5, 9, 2)]
LOGPROB, GRADIENT = 1e-5, 1e-5
"""Largest difference of a log-probability, and of all gradients as a share of their length: fp32 sums in another order.
What each of the bugs below does is a thousand times as much."""
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a family's model, written once."""
    root = tmp_path_factory.mktemp("families")
    return lambda name: root / name if (root / name).exists() else write(root / name, name)


@pytest.fixture
def one_at_a_time(folder: Folder) -> Callable[[str], tuple[Tensor, Tensor]]:
    """What the architecture itself says of `DOCUMENTS`, by its eager attention: log-probs of targets, and gradients."""

    def reference(name: str) -> tuple[Tensor, Tensor]:
        model = whole(folder(name))
        parts = [_targets(model, document.ids, document.weights, branch) for document, branch in _sequences()]
        logprobs_N = torch.cat(parts)
        logprobs_N.sum().backward()
        return logprobs_N.detach(), gradients(getattr(model, backbone_name(model)))

    return reference


def whole(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager").eval()


def gradients(backbone: nn.Module) -> Tensor:
    """Of all parameters by name; zeros for an expert that no token reached."""
    named = sorted(backbone.named_parameters())
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for _, p in named])


def _sequences() -> list[tuple[Document, list[int]]]:
    return [(document, list(branch)) for document in DOCUMENTS for branch in document.branches or [[]]]


def _targets(model: Any, ids: Any, weights: Any, branch: list[int]) -> Tensor:
    """Log-probabilities of the branch's tokens; of those of weight 1 where there is none."""
    row = torch.tensor([*ids, *branch])
    learned = [position for position in range(1, len(row)) if position >= len(ids) or (weights and weights[position])]
    logprobs_TV = model(input_ids=row[None], use_cache=False).logits[0].log_softmax(-1)
    return logprobs_TV[[position - 1 for position in learned], row[learned]]


def apart(path: Path, reference: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """How far one pack of all documents is from the reference: log-probabilities, gradients."""
    module = load_trainable(path, dtype=torch.float32)
    logprobs_N = module(pack(DOCUMENTS)).logprobs_N
    logprobs_N.sum().backward()
    found, wanted = gradients(module.backbone), reference[1]
    return float((logprobs_N - reference[0]).abs().max().detach()), float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_is_each_sequence_alone_in_the_architectures_own_classes(
    name: str, folder: Folder, one_at_a_time: Callable[[str], tuple[Tensor, Tensor]]
) -> None:
    assert load_trainable(folder(name), dtype=torch.float32).layout is FAMILIES[name].layout
    logprob, gradient = apart(folder(name), one_at_a_time(name))
    assert logprob < LOGPROB
    assert gradient < GRADIENT


@pytest.mark.parametrize("name", TREE)
def test_the_slow_reference_agrees(name: str, folder: Folder) -> None:
    module, batch = load_trainable(folder(name), dtype=torch.float32), pack(DOCUMENTS)
    with torch.no_grad():
        tree_TC, dense_TC = module.hidden(batch), module.hidden(batch, DenseAttention(batch))
    torch.testing.assert_close(tree_TC, dense_TC, rtol=0, atol=1e-5 * float(dense_TC.abs().max()))


def test_the_page_says_what_is_tested() -> None:
    """The table of families: names, and tree or rows."""
    page = Path(__file__).parents[2] / "docs" / "decisions" / "0015-attention-of-every-family.md"
    rows = re.findall(r"^\| ([\w, ]+) \| (tree|rows) \|", page.read_text(), re.MULTILINE)
    listed = {name: layout for names, layout in rows for name in re.findall(r"\w+", names) if name in FAMILIES}
    assert listed == {name: family.layout.value for name, family in FAMILIES.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_files_have_the_names_that_transformers_writes_and_both_of_its_forms_are_read(
    name: str, tmp_path: Path
) -> None:
    """Files have each expert's matrices by themselves, memory has them stacked; some programs write the latter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[name].config)
    for form, original in (("filed", True), ("stacked", False)):
        model.save_pretrained(tmp_path / form, save_original_format=original)
        module = load_trainable(tmp_path / form, dtype=torch.float32)
        load.save_weights(module, tmp_path / "ours.safetensors", dtype=torch.float32)
        ours, theirs = load_file(tmp_path / "ours.safetensors"), load_file(tmp_path / "filed" / FILE)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[each], theirs[each]) for each in ours)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_that_was_saved_without_its_lm_head_is_read_again(name: str, folder: Folder, tmp_path: Path) -> None:
    """As reward models are. GPT-NeoX has another name for its head in files than in memory."""
    module = load_trainable(folder(name), dtype=torch.float32, lm=False, score=True)
    with durable.folder(tmp_path / "reward") as filling:
        load.save_trainable(module, filling, tiny_tokenizer(), dtype=torch.float32)
    again = load_trainable(tmp_path / "reward", dtype=torch.float32, lm=False, score=True)
    ours, theirs = again.state_dict(), module.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[each], theirs[each]) for each in ours)


def test_tied_embeddings_of_a_family_with_another_name_for_its_head(tmp_path: Path) -> None:
    config = GPTNeoXConfig(**SMALL, tie_word_embeddings=True)
    module = load_trainable(write_random(tmp_path / "model", config), dtype=torch.float32)
    assert module.lm is not None
    assert module.lm.weight is module.backbone.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["deepseek_v3", "glm4_moe"])
def test_what_a_router_chooses_experts_by_is_not_rounded(name: str, folder: Folder, tmp_path: Path) -> None:
    correction = "e_score_correction_bias"
    module = load_trainable(folder(name), dtype=torch.float32)
    precise = {each: t for each, t in module.backbone.named_buffers() if each.endswith(correction)}
    for each in precise.values():
        each.copy_(torch.linspace(0.1, 0.2, len(each)))
    load.save_weights(module, tmp_path / FILE, dtype=torch.bfloat16)
    for each in folder(name).iterdir():
        if each.name not in (FILE, durable.MANIFEST):
            shutil.copyfile(each, tmp_path / each.name)
    again = load_trainable(tmp_path, dtype=torch.bfloat16)
    found = {each: t for each, t in again.backbone.named_buffers() if each.endswith(correction)}
    assert len(found) == len(precise) > 0
    assert all(torch.equal(found[each], precise[each]) for each in found)
    assert next(again.backbone.parameters()).dtype is torch.bfloat16


SEEING: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", ["gemma3", "mistral3"])
def test_of_a_model_that_sees_the_decoder_of_text_is_taken(name: str, older: bool, tmp_path: Path) -> None:
    """By its own configuration, out of files that have it under either name; what sees is left out. What is saved is a
    model of text."""
    torch.manual_seed(0)
    if name == "gemma3":
        text = Gemma3TextConfig(**MIXED, query_pre_attn_scalar=20)
        config: Any = Gemma3Config(text_config=text, vision_config=SEEING, mm_tokens_per_image=1)
        model: Any = Gemma3ForConditionalGeneration(config).eval()
    else:
        config = Mistral3Config(
            text_config=MistralConfig(**GROUPED), vision_config=PixtralVisionConfig(**SEEING, head_dim=8)
        )
        model = Mistral3ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path / "seeing")
    stored = load_file(tmp_path / "seeing" / FILE)
    kinds = (("language_model.model.", "model.language_model."), ("language_model.lm_head.", "lm_head."))
    for before, after in kinds:
        old, new = (after, before) if older else (before, after)
        stored = {new + each.removeprefix(old) if each.startswith(old) else each: t for each, t in stored.items()}
    assert any(each.startswith(kinds[0][not older]) for each in stored)
    save_file(stored, tmp_path / "seeing" / FILE, {"format": "pt"})
    module = load_trainable(tmp_path / "seeing", dtype=torch.float32)
    ids = list(DOCUMENTS[1].ids)
    wanted_NV = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    wanted_N = wanted_NV[range(len(ids) - 1), ids[1:]]
    found_N = module(pack([Document(row="a", ids=ids, weights=[0.0, *[1.0] * (len(ids) - 1)])])).logprobs_N
    torch.testing.assert_close(found_N, wanted_N, rtol=0, atol=LOGPROB)
    with durable.folder(tmp_path / "text") as filling:
        load.save_trainable(module, filling, tiny_tokenizer(), dtype=torch.float32)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "text").eval()
    assert "vision_config" not in plain.config.to_dict()
    torch.testing.assert_close(plain(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1), wanted_NV)


def unlike(path: Path, slots: int = 3) -> float:
    """How far the log-probabilities of sampled answers are from those that the architecture gives the same tokens."""
    module = load_trainable(path, dtype=torch.float32)
    rows = Engine(module, end_ids=(), slots=slots).generate(PROMPTS, Sampling(max_new_tokens=7, seed=2), 2)
    model = whole(path)
    with torch.no_grad():
        differences = [
            (torch.tensor(answer.logprobs) - _targets(model, prompt, None, list(answer.ids))).abs().max()
            for prompt, row in zip(PROMPTS, rows, strict=True)
            for answer in row
        ]
    return float(max(differences))


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_sampled_from_the_architectures_own_distribution(name: str, folder: Folder) -> None:
    assert unlike(folder(name)) < LOGPROB


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gpt_oss", "deepseek_v2"])
def test_bfloat16_runs_through_every_kind_of_rule(name: str, folder: Folder) -> None:
    """The scorer computes attention in fp32 and the engine in bfloat16; what is left out shows as 0.1 and more."""
    module = load_trainable(folder(name), dtype=torch.bfloat16)
    rows = Engine(module, end_ids=(), slots=3).generate(PROMPTS, Sampling(max_new_tokens=7, seed=2), 2)
    answers = [[answer.ids for answer in row] for row in rows]
    documents = [Document(row="", ids=ids, branches=row) for ids, row in zip(PROMPTS, answers, strict=True)]
    sampled_N = torch.tensor([logprob for row in rows for answer in row for logprob in answer.logprobs])
    scored_N = module(pack(documents)).logprobs_N.detach().float()
    assert (sampled_N - scored_N).abs().mean() < 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapter_on_all_linear_layers_can_be_trained_and_merged(name: str, folder: Folder) -> None:
    module, batch = load_trainable(folder(name), dtype=torch.float32), pack(DOCUMENTS)
    base_N = module(batch).logprobs_N.detach()
    adapt(module, LoraConfig(rank=2, alpha=4), seed=0)
    assert torch.equal(module(batch).logprobs_N, base_N)
    layers = adapted(module.backbone).values()
    for number, layer in enumerate(layers):
        nn.init.normal_(layer.lora_B, std=0.05, generator=torch.Generator().manual_seed(number))
    logprobs_N = module(batch).logprobs_N
    logprobs_N.sum().backward()
    assert all(layer.lora_A.grad is not None and layer.weight.grad is None for layer in layers)
    merge(module)
    torch.testing.assert_close(module(batch).logprobs_N, logprobs_N, rtol=0, atol=1e-4)
    assert (logprobs_N - base_N).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mixtral", "MixtralExperts, MixtralTopKRouter"),
        ("gpt_oss", "GptOssExperts"),
        ("lfm2", "Conv1d"),
        ("gemma3_text", ""),
    ],
)
def test_what_an_adapter_leaves_alone_is_said(
    name: str, left: str, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    module = load_trainable(folder(name), dtype=torch.float32)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="burnish.models.lora"):
        adapt(module, LoraConfig(rank=2, alpha=4), seed=0)
    assert (f"({left}" in caplog.text) if left else not caplog.records


# Each bug is put back, and the test above that should find it does.

Patch = pytest.MonkeyPatch


def windows_in_pack_indices(patch: Patch) -> None:
    """A branch is as far from its prompt as the branches before it are long."""
    near = attention.near
    patch.setattr(attention, "near", lambda positions_T, window: near(torch.arange(len(positions_T)), window))


def windows_one_too_long(patch: Patch) -> None:
    near = attention.near
    patch.setattr(attention, "near", lambda positions_T, window: near(positions_T, window + 1))


def ruled(**changes: Any) -> Callable[[Patch], None]:
    """A part of the rule is dropped, for training and for generation."""

    def put_back(patch: Patch) -> None:
        made: Callable[..., Rule] = attention.Rule
        patch.setattr(attention, "Rule", lambda **given: made(**{**given, **changes}))

    return put_back


BUGS = {
    "mistral: windows in pack indices": windows_in_pack_indices,
    "cohere2: windows in pack indices": windows_in_pack_indices,
    "mistral: windows one too long": windows_one_too_long,
    "gpt_oss: no window": ruled(window=None),
    "gemma2: no soft cap": ruled(softcap=None),
    "gpt_oss: no sinks": ruled(sinks_H=None),
    "granite: its scale is not taken": ruled(scale=8**-0.5),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_training_is_found(
    bug: str, folder: Folder, one_at_a_time: Callable[[str], tuple[Tensor, Tensor]], monkeypatch: Patch
) -> None:
    name = bug.partition(":")[0]
    wanted = one_at_a_time(name)
    load_trainable(folder(name), dtype=torch.float32)  # probed while all is well
    BUGS[bug](monkeypatch)
    logprob, gradient = apart(folder(name), wanted)
    assert logprob > 1000 * LOGPROB
    assert gradient > 1000 * GRADIENT


def unmasked(kind: type[Any]) -> Callable[[Patch], None]:
    """One of the engine's two attentions forgets the window."""
    call = kind.__call__

    def put_back(patch: Patch) -> None:
        patch.setattr(kind, "__call__", lambda self, *given: call(self, *given[:-1], replace(given[-1], window=None)))

    return put_back


ENGINE_BUGS = {
    "mistral: no window in the prompt": unmasked(prefill.PrefillAttention),
    "mistral: no window in the answer": unmasked(cache.StepAttention),
    "gemma2: no soft cap": ruled(softcap=None),
    "gpt_oss: no sinks": ruled(sinks_H=None),
}


@pytest.mark.parametrize("bug", ENGINE_BUGS)
def test_a_bug_in_generation_is_found(bug: str, folder: Folder, monkeypatch: Patch) -> None:
    name = bug.partition(":")[0]
    load_trainable(folder(name), dtype=torch.float32)
    ENGINE_BUGS[bug](monkeypatch)
    assert unlike(folder(name)) > 1000 * LOGPROB


def test_chunks_are_seen_by_the_mask_alone(
    folder: Folder, one_at_a_time: Callable[[str], tuple[Tensor, Tensor]], monkeypatch: Patch
) -> None:
    """Llama 4 tells its layers nothing of chunks, and the probe's forest is shorter than any: only the mask knows."""
    wanted = one_at_a_time("llama4")
    with monkeypatch.context() as patch:
        patch.setattr(load, "_probed", {})
        patch.setattr(attention, "_mask", lambda **_: None)
        assert load_trainable(folder("llama4"), dtype=torch.float32).layout is Layout.TREE
        assert apart(folder("llama4"), wanted)[0] > 1000 * LOGPROB
    register()


@pytest.mark.parametrize("name", ["gemma2", "granite", "cohere"])
def test_logits_that_are_not_the_architectures_are_refused(name: str, folder: Folder, monkeypatch: Patch) -> None:
    monkeypatch.setattr(load, "_checked", set())
    for names in ("_CAPS", "_FACTORS", "_DIVISORS"):
        monkeypatch.setattr(head, names, ())
    with pytest.raises(ModelError, match="its logits are not those of its LM head"):
        load_trainable(folder(name), dtype=torch.float32)


def test_what_attention_does_not_know_is_refused(folder: Folder) -> None:
    module = load_trainable(folder("llama"), dtype=torch.float32)
    attend, row = attention.TreeAttention(pack([Document(row="a", ids=[1, 2, 3])])), torch.tensor([[1, 2, 3]])
    for unknown in ({"position_bias": torch.zeros(1)}, {"indices": 0}, {"sliding_window": 2}, {"is_causal": False}):
        with pytest.raises(ModelError, match="burnish does not compute"):
            module.backbone(input_ids=row, attend=attend, use_cache=False, **unknown)


def test_rotations_that_depend_on_the_pack_have_a_longest_document(folder: Folder) -> None:
    """Of 16 tokens, and the architecture is the same up to there (it is among those above); one more is refused."""
    module = load_trainable(folder("phi3_long"), dtype=torch.float32)
    module(pack([Document(row="a", ids=list(range(16)), weights=[1.0] * 16)]))
    with pytest.raises(DataError, match="b: longer than 16 tokens"):
        module(pack([Document(row="a", ids=[1]), Document(row="b", ids=list(range(9)), branches=[[1], [2] * 8])]))
    with pytest.raises(DataError, match="the model's context is 16"):
        Engine(module, end_ids=()).generate([tuple(range(10))], Sampling(max_new_tokens=7))


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(**OLDER, n_embd=32, n_layer=2, n_head=4, n_positions=16),
        OPTConfig(
            vocab_size=OLDER["vocab_size"],
            hidden_size=32,
            word_embed_proj_dim=32,
            ffn_dim=64,
            num_attention_heads=4,
            num_hidden_layers=2,
            max_position_embeddings=16,
        ),
    ],
    ids=["gpt2", "opt"],
)
def test_learned_positions_end_somewhere(config: PretrainedConfig, tmp_path: Path) -> None:
    """Beyond them torch finds no row of the table, and would not say of which document."""
    module = load_trainable(write_random(tmp_path / "model", config), dtype=torch.float32)
    module(pack([Document(row="a", ids=list(range(16)), weights=[1.0] * 16)]))
    with pytest.raises(DataError, match="b: longer than 16 tokens"):
        module(pack([Document(row="a", ids=[1]), Document(row="b", ids=list(range(9)), branches=[[1], [2] * 8])]))
