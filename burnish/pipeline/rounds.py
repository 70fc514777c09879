"""Asking people and training on what they say, in rounds: Christiano et al. 2017, §2.2; Bai et al. 2022, §4.5.

In each round the policy of the round before answers prompts, people say which answers are better, and what they have
said by then is frozen: the recipe's reward model and policy are trained anew from that. People go on judging while it
trains. The two are joined by the frozen judgements alone.

Knows recipes, the store and the order of the work; knows no page, no tensor and no method.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish.config import load_yaml, override
from burnish.data.order import draw
from burnish.errors import ConfigError, Problem, WaitingError
from burnish.label.campaigns import ask
from burnish.label.export import export
from burnish.models.sources import resolve
from burnish.pipeline import talk
from burnish.pipeline.graph import check, execute
from burnish.pipeline.judging import wait
from burnish.pipeline.recipe import POLICIES, Recipe
from burnish.pipeline.recipe_file import load_recipe
from burnish.pipeline.report import write_report
from burnish.pipeline.suggest import Wanted, suggest
from burnish.pipeline.training import MODEL
from burnish.records.durable import append_line, read_log, write_json
from burnish.records.entries import Entry
from burnish.records.formats import read_prompts
from burnish.store import order, queries
from burnish.store.session import Store
from burnish.store.views import CampaignKind, Counts
from burnish.types import Progress, Sampling

LOG = "rounds.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often people are asked, how much, and what."""

    campaign: str
    prompts: Path
    """A JSONL file; a prompt is asked about once."""
    sampling: Sampling
    rounds: int
    judgements: int
    """Of all rounds together."""
    half_life: float | None = None
    """Rounds after which the rate of labels has halved, T of T/(t + T); None: it stays."""
    answers: int = 2
    overlap: int = 1
    pool: float = 2.0
    """So many times what a round needs is put before people, what tells most first; the rest they judge when they are
    ahead of the training."""
    seed: int = 0

    @property
    def kind(self) -> CampaignKind:
        return "pairwise" if self.answers == 2 else "ranking"

    def targets(self) -> list[int]:
        """How many judgements there are to be when each round's training begins. At least one more each."""
        weights = [1.0 if self.half_life is None else self.half_life / (t + self.half_life) for t in range(self.rounds)]
        ends = [math.fsum(weights[: t + 1]) / math.fsum(weights) for t in range(self.rounds)]
        return [max(round(self.judgements * end), t + 1) for t, end in enumerate(ends)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are, and who is told."""

    recipe: Path
    overrides: Sequence[str]
    out: Path
    store: Store
    named: str
    """How the command line names the store."""
    progress: Progress
    tell: Callable[[str, Mapping[str, Any]], None]
    """Of each stage that was done: its name and facts."""
    patient: bool
    """Wait for people; otherwise WaitingError, and the same command continues."""

    def of(self, number: int) -> Path:
        """A round's folder."""
        return self.out / f"round-{number}"

    @property
    def run(self) -> Path:
        """The run that every round does again, from the first stage that reads judgements."""
        return self.out / "run"


def rounds(plan: Plan, place: Place) -> list[dict[str, Any]]:
    """All rounds that are left: what each had and came to, from the first on.

    Raises ConfigError for a recipe that does not learn from rankings or makes no policy, WaitingError while people have
    not said enough, and whatever a stage raises. What is done is kept, and the same call continues.
    """
    _require_loop(_recipe(place, plan.prompts))
    for number, target in enumerate(plan.targets(), start=1):
        if number > len(read_log(place.out / LOG)):
            _ask(plan, place, number, target)
            _wait(plan, place, target)
            append_line(place.out / LOG, _learn(plan, place, number))
    return read_log(place.out / LOG)


def as_text(found: Sequence[Mapping[str, Any]], place: Place) -> str:
    """What `rounds` did, for people."""
    lines = [f"round {each['round']}: learned from {each['judgements']} judgements" for each in found]
    return "\n".join([*lines, f"Report: {place.run / 'report.html'}"])


def _recipe(place: Place, rankings: Path, *more: str) -> Recipe:
    """The recipe, learning from these rankings wherever it learns from any."""
    said: Any = override(load_yaml(place.recipe), place.overrides).value
    readers = [name for name in ("reward", "dpo") if said.get(name) is not None]
    return load_recipe(
        place.recipe, [*place.overrides, *(f"{name}.rankings={rankings.resolve()}" for name in readers), *more]
    )


def _require_loop(recipe: Recipe) -> None:
    mend = "Leave collect out, and name a reward or dpo section and what trains the policy (ppo, grpo, dpo, …)."
    if recipe.collect is not None or recipe.ranked() is None or _last(recipe) in (None, "sft"):
        raise ConfigError(Problem("recipe", "rounds put judgements in the place of its rankings", mend))
    if recipe.sft is not None and recipe.sft.data is None:
        found = "there are no judgements before the first round, so that sft needs conversations"
        raise ConfigError(Problem("sft.data", found, "Name a file of them, or leave sft out."))


def _last(recipe: Recipe) -> str | None:
    return next((name for name in reversed(POLICIES) if name in recipe.stages()), None)


def _ask(plan: Plan, place: Place, number: int, target: int) -> None:
    """Put a round's questions before people, once: answers of the policy as it is now."""
    asked = place.of(number) / "asked.json"
    if asked.is_file():
        return
    counts = _counts(plan, place)
    needed = math.ceil(max(0, target - (counts.judged if counts else 0)) / plan.overlap)
    entries = _answered(plan, place, number, math.ceil(needed * plan.pool))
    found = {"new_items": 0}
    if entries:
        found = ask(place.store, plan.campaign, entries, overlap=plan.overlap, kind=plan.kind)
    first = _put_first(plan, place, needed) if counts and needed else None
    write_json(asked, {"needed": needed, "new_items": found["new_items"], "first": first})


def _answered(plan: Plan, place: Place, number: int, count: int) -> list[Entry]:
    """Fresh prompts with the policy's answers to them, or those that the round has already: killed before it was
    written down that they were asked, it asks no others."""
    prompts, out = {prompt.id: prompt for prompt in read_prompts(plan.prompts)}, place.of(number) / "answers.jsonl"
    if not out.is_file():
        with place.store.reading() as session:
            made = queries.find_campaign(session, plan.campaign)
            asked = {item.prompt.id for item in queries.items(session, made.id)} if made else set[str]()
        fresh = sorted(prompts.keys() - asked, key=lambda prompt: draw(plan.seed, "rounds", prompt))
        if not (chosen := [prompts[prompt] for prompt in fresh[:count]]):
            return []
        sampling = replace(plan.sampling, seed=draw(plan.seed, "rounds", number))
        talk.sample(str(_policy(plan, place, number)), chosen, sampling, plan.answers, place.progress, out)
    rows = read_log(out)
    return [
        Entry(
            where=f"{out}:{line}",
            prompt=prompts[row["id"]],
            completions=tuple(each["text"] for each in row["completions"]),
            models=(f"round-{number - 1}",) * plan.answers,
        )
        for line, row in enumerate(rows, start=1)
        if _worth_asking([each["text"] for each in row["completions"]])
    ]


def _worth_asking(texts: Sequence[str]) -> bool:
    """Whether there is something to choose, and something that files and databases can hold: bytes that a model makes
    up may be none."""
    return len(set(texts)) == len(texts) and all(text.strip() and "\0" not in text for text in texts)


def _policy(plan: Plan, place: Place, number: int) -> Path:
    """Who answers: the last round's policy; in the first round the tuned model, which is made where there is one."""
    recipe = _recipe(place, plan.prompts)
    if number > 1:
        return place.run / str(_last(recipe)) / MODEL
    if recipe.sft is None:
        return resolve(recipe.model, place.recipe.parent, place.progress)
    _do(_recipe(place, plan.prompts, *(f"{name}=null" for name in recipe.stages() if name != "sft")), place)
    return place.run / "sft" / MODEL


def _put_first(plan: Plan, place: Place, needed: int) -> int | None:
    """What tells most of all that nobody has judged comes first, by the reward ensemble of the last round, or by a
    linear model of what was said where there is none. Returns how many items; None where there are none."""
    with place.store.reading() as session:
        if not order.untouched(session, queries.named(session, plan.campaign).id):
            return None
    recipe = _recipe(place, plan.prompts)
    ensemble = recipe.reward is not None and recipe.reward.members > 1
    model = str(resolve(recipe.model, place.recipe.parent, place.progress))
    wanted = Wanted(budget=needed, seed=plan.seed)
    reward = place.run if ensemble and (place.run / "reward" / MODEL).is_dir() else None
    found = suggest(place.store, plan.campaign, wanted, reward=reward, model=model, progress=place.progress)
    return int(found["chosen"])


def _wait(plan: Plan, place: Place, target: int) -> None:
    """Return when people have said enough, or when there is nothing left to ask them."""
    counts = _counts(plan, place)
    missing = _missing(counts, target)
    if not missing:
        return
    where = f"burnish label serve {place.named}"
    if not place.patient:
        mend = f"Run: {where}   When people have judged, the same command continues."
        raise WaitingError(Problem(plan.campaign, f"{missing} judgements are still to be made before training", mend))
    wait(lambda: _missing(_counts(plan, place), target), missing, where, place.progress)


def _missing(counts: Counts | None, target: int) -> int:
    return min(target - counts.judged, counts.left) if counts and counts.judged < target else 0


def _learn(plan: Plan, place: Place, number: int) -> dict[str, Any]:
    """Freeze what was said, and train from it: what the round had and came to."""
    labels = place.of(number) / "labels"
    if not labels.is_dir():
        export(place.store, plan.campaign, "rankings", labels)
    facts = _do(_recipe(place, labels / "train.jsonl"), place)
    judgements = len(json.loads((labels / "snapshot.json").read_bytes())["judgements"])
    return {"round": number, "judgements": judgements, "labels": str(labels), "stages": facts}


def _do(recipe: Recipe, place: Place) -> dict[str, Any]:
    """Do what is left of it in the run: each stage's facts. Raises what is wrong with the files before anything."""
    base = place.recipe.parent
    check(recipe, base, place.run)
    facts: dict[str, Any] = {}
    for step in execute(recipe, base, place.run, place.progress):
        facts[step.record.stage] = dict(step.record.facts)
        if step.ran:
            place.tell(step.record.stage, step.record.facts)
    write_report(place.run)
    return facts


def _counts(plan: Plan, place: Place) -> Counts | None:
    """How far the campaign is, where there is one yet."""
    with place.store.reading() as session:
        made = queries.find_campaign(session, plan.campaign)
        return queries.progress(session, made.id) if made else None
