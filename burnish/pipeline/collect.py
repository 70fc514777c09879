"""The collect stage: answers of the tuned model or of another, put before annotators, and their judgements frozen.

Answers are sampled some at a time and kept as they come; a part is sampled whole or again: what shares a batch may
move the last bits. Judgements go through the same service that people use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import Tokenizer
from burnish.models.load import pick_dtype
from burnish.pipeline.answers import answered
from burnish.pipeline.disagreement import most_disputed
from burnish.pipeline.frozen import asked_side, budget_of
from burnish.pipeline.judging import judge
from burnish.pipeline.recipe import Collect
from burnish.pipeline.reward import load_reward
from burnish.pipeline.scored import scored
from burnish.pipeline.speaker import answering, speaker, tuned_model
from burnish.pipeline.stage import Context, Facts
from burnish.records.durable import read_log, write_json
from burnish.records.formats import read_prompts
from burnish.records.parts import Parts
from burnish.store import queries
from burnish.store.details import Asks
from burnish.store.session import Store, open_store
from burnish.store.snapshot import SnapshotManifest, freeze
from burnish.types import Completion, Generator, Prompt

ANSWERS = "answers.jsonl"
AT_ONCE = 32
"""Prompts sampled together."""


def run(context: Context) -> Facts:
    """Sample, queue, judge and freeze. Raises WaitingError while people have not judged everything."""
    settings = context.recipe.collect
    assert settings is not None
    prompts = read_prompts(context.path(settings.prompts))[: settings.limit]
    answers = sample(context, settings, prompts)
    asked = _asked(context, settings, prompts, answers)
    with closing(open_store(context.store)) as store:
        campaign = _queue(store, context, settings, [prompts[i] for i in asked], [answers[i] for i in asked])
        judge(store, campaign, context, settings)
        snapshot = freeze(
            store, campaign, context.folder / "snapshot", held_out=settings.held_out, seed=context.recipe.seed
        )
    return _facts(snapshot, settings, answers)


def sample(context: Context, settings: Collect, prompts: Sequence[Prompt]) -> list[list[str]]:
    """K answers to each prompt, kept in answers.jsonl; what is there already is not sampled again."""
    path = context.folder / ANSWERS
    if not path.is_file():
        generator = _generator(context, settings)
        sampling = settings.sampling.at(context.recipe.seed)

        def told(part: Sequence[Prompt], rows: Sequence[Sequence[Completion]]) -> Iterator[dict[str, Any]]:
            for prompt, row in zip(part, rows, strict=True):
                said = [{"text": each.text, "stop": each.stop.value, "ids": list(each.ids)} for each in row]
                messages = [message.as_json() for message in prompt.messages]
                yield {"id": prompt.id, "messages": messages, "meta": dict(prompt.meta), "answers": said}

        parts = Parts(path)
        rows = answered(
            generator,
            prompts,
            sampling,
            settings.k,
            told,
            parts=parts,
            at_once=AT_ONCE,
            label="collect: sampling answers",
            progress=context.progress,
        )
        parts.finish(rows)
    return [[answer["text"] for answer in row["answers"]] for row in read_log(path)]


def _generator(context: Context, settings: Collect) -> Generator:
    """Of the model that the recipe names here, or of the tuned one."""
    if settings.model is None:
        return speaker(tuned_model(context), context.recipe.dtype)
    return answering(settings.model, context.base, context.recipe.dtype, context.progress)


def _asked(
    context: Context, settings: Collect, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
) -> list[int]:
    """Which prompts are asked about, and in which order: theirs, or that of an earlier ensemble's disputes.

    It is kept: while people judge, the same command asks them the same.
    """
    if settings.disputed_by is None:
        return list(range(len(prompts)))
    path = context.folder / "asked.json"
    if not path.is_file():
        write_json(path, {"places": _most_disputed(context, settings, prompts, answers)})
    places: list[int] = json.loads(path.read_bytes())["places"]
    return places


def _most_disputed(
    context: Context, settings: Collect, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
) -> list[int]:
    assert settings.disputed_by is not None
    model = context.path(settings.disputed_by)
    reward = load_reward(model, pick_dtype(context.recipe.dtype))
    side = asked_side(Renderer(Tokenizer.load(model)), prompts, answers)
    return most_disputed(scored(reward.members, side, budget_of(side)))[: settings.ask]


def _queue(
    store: Store, context: Context, settings: Collect, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
) -> int:
    """The campaign of this stage's key, with every prompt in it. In one transaction: all or nothing."""
    writer = settings.model or ("sft" if "sft" in context.inputs else "base")
    with store.transaction() as session:
        campaign = queries.create_campaign(
            session,
            key=context.key,
            name=context.recipe.name,
            question=settings.question,
            kind=settings.asked,
            overlap=settings.overlap,
            asks=Asks(
                strength=bool(settings.strength),
                axes=settings.axes or (),
                rationale=bool(settings.rationale),
                edits=bool(settings.edits),
            ),
        )
        for prompt, texts in zip(prompts, answers, strict=True):
            queries.add_item(session, campaign, prompt, [(text, writer) for text in texts])
    return campaign


def _facts(snapshot: SnapshotManifest, settings: Collect, answers: Sequence[Sequence[str]]) -> Facts:
    compared = snapshot.counts["pairs_compared"]
    return {
        "prompts": len(answers),
        "answers": sum(len(row) for row in answers),
        "judgements": snapshot.counts["judgements"],
        "annotators": len(snapshot.annotators),
        "by": settings.by,
        "agreement": round(snapshot.counts["pairs_agreeing"] / compared, 4) if compared else None,
        "campaign": snapshot.campaign,
        "train": snapshot.counts["train"],
        "heldout": snapshot.counts["heldout"],
    }
