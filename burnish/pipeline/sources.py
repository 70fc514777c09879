"""Where a run's rows come from, and which of them are held out. Knows files, Hub data sets and snapshots; no model.

What is held out of rankings is decided once for all stages that read them, by a hash of prompt and seed: a prompt is
never cut in two, and what one of them learns from is never what another is measured on. Labels, and conversations of a
file of their own, are other data: whether they share prompts with it is for the user to see to.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from burnish.data.order import set_apart
from burnish.errors import DataError, MachineError, Problem
from burnish.pipeline.columns import ranked_rows
from burnish.pipeline.hub import fetching
from burnish.pipeline.recipe import Evaluate, Optim, Ranked
from burnish.pipeline.reinforcement import OnPolicy
from burnish.pipeline.stage import Context
from burnish.records.durable import digest_value
from burnish.records.files import located
from burnish.records.formats import holds_rankings, read_examples, read_labelled, read_prompts
from burnish.records.texts import read_texts
from burnish.store.snapshot import read_labels, read_snapshot
from burnish.types import Example, Labelled, Message, Prompt, Ranking, Text

_log = logging.getLogger(__name__)
T = TypeVar("T")
Named = TypeVar("Named", Prompt, Text)
EVALUATED = 0.05
"""Share of the prompts that a stage is evaluated on while it trains, where it names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rankings:
    """What preferences are learned from and measured on."""

    train: list[Ranking]
    heldout: list[Ranking]
    dropped: list[Problem]
    """Rows that were left out as unfit; to be counted and said."""


def rankings(context: Context) -> Rankings:
    """The rankings of a run: its own snapshot, or the file or Hub data set that reward or dpo names."""
    if "collect" in context.inputs:
        snapshot = context.inputs["collect"] / "snapshot"
        train, heldout = read_snapshot(snapshot, "train"), read_snapshot(snapshot, "heldout")
        return Rankings(train=train, heldout=heldout, dropped=[])
    ranked = context.recipe.ranked()
    assert ranked is not None, "the recipe was checked"
    assert ranked.rankings is not None
    return _split_file(data_path(ranked.rankings, context.base), ranked, context.recipe.seed)


def conversations(context: Context) -> tuple[list[Example], list[Example]]:
    """What sft learns, and what it is evaluated on meanwhile. Of rankings: the best answers to prompts that are not
    held out."""
    sft = context.recipe.sft
    assert sft is not None
    learned = [_best(each) for each in rankings(context).train] if sft.data is None else _told(context, sft.data)
    learned = learned[: sft.limit]
    if sft.eval_every is None or sft.eval_data is not None:
        return learned, _told(context, sft.eval_data) if sft.eval_data else []
    prompts = [_digest(each.messages[:-1]) for each in learned]
    return apart(learned, prompts, sft, context.recipe.seed)


def apart(rows: Sequence[T], units: Sequence[str], settings: Optim, seed: int) -> tuple[list[T], list[T]]:
    """Rows to learn from, and those that are set apart to evaluate on while it is learned: by the unit that each
    row is of."""
    held = set_apart(units, settings.eval_share or EVALUATED, seed)
    marked = list(zip(rows, held, strict=True))
    return [row for row, there in marked if not there], [row for row, there in marked if there]


def _told(context: Context, name: str) -> list[Example]:
    path = context.path(name)
    if not holds_rankings(path):
        return read_examples(path)
    given = context.recipe.ranked()
    ranked = given or Ranked()
    found = _split_file(path, ranked, context.recipe.seed)
    if given is None and found.heldout:
        said = "%s holds rankings: %d of %d are set apart, for reward and dpo to be measured on (their held_out is %g)"
        _log.warning(said, name, len(found.heldout), len(found.heldout) + len(found.train), ranked.held_out)
    return [_best(each) for each in found.train]


def labelled(context: Context) -> tuple[list[Labelled], list[Labelled]]:
    """What kto learns, and what it is measured on."""
    kto = context.recipe.kto
    assert kto is not None
    if kto.data is None:
        snapshot = context.inputs["collect"] / "snapshot"
        return read_labels(snapshot, "train")[: kto.limit], read_labels(snapshot, "heldout")
    rows = read_labelled(context.path(kto.data))[: kto.limit]
    held = {row.prompt.unit for row in rows if _held_out(row.prompt.unit, kto.held_out, context.recipe.seed)}
    return [row for row in rows if row.prompt.unit not in held], [row for row in rows if row.prompt.unit in held]


def training_prompts(context: Context, settings: OnPolicy) -> list[Prompt]:
    """What a stage samples answers to: its prompts, or the training prompts of the rankings."""
    if settings.prompts is not None:
        return read_prompts(context.path(settings.prompts), settings.prompt_column)[: settings.limit]
    return distinct(rankings(context).train)[: settings.limit]


