"""A model's folder, judged before it is loaded: configuration, code, weights, tokenizer. Knows what transformers has;
loads no values.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.core_model_loading import revert_weight_conversion
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from burnish.chat.tokenizer import GENERATION, Tokenizer
from burnish.errors import ModelError, Problem, nearest, warn_once
from burnish.models import weights
from burnish.models.attention import NAME, register
from burnish.models.quiet import quiet
from burnish.records import durable

_log = logging.getLogger(__name__)
CONFIG = "config.json"
DECODERS = ("language_model.model.", "model.language_model.")
"""Where models of several senses have their decoder of text, in older and in newer files."""
HEADS = "heads.safetensors"
"""Heads that transformers does not know, beside a model of burnish's."""
SCORE = "score.weight"
"""The head of a reward model: of a published one in its own files."""
LAYERS = 1024
"""More decoder layers than any model has: a larger number in a configuration is damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What a folder says it holds."""

    path: Path
    config: PretrainedConfig
    files: list[Path]
    entries: dict[str, weights.Entry]


def read(path: Path) -> Folder:
    """Check a folder's configuration and headers, its digests too if it is sealed. Raises ModelError or DataError."""
    if not path.is_dir():
        raise ModelError(Problem(str(path), "no model folder here"))
    if (path / durable.MANIFEST).is_file():
        durable.verify(path)
    config = read_config(path)
    files = weights.weight_files(path)
    entries = weights.read_headers(files)
    if any(name.startswith(DECODERS) for name in entries) and not any("lm_head." in name for name in entries):
        config.tie_word_embeddings = True  # what is around a decoder of text may say so, and not the decoder's own part
    return Folder(path=path, config=config, files=files, entries=entries)


def read_config(path: Path) -> PretrainedConfig:
    """The architecture's configuration; of a model that also sees or hears, that of its decoder of text. Code that lies
    there is never run. Raises ModelError where transformers has no architecture of its own for it."""
    stated = read_json(path / CONFIG)
    kind, inner = str(stated.get("model_type")), stated.get("text_config")
    decoder = inner if isinstance(inner, dict) and inner.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else {}
    code = sorted(file.name for file in path.glob("*.py")) or ["auto_map"] * ("auto_map" in stated)
    if kind not in (CONFIG_MAPPING if decoder else MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        if code:
            found = f"brings its own code ({', '.join(code)}): not run, architecture not supported"
            mend = "Use a model whose architecture transformers has built in."
            raise ModelError(Problem(str(path / CONFIG), found, mend))
        found = f"model_type {kind!r} is no decoder that transformers has built in"
        raise ModelError(Problem(str(path / CONFIG), found, _near(kind)))
    if code:
        warn_once(
            _log,
            f"{path}: its own code ({', '.join(code)}) is not run: transformers has the architecture {kind} built in",
        )
    if any(part.get("quantization_config") for part in (stated, inner) if isinstance(part, dict)):
        mend = "Use a copy of it in bfloat16, or the model that it was quantised from. To save memory, set lora."
        raise ModelError(Problem(str(path / CONFIG), "its weights are quantised (quantization_config)", mend))
    layers = (decoder or stated).get("num_hidden_layers", 1)
    if type(layers) is not int or not 1 <= layers <= LAYERS:
        raise ModelError(
            Problem(str(path / CONFIG), f"num_hidden_layers is {layers!r}, not a number from 1 to {LAYERS}")
        )
    own = {name: value for name, value in stated.items() if name != "auto_map"}
    try:
        with quiet():
            config = CONFIG_MAPPING[kind].from_dict(own)
            return config.get_text_config() if decoder else config
    except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError, StrictDataclassError) as error:
        raise ModelError(Problem(str(path / CONFIG), f"not a configuration of {kind} ({error})")) from error


def read_json(path: Path, kind: str = "a model folder") -> dict[str, Any]:
    """The JSON object in a file of a folder that should be `kind`. Raises ModelError."""
    if not path.is_file():
        raise ModelError(Problem(str(path.parent), f"no {path.name} here: not {kind}"))
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(Problem(str(path), f"not JSON ({error})")) from error
    if not isinstance(value, dict):
        raise ModelError(Problem(str(path), "not a JSON object"))
    return value


def shell(config: PretrainedConfig) -> PreTrainedModel:
    """The architecture without weights: every parameter on the meta device. Raises ModelError.

    Built on a copy: transformers writes the attention's name into the configuration, which may be that of a living
    model with another one.
    """
    register()
    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation=NAME)
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RuntimeError) as error:
        raise ModelError(
            Problem(CONFIG, f"{config.model_type} cannot be built from this configuration ({error})")
        ) from error


def compare(folder: Folder, model: PreTrainedModel, *, cut: bool = False, headless: bool = False) -> dict[str, str]:
    """The tensors of the files that the model is made of: name in the file -> name that `from_pretrained` knows.

    `cut`: the model has fewer layers than the folder; `headless`: the LM head may be missing. Raises ModelError naming
    every tensor that is missing, too many, of another shape, or of whole numbers where the model's are not.
    """
    wanted, names = _as_filed(folder, model)
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    optional = _named_in_files(model, tied_names(model) | (set(head_tensors(model)) if headless else set()))
    problems = [
        Problem(f"{folder.path}: {name}", f"missing; {list(shape)} is wanted")
        for name, shape in shapes.items()
        if name not in names.values() and name not in optional
    ]
    for file_name, name in names.items():
        entry = folder.entries[file_name]
        if name in shapes and entry.shape != shapes[name]:
            problems.append(
                Problem(f"{entry.file}: {file_name}", f"shape {list(entry.shape)}, {list(shapes[name])} is wanted")
            )
        if name in wanted and wanted[name].is_floating_point() and not entry.floating:
            problems.append(
                Problem(f"{entry.file}: {file_name}", f"holds {entry.dtype}, floating-point weights are wanted")
            )
        if (
            name not in shapes
            and not cut
            and not _left_out(file_name, model)
            and not _of_another_sense(file_name, folder)
            and not (headless and file_name == SCORE)
        ):
            problems.append(Problem(f"{entry.file}: {file_name}", "not a tensor of this architecture"))
    if problems:
        raise ModelError(*problems)
    return {file_name: name for file_name, name in names.items() if name in shapes}


