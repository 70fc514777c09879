"""Model folders to trainables and back. Knows folders that `folder` judged, and the heads that burnish adds to them.

A saved folder is an ordinary one: transformers loads it, and so does everything that reads its folders. Heads that
transformers does not know (value, score) lie beside it in `heads.safetensors`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from burnish.chat.tokenizer import Tokenizer
from burnish.errors import ConfigError, ModelError, Problem
from burnish.models import compiled, liger, weights
from burnish.models import folder as folders
from burnish.models.arithmetic import chosen_kernels, device, gains_from_bfloat16
from burnish.models.attention import NAME
from burnish.models.forward import Layout, Trainable, scalar_head
from burnish.models.fused import fuse
from burnish.models.head import check, lm_head
from burnish.models.lora import merged_state
from burnish.models.memory import give_back, keep_freed
from burnish.models.norms import lighten
from burnish.models.probe import probe, use_own_attention
from burnish.models.processor import limit_threads
from burnish.models.quiet import quiet

DType = Literal["auto", "bfloat16", "float32"]
_log = logging.getLogger(__name__)
_probed: dict[str, tuple[Layout, str]] = {}
"""The layout is a property of the architecture as it is configured: asked once a process."""
_checked: set[str] = set()
"""Configurations whose LM head was found to be what the architecture reads."""


def load_trainable(
    folder: Path,
    *,
    dtype: torch.dtype,
    lm: bool = True,
    value: bool = False,
    score: bool = False,
    layers: int | None = None,
) -> Trainable:
    """A model folder's weights with the heads asked for, in evaluation mode, on the device and with the kernels that
    `burnish.models.arithmetic.settle` chose: the CPU and torch's where nothing was.

    Heads are restored from the folder where it has them, burnish's or a published score head; a new value head is
    zero, a new score head is drawn from torch's global generator. `layers` keeps the first so many decoder layers.
    Warnings go to this module's log.

    Raises ModelError, or DataError where a sealed folder was changed.
    """
    keep_freed()
    give_back()
    limit_threads()
    found = folders.read(folder)
    model = plain_model(found, dtype=dtype, headless=not lm, layers=layers)
    module = assembled(model, lm=lm, value=value, score=score)
    _restore_published(module, found)
    restore_heads(module, folder)
    _choose_layout(placed(module))
    if lm:
        _check_head(model, module)
    return module.eval()


def assembled(model: PreTrainedModel, *, lm: bool, value: bool, score: bool) -> Trainable:
    """The backbone of transformers' model, with the heads asked for. A score head is drawn from torch's generator."""
    lighten(model)
    width = model.config.get_text_config().hidden_size
    return Trainable(
        getattr(model, folders.backbone_name(model)),
        lm=lm_head(model) if lm else None,
        value=scalar_head(width, std=0.0) if value else None,
        score=scalar_head(width, std=(width + 1) ** -0.5) if score else None,
    )


def placed(module: Trainable) -> Trainable:
    """The module, on the device and with the kernels that were chosen."""
    module.to(device())
    match chosen_kernels():
        case "liger":
            fuse(module.backbone, liger.kernels())
        case "compiled":
            fuse(module.backbone, compiled.kernels())
            module.target_logprobs = compiled.target_logprobs
        case "torch":
            pass
    return module


def save_trainable(module: Trainable, folder_being_filled: Path, tokenizer: Tokenizer, *, dtype: torch.dtype) -> None:
    """Write an ordinary model folder into one that `records.durable.folder` is filling."""
    save_plain(module, folder_being_filled, tokenizer, dtype=dtype)
    save_heads(module, folder_being_filled)


def save_plain(module: Trainable, folder: Path, tokenizer: Tokenizer, *, dtype: torch.dtype) -> None:
    """Write what transformers knows of it: the model without value and score heads, an adapter added to its weights."""
    save_weights(module, folder / weights.FILE, dtype=dtype)
    folders.write_config(folder, _config(module), dtype=dtype, tokenizer=tokenizer)
    tokenizer.save(folder)


def save_weights(module: Trainable, file: Path, *, dtype: torch.dtype) -> None:
    """Write the tensors of that model, as files of its family have them. Until they are written the CPU holds all, and
    those of stacked experts twice."""
    config = _config(module)
    shell = folders.shell(config)
    prefix = folders.backbone_name(shell)
    exact = folders.in_fp32(shell)
    tensors = {
        f"{prefix}.{name}": _as(each, torch.float32 if exact(name) else dtype)
        for name, each in merged_state(module.backbone)
    }
    if module.lm is not None:
        head = folders.head_name(shell)
        own = {f"{head}.{name}": _as(tensor, dtype) for name, tensor in module.lm.state_dict().items()}
        tensors |= {name: own[name] for name in own if name != f"{head}.weight" or not config.tie_word_embeddings}
    weights.write(file, folders.filed(shell, tensors))


def save_heads(module: Trainable, folder_being_filled: Path) -> None:
    """Write the module's value and score heads, in fp32; nothing where it has none."""
    heads = {f"{name}.{key}": _as(tensor, torch.float32) for name, key, tensor in _head_tensors(module)}
    if heads:
        weights.write(folder_being_filled / folders.HEADS, heads)


