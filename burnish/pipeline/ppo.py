"""The ppo stage: the tuned model samples answers, the reward model scores them, and PPO moves the policy, held near
where it began by a KL term in the reward (Ouyang et al. 2022). Policy and value share one trunk."""

from __future__ import annotations

import torch

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw
from burnish.models.layers import train_last
from burnish.models.load import load_trainable, pick_dtype
from burnish.models.lora import without_adapter
from burnish.pipeline.recipe import Ppo
from burnish.pipeline.reward import load_reward
from burnish.pipeline.sources import training_prompts
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import (
    MODEL,
    drop_checkpoints,
    keep,
    keep_adapter,
    learn,
    metrics_log,
    trained,
    with_adapter,
)
from burnish.rollout.engine import Engine
from burnish.train.messages import world
from burnish.train.rollouts import RolloutConfig, RolloutFeed, RolloutPrompt
from burnish.types import Prompt

WINDOW = 3
"""Iterations averaged at each end for the facts."""


def run(context: Context) -> Facts:
    """Train, seal the policy, and state how reward and KL moved."""
    settings = context.recipe.ppo
    assert settings is not None
    if not trained(context.folder):
        _train(context, settings)
    drop_checkpoints(context.folder)
    rows = [row for row in metrics_log(context.folder).read() if "objective/kl" in row]
    first, last = rows[:WINDOW], rows[-WINDOW:]

    def mean(part: list[dict[str, float]], name: str) -> float:
        return sum(row[name] for row in part) / len(part)

    return {
        "episodes": len(rows) * settings.prompts_per_iteration * settings.samples_per_prompt,
        "kl_start": rows[0]["objective/kl"],
        "kl_end": mean(last, "objective/kl"),
        "reward_start": mean(first, "objective/scores"),
        "reward_end": mean(last, "objective/scores"),
        "eos_share": mean(last, "val/eos_share"),
        "length_start": mean(first, "val/length"),
        "length_end": mean(last, "val/length"),
        "averaged_iterations": len(last),
    }


def _train(context: Context, settings: Ppo) -> None:
    recipe = context.recipe
    dtype = pick_dtype(recipe.dtype)
    start = tuned_model(context)
    tokenizer = Tokenizer.load(start)
    renderer = Renderer(tokenizer)
    module = with_adapter(load_trainable(start, dtype=dtype, value=True), settings, recipe.seed)
    if settings.unfrozen_layers is not None:
        train_last(module, settings.unfrozen_layers)
    reference = without_adapter(module) if settings.lora else load_trainable(start, dtype=dtype).requires_grad_(False)
    engine = Engine(module, end_id=tokenizer.end_id)
    feed = RolloutFeed(
        module,
        reference=reference,
        sampler=engine,
        reward=load_reward(context.inputs["reward"] / MODEL, dtype),
        prompts=[_prompt(renderer, prompt) for prompt in training_prompts(context)],
        view=renderer,
        samples=context.folder / "samples.jsonl",
        config=_rollouts(settings, recipe.seed),
    )
    steps = settings.iterations * feed.steps_per_iteration
    torch.manual_seed(draw(recipe.seed, "ppo"))
    learn(
        context,
        module,
        feed,
        steps=steps,
        save_every=settings.save_every * feed.steps_per_iteration,
        folder=context.folder,
        label="ppo: training",
    )
    keep_adapter(module, context.folder, start, tuned_name(context))
    keep(module, tokenizer, context.folder)


def _rollouts(settings: Ppo, seed: int) -> RolloutConfig:
    return RolloutConfig(
        prompts_per_iteration=settings.prompts_per_iteration,
        samples_per_prompt=settings.samples_per_prompt,
        epochs=settings.epochs,
        minibatches=settings.minibatches,
        micro_tokens=settings.micro_tokens,
        kl_coef=settings.kl_coef,
        gamma=settings.gamma,
        lam=settings.lam,
        baseline=settings.baseline,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        missing_eos_penalty=settings.missing_eos_penalty,
        seed=seed,
        spread=world(),
    )


def _prompt(renderer: Renderer, prompt: Prompt) -> RolloutPrompt:
    shown = {"prompt": [message.as_json() for message in prompt.messages], "meta": dict(prompt.meta)}
    return RolloutPrompt(id=prompt.id, ids=tuple(renderer.prompt(prompt.messages)), shown=shown)