def filed(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the model under the names, and in the parts, that its family has in files and other programs read:
    every expert's matrices by themselves where transformers stacks them in memory."""
    return revert_weight_conversion(model, dict(tensors))


def in_fp32(model: PreTrainedModel) -> Callable[[str], bool]:
    """Which tensors are fp32 beside weights in bfloat16, in memory and in files: the correction by which a router
    chooses experts, for one, which is no weight and would choose others if it were rounded."""
    names = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    pattern = re.compile(rf"(^|\.)({'|'.join(map(re.escape, sorted(names)))})($|\.)") if names else None
    return lambda name: pattern is not None and pattern.search(name) is not None


def head_name(model: PreTrainedModel) -> str:
    """The name of the LM head in the model."""
    head = model.get_output_embeddings()
    return next(name for name, module in model.named_modules() if module is head)


def head_tensors(model: PreTrainedModel) -> list[str]:
    """The state-dict names of the LM head's weight, and of its bias where it has one."""
    head: Any = model.get_output_embeddings()
    return [f"{head_name(model)}.{name}" for name in head.state_dict()]


def backbone_name(model: PreTrainedModel) -> str:
    """Where a decoder keeps its backbone. The classes of Llama 4 name the place in which the whole model has it."""
    return next(name for name in (model.base_model_prefix, "model") if hasattr(model, name))


def check(path: Path) -> None:
    """Everything about a folder that can be known without reading its weights. Raises ModelError."""
    folder = read(path)
    beside = weights.read_header(path / HEADS) if (path / HEADS).is_file() else {}
    if SCORE in folder.entries or SCORE in beside:
        mend = "Name it among the rewards: {model: {folder: FOLDER}}"
        raise ModelError(Problem(str(path), f"a reward model, which scores and does not answer ({SCORE})", mend))
    model = shell(folder.config)
    compare(folder, model)
    embedding: Any = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    needed = Tokenizer.load(path).rows
    if needed > rows:
        raise ModelError(Problem(str(path), f"the tokenizer knows {needed:,} tokens, the model only {rows:,}"))


def tied_names(model: PreTrainedModel) -> set[str]:
    """State-dict names that stand for another tensor and are not stored."""
    return set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()


def write_config(path: Path, config: PretrainedConfig, *, dtype: torch.dtype, tokenizer: Tokenizer) -> None:
    """Write `config.json`, and `generation_config.json`, which tells other programs where an answer ends: at any of
    several tokens, the learned one first."""
    stated = config.to_diff_dict()
    stated.pop("_model_name_or_path", None)
    stated["architectures"] = [architecture(config).__name__]
    stated["dtype"] = str(dtype).removeprefix("torch.")
    durable.write_json(path / CONFIG, stated)
    end_id = tokenizer.end_id
    ends = [end_id, *sorted(tokenizer.end_ids - {end_id})]
    said = {"eos_token_id": ends if len(ends) > 1 else end_id, "pad_token_id": end_id}
    durable.write_json(path / GENERATION, said)


def architecture(config: PretrainedConfig) -> Any:
    """transformers' class for a decoder of this configuration."""
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _as_filed(folder: Folder, model: PreTrainedModel) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What should be in the files, and its name there for each of theirs. Some hold what transformers has in memory:
    GPT-OSS's own, and those that burnish wrote before it knew the difference."""
    in_memory: dict[str, Tensor] = model.state_dict()
    readings = [
        (wanted, {file_name: _own_name(file_name, wanted, model) for file_name in folder.entries})
        for wanted in (filed(model, in_memory), in_memory)
    ]
    return max(readings, key=lambda reading: len(reading[0].keys() & reading[1].values()))


def _named_in_files(model: PreTrainedModel, names: set[str]) -> set[str]:
    """Names of the model's tensors, in memory and in files."""
    state: dict[str, Tensor] = model.state_dict()
    return names | filed(model, {name: state[name] for name in names if name in state}).keys()


def _own_name(file_name: str, wanted: Mapping[str, Tensor], model: PreTrainedModel) -> str:
    """Files of bare backbones (GPT-2's own) leave out the backbone's name; those of a model of several senses have it
    where the decoder of text is."""
    backbone = backbone_name(model)
    names = [file_name, f"{backbone}.{file_name}"]
    names += [file_name.replace(prefix, f"{backbone}.", 1) for prefix in DECODERS if file_name.startswith(prefix)]
    names += [file_name.removeprefix("language_model.")]
    return next((name for name in names if name in wanted), file_name)


def _of_another_sense(file_name: str, folder: Folder) -> bool:
    """A tensor of what sees or hears beside a decoder of text: it is left out."""
    return any(name.startswith(DECODERS) for name in folder.entries) and not file_name.startswith(DECODERS)


def _left_out(file_name: str, model: PreTrainedModel) -> bool:
    """Stored by old versions and computed today: rotary frequencies, causal masks."""
    patterns = [
        *(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or []),
        r"rotary_emb\.inv_freq$",
        r"\.attn\.(masked_)?bias$",
    ]
    return any(re.search(pattern, file_name) for pattern in patterns)


def _near(kind: str) -> str:
    return nearest(kind, get_close_matches(kind, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) or ["llama", "qwen2", "mistral"])
