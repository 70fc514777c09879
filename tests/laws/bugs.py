"""Ways in which a shortcut could be wrong, and which law each of them breaks. Put back, a bug stays until its patch is
undone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from burnish import batches
from burnish.batches import Batch
from burnish.losses import preference
from burnish.models import attention as attentions
from burnish.models import blocks, forward, layers, load
from burnish.models.attention import Rule, TreeAttention, attention, near, shared_heads
from burnish.models.forward import Trainable
from burnish.models.lora import LoraLinear
from burnish.rollout import engine
from burnish.train import feeds, loop, references
from burnish.train.direct import DirectPreference, Kto
from burnish.train.distillation import Distillation
from burnish.train.objectives import Loss, Ppo, RewardModel, Sft
from burnish.train.optim import Optimizer
from burnish.train.parallel import DataParallel
from burnish.train.policy_gradient import PolicyGradient

Patch = pytest.MonkeyPatch


def causal_over_the_whole_pack(patch: Patch) -> None:
    """Documents and answers see all that stands before them."""

    def leaky(self: TreeAttention, layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        return attention(q, shared_heads(q, k), shared_heads(q, v), rule, None, None).transpose(1, 2)

    patch.setattr(TreeAttention, "__call__", leaky)


def positions_run_on(patch: Patch) -> None:
    """Positions count through the pack and do not begin again at a branch."""
    lay = batches._Layout._segment

    def running(self: Any, ids: list[int], **where: int) -> int:
        number = lay(self, ids, **where)
        self.positions[len(self.ids) - len(ids) :] = range(len(self.ids) - len(ids), len(self.ids))
        return number

    patch.setattr(batches._Layout, "_segment", running)


def first_target_of_an_answer_is_missing(patch: Patch) -> None:
    """What the prompt's last token predicts is not learned."""
    learn = batches._Layout._learn

    def shifted(self: Any, sources: Any, ids: Any, weights: Any, answer: int) -> None:
        skip = int(isinstance(sources, list))  # those of branches; a root's are a range
        learn(self, sources[skip:], ids[skip:], weights[skip:], answer)

    patch.setattr(batches._Layout, "_learn", shifted)


def mean_of_means(kind: type[Any]) -> Callable[[Patch], None]:
    """Each micro-batch is divided by its own count, and the means by the number of micro-batches."""
    counts, loss = kind.counts, kind.loss

    def mean(self: Any, module: Trainable, batch: Batch) -> Loss:
        own = counts(self, batch)
        return Loss({name: part / own[name] for name, part in loss(self, module, batch).sums.items()})

    def put_back(patch: Patch) -> None:
        patch.setattr(kind, "counts", lambda self, batch: dict.fromkeys(counts(self, batch), 1.0))
        patch.setattr(kind, "loss", mean)

    return put_back


def reference_point_of_the_first_pack(patch: Patch) -> None:
    """z0 is that of one micro-batch, not of the step."""
    prepare = Kto.prepare
    patch.setattr(Kto, "prepare", lambda self, module, batches, ranks: prepare(self, module, batches[:1], ranks))


def windows_are_forgotten(patch: Patch) -> None:
    """Tokens see all the way back."""
    patch.setattr(attentions, "near", lambda positions_T, window: near(positions_T, None))


def windows_in_pack_indices(patch: Patch) -> None:
    """They are counted in tokens of the pack, of which other answers have some, in place of positions."""
    patch.setattr(attentions, "near", lambda positions_T, window: near(torch.arange(len(positions_T)), window))


def moments_are_dropped(patch: Patch) -> None:
    restore = Optimizer.load

    def forgetful(self: Optimizer, tensors: dict[str, Tensor]) -> None:
        restore(self, {name: tensor for name, tensor in tensors.items() if name.startswith("master.")})

    patch.setattr(Optimizer, "load", forgetful)


def masters_are_rounded(patch: Patch) -> None:
    """The checkpoint holds bfloat16."""
    tensors = Optimizer.tensors
    patch.setattr(Optimizer, "tensors", lambda self: {n: t.bfloat16().float() for n, t in tensors(self).items()})


def dropout_has_a_state(patch: Patch) -> None:
    """Its draws go on from the last ones in place of being a function of the step."""
    calls = count()
    patch.setattr(loop, "draw", lambda *parts: next(calls))


