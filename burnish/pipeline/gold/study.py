"""The gold-reward protocol: policies paid by reward models that learned from few or many gold judgements, held loosely
or tightly, over seeds; what their answers were truly worth on the way; and where the watch would have stopped them.

Knows the world's gold rule and how to have recipes done. Every run is an ordinary one of `recipes/goldreward.yaml`; the
gold rule reads the answers that it wrote down, after it is over. What is done is kept: the same command continues.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import sqrt
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any

from transformers import LlamaConfig

from burnish.errors import ConfigError, Problem
from burnish.models.tiny import word_tokenizer, write_random
from burnish.pipeline.best_of_n import best_of_n, chooser, named
from burnish.pipeline.gold import world
from burnish.pipeline.gold.findings import as_text, shares, summary
from burnish.pipeline.gold.picture import picture
from burnish.pipeline.graph import execute
from burnish.pipeline.recipe_file import load_recipe
from burnish.pipeline.reinforcement import Watch
from burnish.pipeline.sampled import SAMPLES
from burnish.pipeline.speaker import speaker
from burnish.pipeline.training import rule_of
from burnish.records import durable
from burnish.records.formats import read_prompts
from burnish.rewards.combination import HELD_OUT
from burnish.stats.best_of import best_of_each
from burnish.types import Message, Progress, Sampling

METHODS = ("grpo", "ppo")
CONVERSATIONS, PROMPTS = 2000, 1024
CHUNK = 512
"""Prompts answered at once."""
BEST_OF_PROMPTS, BEST_OF = 32, 64
COLUMNS = {
    "kl": "objective/full_kl",
    "proxy": "objective/scores",
    "entropy": "objective/entropy",
    "length": "val/length",
    "eos_share": "val/eos_share",
    "distinct_2": "val/distinct_2",
    "repeated_4": "val/repeated_4",
}
"""What is kept of an iteration's metrics, beside what gold and the watcher say of its answers."""
TRACES = "traces-2"
"""Where what was found is kept; another name once a trace holds something else, so that old ones are read anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is tried."""

    seeds: Sequence[int] = (1, 2, 3, 4, 5)
    labels: Sequence[int] = (500, 2000, 8000)
    """Gold judgements that a reward model and its watcher learn from, and are measured on, together."""
    coefs: Sequence[float] = (0.0, 0.05, 0.2)
    """β: weights of the KL in the reward."""


def study(recipe: Path, out: Path, plan: Plan, progress: Progress) -> dict[str, Any]:
    """Every run's trace and every reward model's best of n, from `out` where they are there already.

    Raises what a stage raises.
    """
    found: dict[str, Any] = {"runs": [], "best_of": []}
    for seed in plan.seeds:
        folder = out / f"seed-{seed}"
        _begin(recipe, folder, seed, max(plan.labels), progress)
        for labels in plan.labels:
            for coef in plan.coefs:
                name = f"labels-{labels}-coef-{coef:g}"
                found["runs"] += _kept(folder, name, partial(_runs, folder, seed, labels, coef, progress))
            name = f"labels-{labels}-best-of"
            found["best_of"] += _kept(folder, name, partial(_best_of, folder, seed, labels, progress))
    return found


