"""What a trainable is made of, in JSON, and one made of that: how another process comes to a module of the same shape.
Knows architectures, heads and adapters; carries no weights.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from burnish.models import folder as folders
from burnish.models.arithmetic import device
from burnish.models.attention import NAME, register
from burnish.models.critic import WithCritic
from burnish.models.forward import Layout, Trainable
from burnish.models.load import assembled, placed
from burnish.models.lora import LoraConfig, adapt, adapted
from burnish.models.memory import keep_freed
from burnish.models.probe import use_own_attention
from burnish.models.processor import limit_threads
from burnish.models.quiet import quiet


def blueprint(module: Trainable) -> dict[str, Any]:
    """JSON values that say all of a module but its weights."""
    backbone: Any = module.backbone
    lora = next((layer.config for layer in adapted(backbone).values()), None)
    stated = backbone.config.to_diff_dict()
    stated.pop("_model_name_or_path", None)
    return {
        "config": json.loads(json.dumps({**stated, "model_type": backbone.config.model_type}, default=str)),
        "heads": [name for name in ("lm", "value", "score") if getattr(module, name) is not None],
        "lora": lora and [lora.rank, lora.alpha, lora.dropout, lora.targets],
        "layout": module.layout.value,
        "chunk": module.chunk,
        "weights": {
            name: [str(weight.dtype).removeprefix("torch."), weight.requires_grad]
            for name, weight in module.named_parameters()
            if not name.startswith("critic.")
        },
        "critic": blueprint(module.critic) if isinstance(module, WithCritic) else None,
    }


def built(plan: dict[str, Any]) -> Trainable:
    """A module of this blueprint on this process's device, with its kernels, in evaluation mode; weights whatever they
    are."""
    keep_freed()
    limit_threads()
    register()
    config = folders.CONFIG_MAPPING[plan["config"]["model_type"]].from_dict(plan["config"])
    heads = {name: name in plan["heads"] for name in ("lm", "value", "score")}
    with quiet(), torch.random.fork_rng(devices=[]), device():  # weights are drawn, which a GPU does faster
        model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
        module = assembled(model, **heads)
    module.layout = Layout(plan["layout"])
    if plan["lora"]:
        rank, alpha, dropout, targets = plan["lora"]
        adapt(module, LoraConfig(rank=rank, alpha=alpha, dropout=dropout, targets=targets), seed=0)
    for name, weight in module.named_parameters():
        dtype, learns = plan["weights"][name]
        weight.data = weight.data.to(getattr(torch, dtype))
        weight.requires_grad_(learns)
    if module.layout is Layout.ROWS:
        use_own_attention(module)
    module.chunk = plan["chunk"]
    placed(module)
    return (WithCritic(module, built(plan["critic"])) if plan["critic"] else module).eval()