def rows_have_a_state(patch: Patch) -> None:
    """The order is that of calls, not of steps."""
    calls, rows = count(), feeds.rows_of_step
    patch.setattr(feeds, "rows_of_step", lambda step, *rest: rows(next(calls), *rest))


def answers_see_each_other(patch: Patch) -> None:
    """Each sees the prompt and all answers before its own."""
    joined = blocks._joined
    patch.setattr(blocks, "_joined", lambda prompt, own: joined(prompt and slice(prompt.start, own.start), own))


def everything_twice(patch: Patch) -> None:
    hidden = Trainable.hidden
    patch.setattr(Trainable, "hidden", lambda self, *given: (hidden(self, *given) + hidden(self, *given)) / 2)


def chunks_lose_their_first_row(patch: Patch) -> None:
    logprobs = forward.target_logprobs
    patch.setattr(forward, "target_logprobs", lambda *given: F.pad(logprobs(*given)[1:], (1, 0)))


def gradients_end_at_a_layer(patch: Patch) -> None:
    """What is computed again begins with a tensor that nothing was computed from."""
    checkpoint = layers.checkpoint
    patch.setattr(
        layers, "checkpoint", lambda layer, state, *rest, **named: checkpoint(layer, state.detach(), *rest, **named)
    )


def prompts_are_counted(patch: Patch) -> None:
    """The mean is over all tokens, not over the learned ones."""
    patch.setattr(Sft, "counts", lambda self, batch: {"nll": float(batch.tokens)})


def pairs_are_summed(patch: Patch) -> None:
    """A prompt with more answers weighs more."""
    patch.setattr(preference, "prompt_means", lambda values_P, prompt_P: values_P.sum())


def temperature_is_forgotten(patch: Patch) -> None:
    """The sampler divides by it, the scorer does not."""
    patch.setattr(Trainable, "_logits", lambda self, rows_NC, temperature: self.lm(rows_NC))


def dropout_is_on(patch: Patch) -> None:
    """Where log-probabilities are measured."""
    patch.setattr(Trainable, "eval", lambda self: self.train())


def neighbours_are_confused(patch: Patch) -> None:
    """Each sequence goes on with the token of the one before it; one alone has none before it."""
    draw = engine.draw
    patch.setattr(engine, "draw", lambda *given, **named: tuple(each.roll(1) for each in draw(*given, **named)))


def heads_are_not_saved(patch: Patch) -> None:
    patch.setattr(load, "_head_tensors", lambda module: [])


def weights_are_rounded(patch: Patch) -> None:
    keep = load._as
    patch.setattr(load, "_as", lambda tensor, dtype: keep(keep(tensor, torch.bfloat16), dtype))


def adapters_stay_on(patch: Patch) -> None:
    """The switch is there and nobody reads it."""
    adapted = LoraLinear.forward

    def on(self: LoraLinear, input: Tensor) -> Tensor:
        was, self.on = self.on, True
        try:
            return adapted(self, input)
        finally:
            self.on = was

    patch.setattr(LoraLinear, "forward", on)


def merged_without_scale(patch: Patch) -> None:
    """alpha / rank is forgotten where the adapter is added to the weights."""
    whole = LoraLinear.merged

    def unscaled(self: LoraLinear) -> nn.Linear:
        with torch.no_grad():
            self.lora_B.div_(self.scale)
        return whole(self)

    patch.setattr(LoraLinear, "merged", unscaled)


def references_are_rounded(patch: Patch) -> None:
    """The disk holds bfloat16."""
    write = references.weights.write
    patch.setattr(
        references.weights,
        "write",
        lambda path, tensors: write(path, {name: each.bfloat16().float() for name, each in tensors.items()}),
    )


def counts_of_one_rank(patch: Patch) -> None:
    """Each rank divides by what it has seen itself."""
    added = DataParallel.sum
    patch.setattr(DataParallel, "sum", lambda self, values: added(self, values) and dict(values))


def gradients_of_one_rank(patch: Patch) -> None:
    """Each rank learns from its own micro-batches."""
    add = DataParallel.add_gradients

    def alone(self: DataParallel, weights: list[Tensor]) -> None:
        own = [weight.grad.clone() for weight in weights if weight.grad is not None]
        add(self, weights)
        for weight, gradient in zip(weights, own, strict=True):
            weight.grad = gradient

    patch.setattr(DataParallel, "add_gradients", alone)


