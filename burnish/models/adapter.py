"""Adapter folders: written so that peft and what follows it read them, loaded onto the base they were trained on and no
other. Knows files and names; the arithmetic is in `lora`.

Beside peft's two files lies `base.json`, with the base's name and digest, and, where the module has heads of ours,
`heads.safetensors`. A folder without `base.json` is another program's (`burnish.models.foreign`): its base is taken at
its word.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftConfig
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import Tensor, nn

from burnish.chat.tokenizer import VOCABULARY, Tokenizer
from burnish.errors import ModelError, Problem
from burnish.models import folder as folders
from burnish.models import weights
from burnish.models.foreign import KIND, merged
from burnish.models.forward import Trainable, scalar_head
from burnish.models.layers import decoder_layers, twin
from burnish.models.load import assembled, cut, load_trainable, restore_heads, save_heads, save_trainable
from burnish.models.lora import LoraConfig, adapt, adapted, merge
from burnish.models.quiet import quiet
from burnish.records import durable
from burnish.records.adapters import BASE, CONFIG, FILE
from burnish.records.files import HUB_ID

_NUMBERS = ("r", "lora_alpha", "lora_dropout")
_SILENT = (
    *("target_modules", "task_type", "peft_version", "base_model_name_or_path", "inference_mode"),
    *("auto_mapping", "fan_in_fan_out", "revision"),
)
"""Settings of peft that add nothing to what the tensors show. All others must have peft's defaults."""


def save_adapter(module: Trainable, folder_being_filled: Path, base: Path, *, base_name: str) -> None:
    """Write the module's adapter and heads into a folder that `records.durable.folder` is filling.

    `base` is the model folder that the adapter was trained on, `base_name` what people call it.
    """
    backbone: Any = module.backbone
    tensors = _tensors(module)
    layers = list(adapted(backbone).values())
    config = layers[0].config
    found = HUB_ID.fullmatch(base_name)
    # Whole names, in order: last names alone would name layers that a shortened backbone does not have.
    names = sorted({_layer(name) for name in tensors})
    by_weight = [f"{name}.weight" for name in names if _taken_for_experts(name, backbone)]
    stated = PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=0.0 if by_weight else config.dropout,  # peft has none for layers that are named by their weight
        target_modules=[],
        target_parameters=by_weight or None,
        fan_in_fan_out=any(layer.transposed for layer in layers),
        task_type="CAUSAL_LM" if module.lm is not None else None,
        base_model_name_or_path=found["repository"] if found else base_name,
        revision=found["revision"] if found else None,
        inference_mode=True,
    ).to_dict()
    stated["target_modules"] = [name for name in names if f"{name}.weight" not in by_weight]
    depth = backbone.config.num_hidden_layers
    cut = depth if depth < folders.read_config(base).num_hidden_layers else None
    named = {"name": base_name, "sha256": base_digest(base), "layers": cut}
    durable.write_json(folder_being_filled / CONFIG, stated)
    durable.write_json(folder_being_filled / BASE, named)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    weights.write(folder_being_filled / FILE, stored)
    save_heads(module, folder_being_filled)


def load_adapted(
    adapter: Path, base: Path, *, dtype: torch.dtype, lm: bool = True, value: bool = False, score: bool = False
) -> Trainable:
    """The base with the adapter on it and its heads restored, in evaluation mode; see `load_trainable`.

    Raises ModelError where the base is not the one that the adapter was trained on or the adapter is of a kind that
    burnish does not compute, DataError where a sealed folder was changed.
    """
    named = _named(adapter)
    if named and (found := base_digest(base)) != named.get("sha256"):
        wanted = f"SHA-256 {found}, but the adapter in {adapter} was trained on {named.get('sha256')}"
        raise ModelError(Problem(str(base), wanted, f"Give the folder of {named.get('name')} as it was then."))
    module = load_trainable(base, dtype=dtype, lm=lm, value=value, score=score, layers=named.get("layers"))
    _restore(module, adapter)
    restore_heads(module, adapter)
    return module


class Trunk:
    """A model's weights, on which adapters stand beside its own: each is a tree of modules with the same frozen
    tensors, and costs what it adds. Nothing is switched, so that one may learn while another is asked."""

    def __init__(self, module: Trainable, folder: Path) -> None:
        """`module` before it is adapted, `folder` where it was loaded from."""
        self._backbone = twin(module.backbone)
        self._layout, self._device, self._folder = module.layout, module.device, folder

    @cached_property
    def _digest(self) -> str:
        return base_digest(self._folder)

    def scoring(self, adapter: Path) -> Trainable | None:
        """The reward model of an adapter's folder, in evaluation mode, as it was before it was merged. None where no
        adapter of burnish's lies there, or one that was trained on other weights.

        Raises ModelError where it does not fit, DataError where a sealed folder was changed.
        """
        named = _named(adapter)
        if not named or named.get("sha256") != self._digest:
            return None
        backbone: Any = twin(self._backbone)
        head = scalar_head(backbone.config.get_text_config().hidden_size, std=0.0)
        module = Trainable(backbone, score=head.to(self._device), layout=self._layout)
        if (layers := named.get("layers")) is not None:
            del decoder_layers(module)[layers:]
            cut(backbone.config, layers)
        _restore(module, adapter)
        restore_heads(module, adapter)
        return module.eval()


