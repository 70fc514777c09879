"""What the stages share that learn from the policy's own answers: from settings to a feed, and figures of what it
collected. Knows no method."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from burnish.batches import Batch, Document
from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import PIECE, example_documents, of_rows, text_documents
from burnish.data.packing import require_fit
from burnish.models.adapter import Trunk
from burnish.models.critic import WithCritic
from burnish.models.forward import Output, Trainable
from burnish.models.layers import decoder_layers, train_last
from burnish.models.load import load_trainable, pick_dtype
from burnish.models.lora import without_adapter
from burnish.models.memory import give_back
from burnish.pipeline.payment import paid_by
from burnish.pipeline.reinforcement import OnPolicy, Reinforced, Watch
from burnish.pipeline.reward import load_critic
from burnish.pipeline.sampled import SAMPLES
from burnish.pipeline.sources import training_prompts
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import (
    MODEL,
    fitting_positions,
    keep,
    keep_adapter,
    learn,
    metrics_log,
    positions,
    rule_of,
    with_adapter,
)
from burnish.records.formats import read_examples
from burnish.records.texts import holds_texts, read_texts
from burnish.rollout.engine import Engine, require_room
from burnish.rollout.vllm import VllmEngine
from burnish.train.advantages import Advantages
from burnish.train.choice import Finished
from burnish.train.collection import Group, RolloutConfig, RolloutPrompt, Sampler
from burnish.train.feeds import DatasetFeed, Feed
from burnish.train.messages import world
from burnish.train.pretraining import PretrainingMix
from burnish.train.rollouts import RolloutFeed
from burnish.train.watch import Decision, decide, readings_of

PTX_BATCH = 8
WINDOW = 3
"""Iterations averaged at each end for the facts, where there are so many."""


def improve(
    context: Context,
    settings: OnPolicy,
    advantages: Advantages,
    *,
    measures_kl: bool,
    learns_without_advantage: bool = False,
    chosen: Callable[[Group], Group] | None = None,
    around: Callable[[Renderer, Feed], Feed] | None = None,
) -> None:
    """From the tuned model to the stage's sealed one: sample, score, learn, again and again.

    Raises DataError for prompts that no micro-batch, or not the model's context, holds with their answers: now, not
    when they are answered.
    `measures_kl`: whether a reference is held beside the policy. `learns_without_advantage` and `chosen`: see
    `RolloutFeed`. `around`: what is put around the feed of answers.
    """
    recipe, start = context.recipe, tuned_model(context)
    dtype = pick_dtype(recipe.dtype)
    tokenizer = Tokenizer.load(start)
    renderer = Renderer(tokenizer)
    shared = advantages.critic and not settings.own_critic
    policy = load_trainable(start, dtype=dtype, value=shared)
    trunk = Trunk(policy, start) if settings.lora else None
    module = learner(policy, settings, recipe.seed)
    if settings.own_critic:
        module = _with_critic(context, settings, policy, trunk)
    asked = training_prompts(context, settings)
    reward = paid_by(context, settings, asked, renderer, trunk)
    read = of_rows(lambda prompt: tuple(renderer.prompt(prompt.messages)), asked, lambda prompt: prompt.id)
    prompts = [RolloutPrompt(prompt=prompt, ids=ids) for prompt, ids in zip(asked, read, strict=True)]
    require_fit([_fullest(prompt, settings) for prompt in prompts], settings.micro_tokens)
    require_room({prompt.prompt.id: prompt.ids for prompt in prompts}, settings.max_new_tokens, module.context)
    reference = _reference(context, module, settings) if measures_kl or settings.watch else None
    with _sampler(context, settings, module, tokenizer, prompts) as sampler:
        rollouts = RolloutFeed(
            module,
            reference=reference,
            sampler=sampler,
            reward=reward,
            advantages=advantages,
            prompts=prompts,
            view=renderer,
            samples=context.folder / SAMPLES,
            config=_rollouts(settings, recipe.seed),
            learns_without_advantage=learns_without_advantage,
            watched=settings.watch is not None,
            chosen=chosen,
        )
        learn(
            context,
            module,
            _with_text(context, settings, renderer, around(renderer, rollouts) if around else rollouts),
            steps=settings.iterations * settings.steps_per_iteration,
            save_every=settings.save_every * settings.steps_per_iteration,
            folder=context.folder,
            label=f"{context.folder.name}: training",
        )
    del module, trunk, reward, reference, sampler, rollouts
    gc.collect()  # all that refers to the policy's weights, reference cycles included, before merging copies them
    keep_adapter(policy, context.folder, start, tuned_name(context))
    keep(policy, tokenizer, context.folder)


@contextmanager
def _sampler(
    context: Context, settings: OnPolicy, module: Trainable, tokenizer: Tokenizer, prompts: Sequence[RolloutPrompt]
) -> Generator[Sampler]:
    """What draws the policy's answers, until the end of training. Raises MachineError where vLLM is asked for and does
    not start."""
    if settings.vllm is None:
        yield Engine(module, end_ids=tokenizer.end_ids)
        return
    longest = max(len(prompt.ids) for prompt in prompts) + settings.max_new_tokens
    context.progress.start(f"{context.folder.name}: vLLM starts", 1)
    gc.collect()
    give_back()  # it is another process, and has of the device what this one leaves
    beside = VllmEngine(module, tokenizer, longest=longest, cache_gib=settings.vllm.cache_gib)
    context.progress.finish()
    try:
        yield beside
    finally:
        beside.close()


def _with_critic(context: Context, settings: OnPolicy, policy: Trainable, trunk: Trunk | None) -> WithCritic:
    critic = load_critic(context.inputs["reward"] / MODEL, pick_dtype(context.recipe.dtype), trunk)
    return WithCritic(policy, learner(critic, settings, context.recipe.seed))


def learner(module: Trainable, settings: OnPolicy, seed: int) -> Trainable:
    """The module with an adapter, or with its last layers alone unfrozen, as the settings say. A critic may have fewer
    layers than they name: all of them learn then. Or it is an adapter already, which goes on."""
    module = with_adapter(module, settings, seed)
    if settings.unfrozen_layers is not None:
        train_last(module, min(settings.unfrozen_layers, len(decoder_layers(module))))
    return module


def _fullest(prompt: RolloutPrompt, settings: OnPolicy) -> Document:
    """The largest tree that a prompt may become."""
    return Document(row=prompt.prompt.id, ids=prompt.ids, branches=[[0] * settings.max_new_tokens] * settings.answers)


def _reference(context: Context, module: Trainable, settings: OnPolicy) -> Callable[[Batch], Output]:
    """The policy as it is before any step."""
    if settings.lora:
        return without_adapter(module)
    return load_trainable(tuned_model(context), dtype=pick_dtype(context.recipe.dtype)).requires_grad_(False)


def _with_text(context: Context, settings: OnPolicy, renderer: Renderer, feed: Feed) -> Feed:
    """The feed, with text or conversations beside its answers where the settings name some. Raises DataError for what
    no micro-batch holds."""
    if settings.ptx_data is None:
        return feed
    most, source = positions(tuned_model(context)), f"{context.folder.name}.ptx_data"
    found = _texts(context.path(settings.ptx_data), settings, renderer, most, source)
    documents = fitting_positions(found, settings, most, source)
    corpus = DatasetFeed(
        documents,
        per_step=settings.ptx_batch_size or PTX_BATCH,
        micro_tokens=settings.micro_tokens,
        seed=context.recipe.seed,
        spread=world(),
    )
    return PretrainingMix(feed, corpus)


def _texts(path: Path, settings: OnPolicy, renderer: Renderer, most: int | None, source: str) -> list[Document]:
    """Conversations, or texts in pieces. `most`: what the model has positions for; `source`: the setting that names
    them."""
    if not holds_texts(path):
        return example_documents(renderer, read_examples(path))
    length = settings.ptx_length or min(PIECE, settings.micro_tokens, most or PIECE)
    return text_documents(renderer.tokenizer, read_texts(path), length, source)


def _rollouts(settings: OnPolicy, seed: int) -> RolloutConfig:
    return RolloutConfig(
        prompts_per_iteration=settings.prompts_per_iteration,
        samples_per_prompt=settings.answers,
        epochs=settings.epochs,
        minibatches=settings.minibatches,
        micro_tokens=settings.micro_tokens,
        sampling=settings.sampling,
        missing_eos_penalty=settings.missing_eos_penalty if settings.paid and not settings.masks else 0.0,
        overlong_tokens=settings.overlong_tokens or 0,
        attempts=settings.attempts,
        seed=seed,
        spread=world(),
    )


def finished(settings: Reinforced) -> Callable[[Group], Group] | None:
    """Which answers are learned, where those that the budget cut are not. None: all."""
    return Finished(least=2 if settings.compared else 1).chosen if settings.masks else None


def collected(context: Context, settings: OnPolicy) -> Facts:
    """How reward and KL moved, of the metrics: the first iterations, and the last ones up to the weights that were
    kept, which a watch may have taken earlier than the run's end."""
    rows = [row for row in metrics_log(context.folder).read() if "objective/scores" in row]
    watch = settings.watch if settings.watch and settings.watch.stop else None
    led = rows[: _decided(rows, watch).kept + 1] if watch else rows
    window = max(1, min(WINDOW, len(led) // 2))  # ends that do not overlap
    first, last = rows[:window], led[-window:]
    facts: Facts = {
        "episodes": int(rows[-1]["episode"]),
        "reward_start": _mean(first, "objective/scores"),
        "reward_end": _mean(last, "objective/scores"),
        "eos_share": _mean(last, "val/eos_share"),
        "length_start": _mean(first, "val/length"),
        "length_end": _mean(last, "val/length"),
        "averaged_iterations": len(last),
    }
    if watch:
        facts |= watched(rows, watch)
    if settings.rewards:
        facts["paid_by"] = ", ".join(f"{term.weight:g} × {term.label}" for term in settings.rewards)
        if settings.paid and settings.missing_eos_penalty and not settings.masks:
            facts["paid_by"] += f", -{settings.missing_eos_penalty:g} where the budget cut"
    drifted = [row for row in led if row.get("objective/kl") is not None]
    if drifted:
        facts |= {"kl_start": drifted[0]["objective/kl"], "kl_end": _mean(drifted[-window:], "objective/kl")}
    return facts


def watched(rows: Sequence[dict[str, float]], settings: Watch) -> Facts:
    """How many iterations a watched stage made and why it ended; how many the weights that it kept have learned from,
    and the KL of the best reading. `rows`: one an iteration."""
    read, decision = readings_of(rows), _decided(rows, settings)
    risen = decision.kept == len(read) - 1
    return {
        "iterations": len(read),
        "kept_iterations": len(read) if risen else decision.kept,
        "kept_kl": read[decision.kept].kl,
        "ended_by": decision.ending.value if decision.ending else None,
    }


def _decided(rows: Sequence[dict[str, float]], settings: Watch) -> Decision:
    """What a watch made of these iterations."""
    return decide(readings_of(rows), rule_of(settings))


def _mean(rows: Sequence[dict[str, float]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)