def cases(context: Context) -> list[Prompt]:
    """What the models are measured on: evaluate.cases, or the held-out prompts of the rankings."""
    evaluate = context.recipe.evaluate
    assert evaluate is not None
    if not evaluate.cases:
        return distinct(rankings(context).heldout)[: evaluate.limit]
    files = [read_prompts(context.path(name), evaluate.prompt_column)[: evaluate.limit] for name in evaluate.cases]
    return _distinct_ids("evaluate.cases", [case for file in files for case in file])


def learned_prompts(context: Context) -> set[str]:
    """Digests of all prompts that the run's models learned to answer, or to tell good answers to from bad ones."""
    recipe = context.recipe
    found: list[Sequence[Message]] = []
    if recipe.sft:
        turns = [each.messages for each in conversations(context)[0]]
        found += [said[:place] for said in turns for place, turn in enumerate(said) if turn.role == "assistant"]
    if recipe.kto:
        found += [row.prompt.messages for row in labelled(context)[0]]
    if recipe.reward or recipe.dpo:
        found += [prompt.messages for prompt in distinct(rankings(context).train)]
    for section in recipe.on_policy().values():
        found += [prompt.messages for prompt in training_prompts(context, section)]
    return {_digest(messages) for messages in found}


def learned_cases(context: Context, cases: Sequence[Prompt]) -> list[str]:
    """Ids of the cases that models of this run learned from: what is measured on them flatters."""
    learned = learned_prompts(context)
    return [case.id for case in cases if _digest(case.messages) in learned]


def texts(context: Context, settings: Evaluate) -> list[Text]:
    """What perplexity is measured on."""
    return _distinct_ids(
        "evaluate.texts", [text for name in settings.texts or () for text in read_texts(context.path(name))]
    )


def data_path(name: str, base: Path) -> Path:
    """A path of the recipe, or a Hub data set `owner/name` or `owner/name:file`, perhaps `owner/name@revision`, fetched
    into the Hub's cache.

    Only JSONL files are fetched; no code of the data set is. Raises MachineError where the Hub is out of reach, and
    DataError where the data set has none.
    """
    local = located(name, base)
    if local.exists():
        return local
    owner_name, _, file = name.partition(":")
    repository, _, revision = owner_name.partition("@")
    wanted = [file] if file else ["*.jsonl", "*.jsonl.gz"]
    try:
        folder = snapshot_download(repository, repo_type="dataset", revision=revision or None, allow_patterns=wanted)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        mend = "Give a path, or check the network and run the same command."
        raise MachineError(Problem(name, "is no path here and could not be fetched from the Hub", mend)) from error
    if not file and not any(Path(folder).rglob("*.jsonl*")):
        raise DataError(Problem(name, "the data set has no JSONL file", fetching(name, base)))
    return Path(folder) / file


def distinct(rows: Sequence[Ranking]) -> list[Prompt]:
    """The prompts of rankings, each once, in the order of their first."""
    return list({row.prompt.id: row.prompt for row in reversed(rows)}.values())[::-1]


def _digest(messages: Sequence[Message]) -> str:
    return digest_value([message.as_json() for message in messages])


def _split_file(path: Path, ranked: Ranked, seed: int) -> Rankings:
    rows, dropped = ranked_rows(path, ranked)
    if ranked.limit is not None:
        kept = {prompt.id for prompt in distinct(rows)[: ranked.limit]}
        rows = [row for row in rows if row.prompt.id in kept]
    held = {row.prompt.unit for row in rows if _held_out(row.prompt.unit, ranked.held_out, seed)}
    return Rankings(
        train=[row for row in rows if row.prompt.unit not in held],
        heldout=[row for row in rows if row.prompt.unit in held],
        dropped=dropped,
    )


def _held_out(unit: str, share: float, seed: int) -> bool:
    return int(digest_value([seed, unit])[:8], 16) / 16**8 < share


def _best(ranking: Ranking) -> Example:
    messages = (*ranking.prompt.messages, Message(role="assistant", content=ranking.best))
    named = f"{ranking.prompt.id}:{digest_value(ranking.best)[:8]}"
    return Example(id=named, messages=messages, meta=ranking.prompt.meta)


def _distinct_ids(setting: str, found: list[Named]) -> list[Named]:
    seen: set[str] = set()
    twice = [each.id for each in found if each.id in seen or seen.add(each.id)]
    if twice:
        raise DataError(*(Problem(f"{setting}: {name}", "the id stands in two files", "Rename one.") for name in twice))
    return found