def write_merged(adapter: Path, base: Path, folder_being_filled: Path) -> None:
    """Write the model that base and adapter are together into a folder that `records.durable.folder` is filling: added
    up in fp32, rounded once to the base's format. The tokenizer is the adapter's where it brings one.

    Raises what `load_adapted` and `merged` raise, and ModelError for an adapter of a model that does not answer.
    """
    kind, named = folders.read_json(adapter / CONFIG, KIND).get("task_type"), _named(adapter)
    if kind != "CAUSAL_LM" and (kind is not None or named):
        found = "an adapter of a model that scores and does not answer"
        raise ModelError(Problem(str(adapter), found, "Give that of a stage that makes a model that answers."))
    if named:
        module = load_adapted(adapter, base, dtype=torch.float32)
        merge(module)
    else:
        module = assembled(merged(adapter, base), lm=True, value=False, score=False)
    save_trainable(module, folder_being_filled, Tokenizer.load(_speaker(adapter, base)), dtype=_dtype(base))


def write_scorer(adapter: Path, base: Path, folder_being_filled: Path) -> None:
    """The same for a reward model whose adapter another program made, as transformers publishes one.

    Raises what `merged` raises, and ModelError for an adapter of something else.
    """
    kind = folders.read_json(adapter / CONFIG, KIND).get("task_type")
    if kind != "SEQ_CLS" or _named(adapter):
        found = "an adapter of a model that answers" if kind == "CAUSAL_LM" else "an adapter of burnish's"
        raise ModelError(Problem(str(adapter), found, "Give the folder of a reward model, model beside adapter."))
    model: Any = merged(adapter, base, scores=True)
    tokenizer = Tokenizer.load(_speaker(adapter, base))
    if tokenizer.pad_id is not None:  # what its trainer padded with
        model.config.pad_token_id = tokenizer.pad_id
    with quiet():
        model.to(_dtype(base)).save_pretrained(folder_being_filled)
    tokenizer.save(folder_being_filled)


def _speaker(adapter: Path, base: Path) -> Path:
    """Which of the two has the tokenizer."""
    return adapter if (adapter / VOCABULARY).is_file() else base


def _dtype(base: Path) -> torch.dtype:
    stated: Any = folders.read_config(base).dtype
    return stated if isinstance(stated, torch.dtype) else torch.float32


def _named(adapter: Path) -> dict[str, Any]:
    """What burnish wrote of an adapter's base; nothing where another program made it. Raises DataError where a sealed
    folder was changed."""
    if (adapter / durable.MANIFEST).is_file():
        durable.verify(adapter)
    return folders.read_json(adapter / BASE, KIND) if (adapter / BASE).is_file() else {}


def base_digest(base: Path) -> str:
    """SHA-256 of what an adapter depends on: a model folder's configuration and weights."""
    files = [base / folders.CONFIG, *weights.weight_files(base)]
    return durable.digest_value({file.name: durable.digest_file(file) for file in files})


def _restore(module: Trainable, adapter: Path) -> None:
    """Put the adapter of a folder on the module's backbone."""
    file = adapter / FILE
    if not file.is_file():
        raise ModelError(Problem(str(adapter), f"no {FILE} here: not {KIND}"))
    entries = weights.read_header(file)
    config = _config(adapter, sorted({_layer(name).rpartition(".")[2] for name in entries}))
    adapt(module, config, seed=0)
    own = _tensors(module)
    problems = [Problem(f"{file}: {name}", "missing") for name in sorted(own.keys() - entries.keys())]
    problems += [Problem(f"{file}: {name}", "no layer of the base") for name in sorted(entries.keys() - own.keys())]
    problems += [
        Problem(f"{file}: {name}", f"shape {list(entries[name].shape)}, {list(own[name].shape)} is wanted")
        for name in sorted(own.keys() & entries.keys())
        if entries[name].shape != own[name].shape
    ]
    if problems:
        raise ModelError(*problems)
    stored, _ = weights.read_tensors([file], {name: name for name in own}, next(iter(own.values())).dtype)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])


def _config(adapter: Path, targets: list[str]) -> LoraConfig:
    path = adapter / CONFIG
    stated = folders.read_json(path, KIND)
    if isinstance(named := stated.get("target_parameters"), list):  # a layer may be named by its weight
        stated["target_parameters"] = [name for name in named if not str(name).endswith(".weight")] or None
    usual = PeftConfig().to_dict()
    problems = [
        Problem(f"{path}: {name}", f"{value!r}, which burnish does not compute")
        for name, value in stated.items()
        if name not in (*_NUMBERS, *_SILENT) and value not in (usual.get(name), None, False)
    ]
    numbers: list[Any] = [stated.get(name) for name in _NUMBERS]
    rank, alpha, dropout = numbers
    if not all(isinstance(number, int | float) for number in numbers) or type(rank) is not int or rank < 1:
        problems.append(Problem(str(path), f"{', '.join(_NUMBERS)} must be numbers, the first a whole one above 0"))
    if problems:
        raise ModelError(*problems)
    return LoraConfig(rank=rank, alpha=alpha, dropout=dropout, targets=targets)


def _tensors(module: Trainable) -> dict[str, Tensor]:
    """A and B of every layer, under peft's names: those of the whole model, where ours are those of its backbone."""
    backbone: Any = module.backbone
    prefix = f"base_model.model.{folders.backbone_name(folders.shell(backbone.config))}"
    return {
        f"{prefix}.{name}.{key}.weight": tensor
        for name, layer in adapted(backbone).items()
        for key, tensor in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B))
    }


def _layer(name: str) -> str:
    """The layer's name in the whole model, from the name of its A or B."""
    return name.removeprefix("base_model.model.").rpartition(".lora_")[0]


def _taken_for_experts(name: str, backbone: nn.Module) -> bool:
    """Whether peft, of an adapter that names this layer, would adapt the architecture's experts in its place: dense
    layers and shared experts are called as those were before transformers put all of a layer's into one tensor."""
    stated = PeftConfig(target_modules=[name])
    try:
        convert_peft_config_for_transformers(stated, backbone, None)
    except ValueError:  # one of two that it would fuse, without the other
        return True
    return name not in (stated.target_modules or ())