def gradients_of_shards_are_means(patch: Patch) -> None:
    """What FSDP2 makes of them unless it is told otherwise: sums divided by the number of ranks."""
    patch.setattr(FSDPModule, "set_gradient_divide_factor", lambda self, factor: None)


def absent_groups_are_forgotten(patch: Patch) -> None:
    """Those that are left out of the first document alone are counted."""
    counts = PolicyGradient.counts

    def short(self: PolicyGradient, batch: Batch) -> dict[str, float]:
        first = {name: each[:1] for name, each in batch.extra.items() if name.startswith("absent")}
        return counts(self, batch.with_extra(**first))

    patch.setattr(PolicyGradient, "counts", short)


RESUMING = [moments_are_dropped, masters_are_rounded, dropout_has_a_state, rows_have_a_state]
OF_METHODS: dict[str, list[Callable[[Patch], None]]] = {
    "sft: packed = alone": [causal_over_the_whole_pack, windows_are_forgotten],
    "sft: micro-batches = big batch": [mean_of_means(Sft)],
    "reward: packed = alone": [causal_over_the_whole_pack, answers_see_each_other, windows_in_pack_indices],
    "reward: shared prompt = K sequences": [positions_run_on, answers_see_each_other, windows_in_pack_indices],
    "reward: micro-batches = big batch": [mean_of_means(RewardModel)],
    "dpo: packed = alone": [causal_over_the_whole_pack],
    "dpo: shared prompt = K sequences": [positions_run_on, first_target_of_an_answer_is_missing],
    "dpo: micro-batches = big batch": [mean_of_means(DirectPreference)],
    "kto: packed = alone": [causal_over_the_whole_pack],
    "kto: shared prompt = K sequences": [positions_run_on, first_target_of_an_answer_is_missing],
    "kto: micro-batches = big batch": [mean_of_means(Kto), reference_point_of_the_first_pack],
    "distill: packed = alone": [causal_over_the_whole_pack],
    "distill: shared prompt = K sequences": [positions_run_on, first_target_of_an_answer_is_missing],
    "distill: micro-batches = big batch": [mean_of_means(Distillation)],
    "ppo: packed = alone": [causal_over_the_whole_pack],
    "ppo: shared prompt = K sequences": [positions_run_on, first_target_of_an_answer_is_missing],
    "ppo: micro-batches = big batch": [mean_of_means(Ppo)],
    "grpo: packed = alone": [causal_over_the_whole_pack],
    "grpo: shared prompt = K sequences": [positions_run_on, first_target_of_an_answer_is_missing],
    "grpo: micro-batches = big batch": [mean_of_means(PolicyGradient), absent_groups_are_forgotten],
}
BUGS: dict[str, list[Callable[[Patch], None]]] = {
    **OF_METHODS,
    **{name.replace(":", ", lora:", 1): bugs for name, bugs in OF_METHODS.items()},
    "resumed = uninterrupted": RESUMING,
    "lora: resumed = uninterrupted": RESUMING,
    "dpo at its reference: ln 2": [dropout_is_on],
    "kept reference = live": [references_are_rounded],
    "adapter off = base": [adapters_stay_on],
    "merged = adapter": [merged_without_scale],
    "other documents do not move": [causal_over_the_whole_pack],
    "other answers do not move": [causal_over_the_whole_pack, answers_see_each_other],
    "two ranks = one": [counts_of_one_rank, gradients_of_one_rank],
    "two ranks with half the weights each = one": [counts_of_one_rank, gradients_of_shards_are_means],
    "tree attention = dense attention": [causal_over_the_whole_pack],
    "each token passes once": [everything_twice],
    "logits in chunks = at once": [chunks_lose_their_first_row],
    "layers computed again = kept": [gradients_end_at_a_layer],
    "zeroed LM head: ln V": [prompts_are_counted, chunks_lose_their_first_row],
    "zeroed score head: ln 2": [pairs_are_summed],
    "sampler = scorer, fp32": [temperature_is_forgotten, windows_in_pack_indices],
    "sampler = scorer, bf16": [temperature_is_forgotten],
    "policy = its own reference": [dropout_is_on],
    "greedy alone = in company": [neighbours_are_confused],
    "saved = loaded": [heads_are_not_saved, weights_are_rounded],
}
OF_WINDOWS = {windows_are_forgotten, windows_in_pack_indices}
"""Those that only a model with windows shows."""
