"""What the trained stages share: from a recipe's settings to documents, optimiser and loop. Knows no method."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from burnish.batches import Document
from burnish.chat.tokenizer import Tokenizer
from burnish.data.order import draw
from burnish.data.packing import require_fit
from burnish.errors import DataError, Problem
from burnish.models.adapter import save_adapter
from burnish.models.arithmetic import settle
from burnish.models.blueprint import blueprint, built
from burnish.models.folder import read_config, shell
from burnish.models.forward import Trainable, longest_of
from burnish.models.layers import recompute_layers
from burnish.models.load import load_trainable, pick_dtype, save_trainable
from burnish.models.lora import LoraConfig, adapt, adapted, first_factors, merge
from burnish.pipeline.objectives import objective_of
from burnish.pipeline.recipe import Optim, Recipe
from burnish.pipeline.reinforcement import OnPolicy
from burnish.pipeline.reinforcement import Watch as WatchSettings
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.trackers import Training, tracked
from burnish.records import durable
from burnish.runs import MetricsLog
from burnish.train.averages import Averages
from burnish.train.checkpoint import Checkpoints
from burnish.train.feeds import Feed, Work
from burnish.train.guard import Guard
from burnish.train.loop import FitConfig, Log, Quiet, fit
from burnish.train.messages import leave, partings, shared, world
from burnish.train.optim import BETAS, OptimConfig, Optimizer, learning_rate
from burnish.train.parallel import joined
from burnish.train.validation import Validation
from burnish.train.watch import Rule, Watch, Watched
from burnish.types import Progress, Silent

MODEL = "model"
ADAPTER = "adapter"
"""Beside the model that it was merged into."""
_log = logging.getLogger(__name__)
Learns = TypeVar("Learns", bound=Optim)


def steps_of(settings: Optim, rows: int) -> int:
    """Optimiser steps of `epochs` passes; the last one may reach into a further pass."""
    return -(-rows * settings.epochs // settings.batch_size)


def optim_config(settings: Optim | OnPolicy, steps: int) -> OptimConfig:
    return OptimConfig(
        lr=settings.lr,
        steps=steps,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        betas=settings.betas or BETAS,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
    )


def _warn_of_warmup(stage: str, settings: Optim | OnPolicy, steps: int) -> None:
    """No error: a trial of a recipe on a few rows is made of few steps, and should run."""
    config = optim_config(settings, steps)
    if steps <= config.warmup_steps:
        share = learning_rate(config, steps - 1) / config.lr
        found = "%s.warmup_steps is %d, and there are %d steps: the learning rate only rises, to %.0f%% of lr"
        _log.warning(found, stage, config.warmup_steps, steps, 100 * share)


def _warn_of_batch(stage: str, settings: Optim, rows: int) -> None:
    """As there: each step learns every document, and some once more."""
    if settings.batch_size > rows:
        found = "%s.batch_size is %d, and there are %d to learn from: a step learns each of them %.1f times"
        _log.warning(found, stage, settings.batch_size, rows, settings.batch_size / rows)


def with_adapter(module: Trainable, settings: Optim | OnPolicy, seed: int) -> Trainable:
    """The module, with a new adapter on its frozen backbone where the settings ask for one and it has none."""
    if (lora := settings.lora) is not None and not adapted(module.backbone):
        config = LoraConfig(rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)
        adapt(module, config, seed=draw(seed, "lora"))
    return module


def teach(
    context: Context,
    settings: Optim,
    start: Path,
    start_name: str,
    tokenizer: Tokenizer,
    feeds: Callable[[Trainable], tuple[Feed, Feed | None]],
    *,
    rows: int,
) -> None:
    """From a start model to the stage's sealed one: load it, adapt it, learn, seal.

    `feeds`: what is learned and what the stage is evaluated on meanwhile, given the module before any step. `rows`: how
    many documents a pass has.
    """
    recipe = context.recipe
    module = with_adapter(load_trainable(start, dtype=pick_dtype(recipe.dtype)), settings, recipe.seed)
    feed, held = feeds(module)
    learn(
        context,
        module,
        feed,
        steps=steps_of(settings, rows),
        rows=rows,
        save_every=settings.save_every,
        folder=context.folder,
        label=f"{context.folder.name}: training",
        held=held,
    )
    keep_adapter(module, context.folder, start, start_name)
    keep(module, tokenizer, context.folder)


def learn(
    context: Context,
    module: Trainable,
    feed: Feed,
    *,
    steps: int,
    save_every: int,
    folder: Path,
    label: str,
    held: Feed | None = None,
    rows: int | None = None,
) -> None:
    """Train the module in place to `steps` updates, from the newest checkpoint in `folder` if there is one. It ends
    with the weights that the settings ask to keep.

    `held`: its first step is what the stage is evaluated on meanwhile. `rows`: as for `teach`, where data are given.
    Where there are further ranks, they take part (`follow`).
    """
    if folder == context.folder:  # not of each member and control again
        stage, settings = context.folder.name, getattr(context.recipe, context.folder.name)
        _warn_of_warmup(stage, settings, steps)
        if rows is not None:
            _warn_of_batch(stage, settings, rows)
    lesson = Lesson(stage=context.folder.name, steps=steps, save_every=save_every, folder=str(folder))
    where = module.device
    with partings(), tracked(metrics_log(folder), context.recipe.track, _told(context, folder)) as log:
        if world() > 1:
            shared([context.recipe.model_dump_json(by_alias=True), asdict(lesson), blueprint(module)])
        _fit(context.recipe, lesson, lambda: module, feed, held, log, context.progress, label)
    if world() > 1:
        gc.collect()  # a sharded module is part of reference cycles: make room for a whole one
    module.to(where)


def _told(context: Context, folder: Path) -> Training:
    """What trackers are told of it."""
    place = folder.relative_to(context.run).as_posix()
    settings = getattr(context.recipe, context.folder.name).model_dump(mode="json", exclude_none=True, by_alias=True)
    name, id = f"{context.run.resolve().name}/{place}", durable.digest_value([context.key, place])[:16]
    return Training(project=context.recipe.name, name=name, id=id, folder=folder, settings=settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What all ranks must know of a training, beside the recipe and the module."""

    stage: str
    steps: int
    save_every: int
    folder: str
    """Where the first rank keeps checkpoints and figures."""