def restore_heads(module: Trainable, folder: Path) -> None:
    """Put a folder's heads into those that the module has; what the folder lacks stays as it is. Raises ModelError."""
    path = folder / folders.HEADS
    if not path.is_file():
        return
    stored = weights.read_header(path)
    tensors, _ = weights.read_tensors([path], {name: name for name in stored}, torch.float32)
    with torch.no_grad():
        for name, key, tensor in _head_tensors(module):
            found = tensors.get(f"{name}.{key}")
            if found is None:
                continue
            if found.shape != tensor.shape:
                shapes = f"shape {list(found.shape)}, {list(tensor.shape)} is wanted"
                raise ModelError(Problem(f"{path}: {name}.{key}", shapes))
            tensor.copy_(found)


def _restore_published(module: Trainable, found: folders.Folder) -> None:
    """Put the score head of a reward model that transformers published into the module. It has no bias."""
    entry = found.entries.get(folders.SCORE)
    if module.score is None or entry is None:
        return
    if entry.shape != (wanted := tuple(module.score.weight.shape)):
        shapes = f"shape {list(entry.shape)}, {list(wanted)} is wanted"
        raise ModelError(Problem(f"{entry.file}: {folders.SCORE}", shapes))
    tensors, _ = weights.read_tensors([entry.file], {folders.SCORE: folders.SCORE}, torch.float32)
    with torch.no_grad():
        module.score.weight.copy_(tensors[folders.SCORE])
        module.score.bias.zero_()


def pick_dtype(setting: DType) -> torch.dtype:
    """The type that weights are computed in. `auto`: bfloat16 where the chosen device is faster in it."""
    match setting:
        case "bfloat16":
            return torch.bfloat16
        case "float32":
            return torch.float32
        case "auto":
            return torch.bfloat16 if gains_from_bfloat16() else torch.float32
        case _:
            raise ConfigError(Problem("dtype", f"{setting!r}; auto, bfloat16 and float32 are known"))


def plain_model(
    found: folders.Folder, *, dtype: torch.dtype, headless: bool = False, layers: int | None = None
) -> PreTrainedModel:
    """A folder's model in the class that transformers has for it, the first so many `layers` of it."""
    config = found.config if layers is None else cut(found.config, layers)
    shell = folders.shell(config)
    names = folders.compare(found, shell, cut=layers is not None, headless=headless)
    tensors, warnings = weights.read_tensors(found.files, names, dtype, folders.in_fp32(shell))
    for warning in warnings:
        _log.warning(warning)
    if headless:
        tied = folders.tied_names(shell)
        absent = [name for name in folders.head_tensors(shell) if name not in tensors and name not in tied]
        tensors |= {name: torch.zeros(shell.state_dict()[name].shape, dtype=dtype) for name in absent}
    with quiet():
        return folders.architecture(config).from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, attn_implementation=NAME
        )


def cut(config: Any, layers: int) -> PretrainedConfig:
    """Say in the configuration, in place, that there are the first so many layers alone. Raises ConfigError."""
    if not 1 <= layers <= config.num_hidden_layers:
        raise ConfigError(Problem("layers", f"{layers}, but the model has {config.num_hidden_layers} layers"))
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    return config


def _choose_layout(module: Trainable) -> None:
    kind = _kind(module)
    if kind not in _probed:
        _probed[kind] = probe(module)
        if _probed[kind][1]:
            _log.warning("%s: %s", type(module.backbone).__name__, _probed[kind][1])
    module.layout = _probed[kind][0]
    if module.layout is Layout.ROWS:
        use_own_attention(module)


def _check_head(model: PreTrainedModel, module: Trainable) -> None:
    kind = _kind(module)
    if kind not in _checked:
        check(model, module)
        _checked.add(kind)


def _kind(module: Trainable) -> str:
    """The configuration as text: windows, soft caps and rotations can differ from model to model of a class."""
    return _config(module).to_json_string(use_diff=False)


def _head_tensors(module: Trainable) -> list[tuple[str, str, Tensor]]:
    heads = [("value", module.value), ("score", module.score)]
    return [(name, key, tensor) for name, head in heads if head is not None for key, tensor in head.named_parameters()]


def _config(module: Trainable) -> PretrainedConfig:
    backbone: Any = module.backbone
    return backbone.config


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
