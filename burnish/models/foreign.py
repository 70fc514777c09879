"""Adapters that other programs made, merged into their bases by peft, which knows all that such an adapter may be:
scaled otherwise or by layer, with magnitudes of its own (DoRA), with biases, embeddings and heads that were trained
whole, with further tokens. Knows what cannot be merged; trains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from burnish.errors import ModelError, Problem
from burnish.models import folder as folders
from burnish.models import weights
from burnish.models.load import plain_model
from burnish.models.quiet import quiet
from burnish.records.adapters import CONFIG, FILE

KIND = "an adapter as peft writes it"
_BASE = "base_model.model."
"""Before every name of the whole model."""
_HEADS = (("lm_head.", "lm_head."), ("language_model.lm_head.", "lm_head."))
"""The LM head of a model of several senses, in newer files and in older ones."""
_ADAPTED_ENDS = re.compile(r"(lm_head|embed_out|embed_tokens|wte|embed_in)\.lora_")
"""A and B of an LM head, or of embeddings."""
_MERGED = (
    *(
        "r",
        "lora_alpha",
        "lora_dropout",
        "use_rslora",
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
        "bias",
        "lora_bias",
    ),
    *("target_modules", "target_parameters", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("modules_to_save", "trainable_token_indices", "ensure_weight_tying", "fan_in_fan_out"),
    *("task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping"),
    *("eva_config", "megatron_core", "qalora_group_size"),
)
"""Settings of which merging takes care, or that say nothing of what was learned. Others must have peft's defaults."""
_BEGINNINGS = (True, False, "gaussian", "eva", "orthogonal")
"""How A and B may have begun: other ways (PiSSA, OLoRA, LoftQ) take what they begin with out of the base."""
_FAULTS = (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError)
"""What peft raises for an adapter that does not fit its base, or is of a kind that it does not merge."""
_MEND = (
    'Merge it where it was made: python -c "from peft import AutoPeftModelForCausalLM as M; '
    "M.from_pretrained('ADAPTER').merge_and_unload().save_pretrained('FOLDER')\"."
)


def merged(adapter: Path, base: Path, *, scores: bool = False) -> PreTrainedModel:
    """The model that base and adapter are together, in fp32: one that answers, or one that `scores`. Raises ModelError
    for what cannot be merged, or does not fit."""
    _require_mergeable(adapter)
    found, file = folders.read(base), adapter / FILE
    sees = any(name.startswith(folders.DECODERS) for name in found.entries)
    names = {name: own for name in weights.read_header(file) if (own := _in_decoder(name) if sees else name)}
    tensors, _ = weights.read_tensors([file], names, torch.float32)
    model: Any = _scorer(found, tensors) if scores else plain_model(found, dtype=torch.float32)
    try:
        with quiet():
            config: Any = PeftConfig.from_pretrained(str(adapter))
            config.init_lora_weights = True  # nothing is left of how it began
            if sees:  # it may be told by names of the whole model
                config.target_modules = sorted(
                    {name.partition(".lora_")[0].removeprefix(_BASE) for name in tensors if ".lora_" in name}
                )
            model = _put_on(model, config, tensors)
    except _FAULTS as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(Problem(str(adapter), f"peft cannot put it on {base} ({error})")) from error
    if not scores:
        _untie(model)
    return model


def _put_on(model: Any, config: Any, tensors: dict[str, Tensor]) -> Any:
    """The model with an adapter's tensors added to its own. Raises ModelError where there are too few, or too many."""
    rows = next((tensor.shape[0] for name, tensor in tensors.items() if name.endswith("embed_tokens.weight")), None)
    if rows not in (None, model.get_input_embeddings().weight.shape[0]):
        model.resize_token_embeddings(rows, mean_resizing=False)
    if not config.ensure_weight_tying and any(_ADAPTED_ENDS.search(name) for name in tensors):
        _part(model)
    wrapped: Any = get_peft_model(model, config)
    loaded: Any = set_peft_model_state_dict(wrapped, tensors)
    problems = [Problem(name, "missing in the adapter") for name in loaded.missing_keys if ".lora_" in name]
    problems += [Problem(name, "no layer of the base") for name in loaded.unexpected_keys]
    if problems:
        raise ModelError(*problems)
    return wrapped.merge_and_unload()


def _in_decoder(name: str) -> str | None:
    """What a tensor is called where of a model of several senses the decoder of text is left; None of another sense."""
    inner = name.removeprefix(_BASE)
    for before, after in (*((prefix, "model.") for prefix in folders.DECODERS), *_HEADS):
        if inner.startswith(before):
            return f"{_BASE}{after}{inner.removeprefix(before)}"
    return None


def _scorer(found: folders.Folder, entries: Collection[str]) -> PreTrainedModel:
    """The base in the class that gives a sequence one score, with a head whose place the adapter's takes."""
    if not any(name.endswith(folders.SCORE) for name in entries):
        raise ModelError(Problem(folders.SCORE, "the adapter brings no head that scores"))
    found.config.num_labels = 1
    plain: Any = plain_model(found, dtype=torch.float32, headless=True)
    with quiet():
        scoring: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(found.config)]
        model = scoring(found.config)
    name = folders.backbone_name(plain)
    getattr(model, name).load_state_dict(getattr(plain, name).state_dict())
    return model


def _part(model: Any) -> None:
    """Merging adds to weights in place: what is added to one end must not reach the other where the two are one."""
    head = model.get_output_embeddings()
    if head is not None:
        head.weight = nn.Parameter(head.weight.detach().clone())


def _untie(model: Any) -> None:
    """Where embeddings or head learned by themselves, the two are no longer one."""
    config, head, table = model.config, model.get_output_embeddings(), model.get_input_embeddings()
    if config.tie_word_embeddings and not torch.equal(head.weight, table.weight):
        config.tie_word_embeddings = False


def _require_mergeable(adapter: Path) -> None:
    path = adapter / CONFIG
    stated = folders.read_json(path, KIND)
    if not (adapter / FILE).is_file():
        weights.refuse_pickles(adapter, _MEND)
        raise ModelError(Problem(str(adapter), f"no {FILE} here: not {KIND}"))
    if (kind := stated.get("peft_type")) != "LORA":
        raise ModelError(Problem(f"{path}: peft_type", f"{kind}, and only LORA is merged into its base here", _MEND))
    usual = PeftConfig().to_dict()
    problems = [
        Problem(f"{path}: {name}", f"{value!r}, which cannot be merged here")
        for name, value in stated.items()
        if name not in (*_MERGED, "init_lora_weights", "peft_type") and value not in (usual.get(name), None, False, {})
    ]
    if (began := stated.get("init_lora_weights", True)) not in _BEGINNINGS:
        found = f"{began!r}: its base was changed before it was trained"
        problems.append(Problem(f"{path}: init_lora_weights", found, _MEND))
    if problems:
        raise ModelError(*problems)