def follow() -> None:
    """What every rank but the first does: take part in whatever that one trains, until it says that all is done.

    Raises what the first rank raises, and MachineError where that one has gone.
    """
    with partings():
        while (told := shared(None)[0]) is not None:
            recipe, lesson, plan = told
            settings = Recipe.model_validate_json(recipe)
            _fit(settings, Lesson(**lesson), partial(_followed, settings, plan), None, None, Quiet(), Silent(), "")
            gc.collect()
        leave()


def _followed(recipe: Recipe, plan: dict[str, Any]) -> Trainable:
    """What another rank trains of a lesson, where the recipe says."""
    settle(recipe.device, recipe.kernels)
    return built(plan)


def _fit(
    recipe: Recipe,
    lesson: Lesson,
    make: Callable[[], Trainable],
    feed: Feed | None,
    held: Feed | None,
    log: Log,
    progress: Progress,
    label: str,
) -> None:
    ranks = joined(recipe.parallel)
    settings: Optim | OnPolicy = getattr(recipe, lesson.stage)
    with ranks.together():
        module = make()
        if recipe.gradient_checkpointing:
            recompute_layers(module)
    spread = ranks.spread(module)
    optimizer = Optimizer(spread, optim_config(settings, lesson.steps), ranks)
    averages = Averages(optimizer, ema=settings.ema, start=settings.average_with_start, factors=first_factors(spread))
    watch = _watch(settings, averages)
    held_out = ranks.once(held)
    fit(
        spread,
        ranks.feed(Watched(feed, watch) if feed and watch else feed),
        objective_of(recipe, lesson.stage),
        optimizer,
        FitConfig(steps=lesson.steps, seed=recipe.seed, save_every=lesson.save_every),
        log=log,
        checkpoints=Checkpoints(Path(lesson.folder) / "checkpoints", ranks=ranks),
        progress=progress,
        label=label,
        shown=shown_of(settings),
        ranks=ranks,
        guard=guard_of(settings),
        averages=averages,
        validation=watch or _validation(settings, held_out),
    )
    ranks.collect(spread, module)


def shown_of(settings: Optim | OnPolicy) -> Mapping[str, str]:
    """What the progress line says of a stage instead of its loss: that of answers that are paid for may be about 0 by
    construction, whatever they are like."""
    return _PAID_FOR if isinstance(settings, OnPolicy) and settings.paid else {}


_PAID_FOR = {
    "objective/scores": "reward",
    "objective/kl": "KL",
    "objective/full_kl": "KL",
    "val/length": "tokens",
}
"""Metrics of an iteration by their names in a line of progress."""


def guard_of(settings: Optim | OnPolicy) -> Guard:
    """What stops the stage before an update."""
    return Guard(settings.spike, losses=not isinstance(settings, OnPolicy))