def publish(recipe: Path, out: Path, plan: Plan, progress: Progress) -> tuple[dict[str, Any], str]:
    """Do the study and write what it found beside its runs: gold.json, and gold.svg at the middle β.

    Returns the summary, and the same as a text.
    """
    found = study(recipe, out, plan, progress)
    rule = rule_of(Watch())
    told = {"summary": summary(found, rule), "shares": shares(found, rule)}
    durable.write_json(out / "gold.json", {**told, **found})
    durable.write_bytes(out / "gold.svg", picture(found, sorted(plan.coefs)[len(plan.coefs) // 2]))
    return {**told, "out": str(out)}, as_text(told["summary"], told["shares"])


def _kept(folder: Path, name: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What was made, or is made now and kept."""
    path = folder / TRACES / f"{name}.json"
    if not path.is_file():
        durable.write_json(path, {"found": make()})
    found: list[dict[str, Any]] = json.loads(path.read_bytes())["found"]
    return found


def _begin(recipe: Path, folder: Path, seed: int, labels: int, progress: Progress) -> None:
    """What all runs of a seed share: the world's text, the fine-tuned model, and gold's judgements of its answers.

    Raises ConfigError where what lies there came of another recipe.
    """
    kept = folder / "recipe.yaml"
    if kept.is_file() and kept.read_bytes() != recipe.read_bytes():
        found = "runs of another recipe lie here, and figures of two are not to be mixed"
        raise ConfigError(Problem(str(kept), found, "Choose another folder with --out."))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRACES).mkdir(exist_ok=True)
    durable.write_bytes(folder / "recipe.yaml", recipe.read_bytes())
    rows = list(world.conversations(CONVERSATIONS, seed))
    durable.write_jsonl(folder / "conversations.jsonl", rows)
    asked = [{"messages": row["messages"][:1]} for row in world.conversations(PROMPTS, seed + 1000)]
    durable.write_jsonl(folder / "prompts.jsonl", asked)
    if not (folder / "model").is_dir():
        _random_model(folder / "model", rows, seed)
    if len(durable.read_log(folder / "labels.jsonl")) < labels:  # the first of more are the same
        started = load_recipe(folder / "recipe.yaml", [f"seed={seed}", "reward=null", "ppo=null", "grpo=null"])
        list(execute(started, folder, folder / "start", progress))
        durable.write_jsonl(folder / "labels.jsonl", _judged(folder, seed, labels, progress))


def _random_model(folder: Path, rows: Sequence[dict[str, Any]], seed: int) -> None:
    """One layer; words for tokens, so that answers are short and runs take seconds."""
    texts = [turn["content"] for row in rows for turn in row["messages"]] + ["user\nassistant\nsystem\n"]
    tokenizer = word_tokenizer(texts)
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=0.05,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.end_id,
    )
    write_random(folder, config, seed=seed, tokenizer=tokenizer)


def _judged(folder: Path, seed: int, count: int, progress: Progress) -> Iterator[dict[str, Any]]:
    """Two answers of the fine-tuned model to each of so many prompts, the one that gold prefers first. Answers worth
    the same are no judgement, and further prompts are asked until there are enough."""
    generator = speaker(folder / "start" / "sft" / "model", "float32")
    asked = [Message(role="user", content=text) for text in world.prompts(seed)]
    progress.start(f"gold judges answers, seed {seed}", count)
    found = 0
    for start in range(0, len(asked), CHUNK):
        part = asked[start : start + CHUNK]
        answers = generator.generate([[turn] for turn in part], _sampling(seed), n=2)
        for turn, (one, other) in zip(part, answers, strict=True):
            better, worse = sorted((one.text, other.text), key=world.gold, reverse=True)
            if world.gold(better) > world.gold(worse) and found < count:
                found += 1
                progress.advance()
                yield {"prompt": [turn.as_json()], "completions": [better, worse], "ranks": [1, 2]}
        if found >= count:
            break
    progress.finish()
    assert found == count, f"the world has requests for {found} judgements only"


def _sampling(seed: int) -> Sampling:
    return Sampling(temperature=1.0, max_new_tokens=48, seed=seed)


def _best_of(folder: Path, seed: int, labels: int, progress: Progress) -> list[dict[str, Any]]:
    """The fine-tuned model's answers, the best of n of them by the reward model: what that is worth, by gold too; and
    gold's mean and spread over all of them, which its figures are told in."""
    model = folder / "start" / "sft" / "model"
    asked = read_prompts(folder / "prompts.jsonl")[:BEST_OF_PROMPTS]
    reward = chooser(*named(folder / f"labels-{labels}"), asked, "float32")
    chosen = best_of_n(speaker(model, "float32", progress), reward, asked, _sampling(seed), BEST_OF)
    scores = [[answer["score"] for answer in row["answers"]] for row in chosen.rows]
    golds = [[world.gold(answer["text"]) for answer in row["answers"]] for row in chosen.rows]
    sizes = [size.n for size in chosen.sizes]
    told = {
        "n": sizes,
        "kl": [size.kl for size in chosen.sizes],
        "proxy": [size.score.value for size in chosen.sizes],
        "gold": [each.value for each in best_of_each(list(zip(scores, golds, strict=True)), sizes)],
    }
    return [{"seed": seed, "labels": labels, **told, **_start(golds)}]


def _start(golds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Gold of the fine-tuned model's answers, given by prompts: mean and standard deviation, and the mean's standard
    error, for which the answers to one prompt count as one."""
    everything = [each for row in golds for each in row]
    error = stdev([fmean(row) for row in golds]) / sqrt(len(golds))
    return {"gold_mean": fmean(everything), "gold_std": pstdev(everything), "gold_error": error}


def _runs(folder: Path, seed: int, labels: int, coef: float, progress: Progress) -> list[dict[str, Any]]:
    """Both methods, paid by a reward model from so many judgements."""
    settings = [
        f"seed={seed}",
        "model=start/sft/model",
        "sft=null",
        f"reward.limit={labels}",
        f"ppo.kl_coef={coef}",
        f"grpo.kl.coef={coef}",
    ]
    run = folder / f"labels-{labels}"
    steps = list(execute(load_recipe(folder / "recipe.yaml", settings), folder, run, progress))
    reward = next(step.record.facts for step in steps if step.record.stage == "reward")
    told = {"seed": seed, "labels": labels, "coef": coef, "accuracy": reward["accuracy"], "watcher": reward["watcher"]}
    return [{"method": method, **told, "trace": _trace(run / method)} for method in METHODS]


def _trace(stage: Path) -> list[dict[str, float]]:
    """One row an iteration, with what gold and the watcher say of its answers: means over all of them, and over those
    of each half of the prompts, since what is chosen by one half is measured by the other. Answers to one prompt are
    alike and stay together."""
    said: dict[int, list[dict[str, Any]]] = {}
    for line in durable.read_log(stage / SAMPLES):
        said.setdefault(line["iteration"], []).append(line)
    rows = [row for row in durable.read_log(stage / "metrics.jsonl") if "objective/scores" in row]
    found: list[dict[str, float]] = []
    for number, row in enumerate(rows):
        told = {name: row[metric] for name, metric in COLUMNS.items() if metric in row}
        found.append({**told, **_halves(said[number])})
    return found


def _halves(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    asked = [list(group) for _, group in groupby(lines, key=lambda line: line["id"])]
    found: dict[str, float] = {}
    for name, groups in (("", asked), ("_even", asked[::2]), ("_odd", asked[1::2])):
        part = [line for group in groups for line in group]
        found[f"gold{name}"] = fmean(world.gold(line["text"]) for line in part)
        found[f"held_out{name}"] = fmean(line["parts"][HELD_OUT] for line in part)
    return found
