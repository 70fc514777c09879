"""A policy with a critic of its own: a second backbone whose value head reads each target's source. Knows modules;
knows no method.

InstructGPT's value function begins as the reward model (Ouyang et al. 2022, C.4), which has read answers before. It
costs a second model in memory and a second pass. A critic that shares the policy's backbone is a head of it
(`burnish.models.forward`).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from burnish.batches import Batch
from burnish.models.forward import Output, Trainable, scalar_head
from burnish.models.lora import adapted


class WithCritic(Trainable):
    """The policy's backbone and LM head, and a critic beside them. What is saved of it is the policy."""

    def __init__(self, policy: Trainable, critic: Trainable) -> None:
        super().__init__(policy.backbone, lm=policy.lm, score=policy.score, layout=policy.layout)
        self.measures_entropy, self.chunk = policy.measures_entropy, policy.chunk
        self.target_logprobs = policy.target_logprobs
        self.critic = critic

    def forward(self, batch: Batch) -> Output:
        return replace(super().forward(batch), values_N=self.critic(batch).values_N)


def critic_of(reward: Trainable, mean: float, std: float) -> Trainable:
    """A critic that begins with a reward model's weights: its values are scores, shifted and scaled as those are. Where
    the reward model is an adapter on frozen weights, that goes on learning, and they stay frozen."""
    assert reward.score is not None, "a reward model has a score head"
    value = scalar_head(reward.score.in_features, std=0.0).to(reward.device)
    with torch.no_grad():
        value.weight.copy_(reward.score.weight / std)
        value.bias.copy_((reward.score.bias - mean) / std)
    whole = not adapted(reward.backbone)
    for name, weight in reward.backbone.named_parameters():
        weight.requires_grad_(whole or name.endswith((".lora_A", ".lora_B")))
    return Trainable(reward.backbone, value=value, layout=reward.layout)
