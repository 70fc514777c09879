"""The distill stage: the tuned model answers, and learns at every token of its answers what a teacher would have said
there (GKD, Agarwal et al. 2024)."""

from __future__ import annotations

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import example_documents
from burnish.errors import ModelError, Problem
from burnish.models.forward import Trainable
from burnish.models.load import load_trainable, pick_dtype
from burnish.models.sources import resolve
from burnish.pipeline.on_policy import WINDOW, collected, improve
from burnish.pipeline.reinforcement import Distill
from burnish.pipeline.speaker import tuned_model, tuned_name
from burnish.pipeline.stage import Context, Facts
from burnish.pipeline.training import drop_checkpoints, fitting_positions, metrics_log, positions, trained
from burnish.records.formats import read_examples
from burnish.train.distillation import DIVERGENCE, Everything, TaughtFeed
from burnish.train.feeds import DatasetFeed, Feed
from burnish.train.messages import world
from burnish.train.pretraining import PretrainingMix


def run(context: Context) -> Facts:
    """Train, seal the policy, and state how near it came to the teacher on its own answers."""
    settings = context.recipe.distill
    assert settings is not None
    if not trained(context.folder):
        teacher = _teacher(context, settings)

        def taught(renderer: Renderer, feed: Feed) -> Feed:
            return TaughtFeed(_with_given(context, settings, renderer, feed), teacher)

        improve(context, settings, Everything(), measures_kl=False, around=taught)
    drop_checkpoints(context.folder)
    found = [row[DIVERGENCE] for row in metrics_log(context.folder).read()]
    last = found[-WINDOW * settings.steps_per_iteration :]
    facts = collected(context, settings)
    return {
        **{name: value for name, value in facts.items() if settings.rewards or not name.startswith("reward")},
        "teacher": settings.teacher,
        "divergence_start": found[0],
        "divergence_end": sum(last) / len(last),
    }


def _teacher(context: Context, settings: Distill) -> Trainable:
    """Raises ModelError where it is no model, or reads text as other ids than the policy does."""
    folder = resolve(settings.teacher, context.base, context.progress)
    own, others = Tokenizer.load(tuned_model(context)).vocabulary, Tokenizer.load(folder).vocabulary
    differing = len(own.items() ^ others.items())
    if differing:
        found = f"{settings.teacher} has another tokenizer than {tuned_name(context)}: {differing:,} entries differ"
        raise ModelError(Problem("distill.teacher", found, "Choose a teacher of the same family."))
    return load_trainable(folder, dtype=pick_dtype(context.recipe.dtype)).requires_grad_(False)


def _with_given(context: Context, settings: Distill, renderer: Renderer, feed: Feed) -> Feed:
    """The feed, with conversations that the policy did not say where the settings name some."""
    if settings.data is None:
        return feed
    rows = example_documents(renderer, read_examples(context.path(settings.data)))
    documents = fitting_positions(rows, settings, positions(tuned_model(context)), "distill.data")
    seed, micro_tokens = context.recipe.seed, settings.micro_tokens
    given = DatasetFeed(documents, per_step=settings.given, micro_tokens=micro_tokens, seed=seed, spread=world())
    return PretrainingMix(feed, given, marked=False)