def _validation(settings: Optim | OnPolicy, work: Work | None) -> Validation | None:
    """What is measured while the stage trains. None: nothing."""
    if work is None or isinstance(settings, OnPolicy) or settings.eval_every is None:
        return None
    return Validation(work, every=settings.eval_every, patience=settings.patience, keep_best=settings.keeps_best)


def _watch(settings: Optim | OnPolicy, averages: Averages) -> Watch | None:
    """What decides when the reward is pursued far enough. None: nothing."""
    if not isinstance(settings, OnPolicy) or settings.watch is None:
        return None
    return Watch(rule_of(settings.watch), averages, every=settings.steps_per_iteration, stops=settings.watch.stop)


def rule_of(settings: WatchSettings) -> Rule:
    return Rule(
        kl_budget=settings.kl_budget, window=settings.window, patience=settings.patience, length=settings.length
    )


def figures(settings: Optim, folder: Path) -> Facts:
    """Steps and losses, from the stage's metrics; the evaluated loss is that of the kept weights."""
    rows = metrics_log(folder).read()
    evaluated = [row["eval/loss"] for row in rows if row.get("eval/loss") is not None]
    facts: Facts = {"steps": len(rows), "loss_first": rows[0]["loss"], "loss_last": rows[-1]["loss"]}
    if evaluated:
        facts["eval_loss"] = min(evaluated) if settings.keeps_best else evaluated[-1]
    return facts


def metrics_log(folder: Path) -> MetricsLog:
    return MetricsLog(folder / "metrics.jsonl")


def trained(folder: Path) -> bool:
    """Whether the stage's model stands already, whole: a kill after sealing costs nothing. If not, it is made again."""
    return durable.whole(folder / MODEL)


def keep_adapter(module: Trainable, folder: Path, base: Path, base_name: str) -> None:
    """Seal the module's adapter and merge it into the weights: what is measured and sealed from here on is one model.
    Nothing happens where there is no adapter."""
    if adapted(module.backbone):
        with durable.folder(folder / ADAPTER) as aside:
            save_adapter(module, aside, base, base_name=base_name)
        merge(module)


def keep(module: Trainable, tokenizer: Tokenizer, folder: Path) -> None:
    """Seal the trained model and drop the checkpoints it came from."""
    with durable.folder(folder / MODEL) as aside:
        save_trainable(module, aside, tokenizer, dtype=next(module.parameters()).dtype)
    drop_checkpoints(folder)


def drop_checkpoints(folder: Path) -> None:
    """Those of the stage, and of the trial models that it trained in folders of its own."""
    for found in [folder / "checkpoints", *folder.glob("*/checkpoints")]:
        shutil.rmtree(found, ignore_errors=True)


def positions(model: Path) -> int | None:
    """How long a row may be for a model's folder; None where nothing says."""
    return longest_of(shell(read_config(model)).base_model)


def within(settings: Learns, model: Path) -> Learns:
    """The settings, whose `max_length` is no more than a model's folder has positions for: what is longer is left out
    and counted, and does not end a training when it comes to it."""
    most = positions(model)
    return settings if most is None or most >= settings.max_length else settings.model_copy(update={"max_length": most})


def fitting(documents: Sequence[Document], settings: Optim, source: str) -> list[Document]:
    """The documents whose longest path is at most `max_length` tokens. None at all is an error, and so is one that no
    micro-batch holds: now, not when training gets there."""
    max_length = settings.max_length
    kept = [document for document in documents if document.longest <= max_length]
    if not kept:
        found = f"no row fits the {max_length} tokens that max_length and the model's positions allow"
        shortest = f"The shortest of {len(documents)} has {_shortest(documents)}"
        mend = f"{shortest}: raise max_length to that, or take another model."
        raise DataError(Problem(source, found, mend))
    require_fit(kept, settings.micro_tokens)
    return kept


def fitting_positions(
    documents: Sequence[Document], settings: OnPolicy, most: int | None, source: str
) -> list[Document]:
    """What is learned beside sampled answers: as `fitting`, where `most`, the model's positions, is the one limit. How
    many are left out is said at once."""
    kept = [document for document in documents if most is None or document.longest <= most]
    if not kept:
        found = f"no row fits the {most} tokens that the model has positions for"
        raise DataError(Problem(source, found, f"The shortest of {len(documents)} has {_shortest(documents)}: cut it."))
    if len(kept) < len(documents):
        left = "%s: %d of %d rows are longer than the %d tokens that the model has positions for, and left out"
        _log.warning(left, source, len(documents) - len(kept), len(documents), most)
    require_fit(kept, settings.micro_tokens)
    return kept


def _shortest(documents: Sequence[Document]) -> int:
    return min((document.longest for document in documents), default=0)
