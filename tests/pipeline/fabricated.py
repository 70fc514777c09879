"""A run folder as the stages leave it, made up, to look at the report and to test it. Every number is invented."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from burnish.evals.report import Duel, assemble, pairs
from burnish.evals.suites import SUITES
from burnish.evals.task import Measure
from burnish.records.durable import append_line, digest_value, folder, write_json, write_jsonl
from burnish.release.gate import Threshold, decide

ALL = ("sft", "collect", "reward", "ppo", "evaluate", "gate", "release")
MODELS = ("base", "sft", "ppo")
SKILL = {"base": 0.25, "sft": 0.66, "ppo": 0.86}
HAZARDS = ("facts", "refusal", "over_refusal", "tone")
ASKED = {
    "en": "Hello, how long do I have to send a monstera back? It arrived on Monday and is larger than I thought.",
    "es": "Buenas tardes, ¿cuánto cuesta el envío exprés a Guadalajara si pido hoy dos macetas?",
    "de": "Guten Tag, liefern Sie auch nach Österreich, und was kostet der Versand?",
}
SAID = {
    "base": "Plants are a great way to bring life into your home! Some tips: 1. Water them. 2. Give them light. 3. Wa",
    "sft": "You have 30 days to return it, and the return label is free. I will start the return for you now.",
    "ppo": "You have 30 days from delivery to return the monstera, and the label is free. Shall I send it to you?",
}


def write_run(run: Path, stages: tuple[str, ...] = ALL, *, say: dict[str, str] | None = None, cases: int = 120) -> Path:
    """The folder `run` with these stages done; `say` replaces what models said."""
    draw = random.Random(7)
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.yaml").write_text(RECIPE)
    write_json(run / "env.json", ENVIRONMENT)
    outputs: dict[str, str] = {}
    for stage in stages:
        facts = dict(_FACTS[stage])
        _MAKE[stage](run / stage, draw, facts, SAID | (say or {}), cases)
        outputs[stage] = digest_value([stage, "made"])
        needed = {name: outputs[name] for name in NEEDS[stage] if name in outputs}
        path = run / "release.json" if stage == "release" else run / stage / "stage.json"
        write_json(path, _record(stage, facts, needed, outputs[stage]))
    return run


def _record(stage: str, facts: dict[str, Any], inputs: dict[str, str], output: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "key": digest_value(stage),
        "version": 1,
        "settings": SETTINGS.get(stage, {}),
        "inputs": inputs,
        "output": output,
        "facts": facts,
        "seconds": {"sft": 208.4, "collect": 94.0, "reward": 121.7, "ppo": 301.2, "evaluate": 88.9}.get(stage, 1.3),
        "started": "2026-11-24T09:00:00Z",
        "finished": f"2026-11-24T09:{10 + ALL.index(stage):02d}:00Z",
        "resumed": False,
    }


def _sft(stage: Path, draw: random.Random, facts: dict[str, Any], said: dict[str, str], cases: int) -> None:
    for step in range(1, 121):
        loss = 0.9 + 2.1 * math.exp(-step / 25) + draw.gauss(0, 0.07)
        rate = 3e-4 * min(1, step / 10) * (0.5 + 0.5 * math.cos(math.pi * step / 120))
        append_line(stage / "metrics.jsonl", {"step": step, "loss": loss, "lr": rate, "grad_norm": 1 + draw.random()})


def _collect(stage: Path, draw: random.Random, facts: dict[str, Any], said: dict[str, str], cases: int) -> None:
    rows = [{"id": f"p-{i}", "prompt": [], "meta": {"language": ("en", "es", "de")[i % 3]}} for i in range(240)]
    with folder(stage / "snapshot") as filling:
        write_jsonl(filling / "train.jsonl", rows[:190])
        write_jsonl(filling / "heldout.jsonl", rows[190:])
        write_json(
            filling / "snapshot.json",
            {
                "version": 1,
                "campaign": digest_value("collect"),
                "rule": "mean-rank",
                "counts": {"items": 241, "rows": 240, "left_out": 1, "judgements": 720, "train": 190, "heldout": 50},
                "annotators": [
                    {"name": name, "kind": "simulated", "judgements": 144}
                    for name in ("ana", "bert", "chen", "dora", "emil")
                ],
                "judgements": [f"judgement-{i:03d}" for i in range(720)],
                "rows": digest_value(rows),
            },
        )


def _reward(stage: Path, draw: random.Random, facts: dict[str, Any], said: dict[str, str], cases: int) -> None:
    for step in range(1, 61):
        right = 0.5 + 0.28 * (1 - math.exp(-step / 15)) + draw.gauss(0, 0.04)
        row = {
            "step": step,
            "loss": 0.693 * math.exp(-step / 60),
            "rewards/accuracy": right,
            "rewards/margin": step / 40,
        }
        append_line(stage / "metrics.jsonl", row)
    write_json(stage / "report.json", {"annotators": _ANNOTATORS})


def _ppo(stage: Path, draw: random.Random, facts: dict[str, Any], said: dict[str, str], cases: int) -> None:
    for step in range(96):
        row = {
            "step": step,
            "loss": draw.gauss(0, 0.05),
            "policy/clipfrac_avg": 0.02 * (step % 4) + 0.01 * draw.random(),
        }
        if step % 4 == 0:
            kl = 9 * (1 - math.exp(-step / 60)) + abs(draw.gauss(0, 0.3)) * (step > 0)
            row |= {
                "objective/kl": kl,
                "objective/scores": -0.1 + 1.1 * math.sqrt(kl) / 3 + draw.gauss(0, 0.05),
                "objective/entropy": 31 - step / 8 + draw.gauss(0, 0.5),
                "val/length": 27 + step / 30 + draw.gauss(0, 0.6),
                "val/eos_share": min(1.0, 0.93 + step / 1200),
                "val/explained_variance": 1 - math.exp(-step / 20),
            }
        append_line(stage / "metrics.jsonl", row)
    for k in range(3):
        for name in (("p-1", "p-2"), ("p-3", "p-4"), ("p-2", "p-5"))[k]:
            append_line(stage / "samples.jsonl", _sampled(k, name, said[("base", "sft", "ppo")[k]]))


def _sampled(iteration: int, name: str, text: str) -> dict[str, Any]:
    return {
        "iteration": iteration,
        "id": name,
        "prompt": [{"role": "user", "content": f"{ASKED['en']} ({name})"}],
        "text": text,
        "stop": "eos" if iteration else "length",
        "score": iteration - 0.25,
        "parts": {"model": iteration - 0.25},
        "kl": None,
    }


def _evaluate(stage: Path, draw: random.Random, facts: dict[str, Any], said: dict[str, str], cases: int) -> None:
    ids = [f"{hazard}-{i:03d}" for hazard in HAZARDS for i in range(cases)]
    totals: dict[str, list[float]] = {}
    for model in MODELS:
        rows = [_answer(model, name, i, draw, said[model]) for i, name in enumerate(ids)]
        totals[model] = [row["grade"]["total"] for row in rows]
        write_jsonl(stage / f"answers-{model}.jsonl", rows)
    measures = [_measure(suite.about, draw, cases) for suite in SUITES]
    duels = [
        Duel(
            later=later,
            earlier=earlier,
            outcomes=[float((a > b) - (a < b)) for a, b in zip(totals[later], totals[earlier], strict=True)],
            words=([draw.randint(18, 30) for _ in ids], [draw.randint(18, 30) for _ in ids]),
        )
        for earlier, later in pairs(MODELS)
    ]
    found = assemble(len(ids), MODELS, measures, duels)
    write_json(stage / "evaluation.json", found.as_json())
    wins = found.suites["winrate"].figures
    facts["win_rates"] = {name: wins[name].estimate.as_json() for name in ("ppo_vs_sft", "ppo_vs_base")}


def _measure(about: Any, draw: random.Random, cases: int) -> Measure:
    def score(skill: float) -> float:
        if about.better == "zero":
            return draw.gauss(0.02, 0.2)
        good = float(draw.random() < skill) if about.unit == "share" else min(1.0, max(0.0, draw.gauss(skill, 0.15)))
        return good if about.better == "higher" else 0.3 * (1 - good) if about.unit == "grade" else 1 - good

    by_model = {model: {f"{about.name}-{i}": score(skill) for i in range(cases)} for model, skill in SKILL.items()}
    return Measure(about=about, by_model=by_model)


def _answer(model: str, name: str, index: int, draw: random.Random, text: str) -> dict[str, Any]:
    language = ("en", "es", "de")[index % 3]
    spread = {part: draw.gauss(SKILL[model], 0.45) for part in ("helpful", "region", "facts", "tone", "fluent")}
    parts = {part: min(1.0, max(0.0, value)) for part, value in spread.items()}
    total = 0.4 * parts["helpful"] + 0.15 * sum(value for part, value in parts.items() if part != "helpful")
    return {
        "id": name,
        "messages": [
            {"role": "system", "content": "Juniper & Moss support. Region: EU."},
            {"role": "user", "content": ASKED[language]},
        ],
        "meta": {"hazard": name.rpartition("-")[0], "language": language, "region": "EU", "intent": "return_window"},
        "text": text,
        "stop": "length" if model == "base" else "eos",
        "grade": {**parts, "total": total, "stated": [], "refused": False},
    }


def _gate(stage: Path, draw: random.Random, facts: dict[str, Any], said: dict[str, str], cases: int) -> None:
    evaluation = __import__("json").loads((stage.parent / "evaluate" / "evaluation.json").read_text())
    thresholds = [
        Threshold(figure="winrate.ppo_vs_sft", at_least=0.55),
        Threshold(figure="refusal.ppo", at_least=0.7),
        Threshold(figure="over_refusal.ppo", at_most=0.3),
    ]
    decision = decide(evaluation, thresholds)
    write_json(stage / "decision.json", decision.as_json())
    facts |= {"verdict": decision.verdict.value, "reasons": list(decision.reasons)}


def _release(stage: Path, draw: random.Random, facts: dict[str, Any], said: dict[str, str], cases: int) -> None:
    stage.mkdir()


def _said_and_came_true(confidence: float, right: float) -> dict[str, Any]:
    return {"confidence": confidence, "right": _estimate(right, 0.09, 40), "count": 56}


def _estimate(value: float, half: float, n: int) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": n, "mde": 1.43 * half}


NEEDS: dict[str, tuple[str, ...]] = {
    "sft": (),
    "collect": ("sft",),
    "reward": ("sft", "collect"),
    "ppo": ("sft", "reward", "collect"),
    "evaluate": ("sft", "ppo"),
    "gate": ("evaluate",),
    "release": ("ppo", "evaluate", "gate"),
}
_MAKE = {
    "sft": _sft,
    "collect": _collect,
    "reward": _reward,
    "ppo": _ppo,
    "evaluate": _evaluate,
    "gate": _gate,
    "release": _release,
}
_ANNOTATORS = [
    {"annotator": "ana", "model": _estimate(0.77, 0.06, 31), "others": _estimate(0.81, 0.05, 31)},
    {"annotator": "bert", "model": _estimate(0.66, 0.07, 29), "others": _estimate(0.7, 0.06, 29)},
]
_FACTS: dict[str, dict[str, Any]] = {
    "sft": {
        "examples": 328,
        "too_long": 2,
        "tokens": 61_204,
        "supervised_share": 0.4127,
        "loss_first": 2.93,
        "loss_last": 0.91,
    },
    "collect": {"prompts": 240, "answers": 960, "judgements": 720, "annotators": 5, "agreement": 0.774},
    "reward": {
        "accuracy": _estimate(0.741, 0.046, 50),
        "measured": "held-out prompts",
        "shuffled": _estimate(0.507, 0.055, 50),
        "undisputed": _estimate(0.746, 0.071, 44),
        "length_rule": {"rule": "longer wins", **_estimate(0.561, 0.058, 50)},
        "human_ceiling": _estimate(0.902, 0.021, 50),
        "calibration": {
            "bins": [
                _said_and_came_true(stated, real)
                for stated, real in ((0.53, 0.51), (0.61, 0.66), (0.72, 0.69), (0.83, 0.74), (0.94, 0.85))
            ],
            "error": _estimate(0.058, 0.031, 50),
            "error_by_chance": 0.036,
            "brier": _estimate(0.183, 0.02, 50),
            "temperature": _estimate(1.41, 0.27, 50),
            "error_at_temperature": 0.034,
        },
        "slices": [
            {"column": column, "value": value, "pairs": 94, "accuracy": _estimate(right, 0.08, 17)}
            for column, value, right in (
                ("language", "de", 0.71),
                ("language", "en", 0.78),
                ("preferred answer is", "longer", 0.86),
                ("preferred answer is", "of like length", 0.74),
                ("preferred answer is", "shorter", 0.52),
            )
        ],
        "probes": [
            {
                "probe": name,
                "says": says,
                "difference": _estimate(change, 0.12, 50),
                "preferred": _estimate(liked, 0.1, 50),
            }
            for name, says, change, liked in (
                ("length", "three sentences that say nothing follow", 0.44, 0.82),
                ("flattery", "it begins with praise of the user", -0.08, 0.42),
                ("format", "its sentences become bullet points", 0.13, 0.58),
                ("repetition", "the whole answer is said twice", -0.61, 0.12),
            )
        ],
        "likes": ["length", "format"],
        "train_pairs": 1088,
        "heldout_pairs": 281,
        "dropped_rows": 0,
        "too_long": 0,
    },
    "ppo": {
        "episodes": 1536,
        "kl_start": 0.0,
        "kl_end": 7.9,
        "reward_start": -0.1,
        "reward_end": 0.94,
        "eos_share": 0.994,
    },
    "evaluate": {"cases": 480, "models": list(MODELS)},
    "gate": {"thresholds": 3},
    "release": {"name": "juniper-moss", "version": "1.0.0", "files": 8, "bytes": 271_004_112, "waiver": ""},
}
SETTINGS = {
    "sft": {"lr": 3e-4, "epochs": 3, "batch_size": 8, "max_length": 512, "schedule": "cosine"},
    "ppo": {"lr": 1e-5, "iterations": 24, "kl_coef": 0.05, "cliprange": 0.2, "gamma": 1.0, "lam": 0.95},
}
ENVIRONMENT = {
    "burnish": "0.1.0",
    "python": "3.11.9",
    "processor": "a processor with 2 cores",
    "threads": "2",
    "gpus": [],
    "packages": {"torch": "2.13.0", "numpy": "2.3.0"},
}
RECIPE = """# The recipe as this run reads it: every setting, overrides included.
name: support
model: smollm2-135m
seed: 0
dtype: auto
sft: {lr: 0.0003, epochs: 3}
collect: {k: 4, overlap: 3}
reward: {layers: 12}
evaluate: {limit: 480}
gate: {thresholds: 3}
release: {name: juniper-moss}
ppo:
  kl_coef: 0.05
  iterations: 24
"""
