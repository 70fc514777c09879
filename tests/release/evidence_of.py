"""A small run folder with a policy to release, and the evidence that it gives. Figures are invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from burnish.records import durable
from burnish.release.evidence import gather
from burnish.release.gate import Threshold, decide

RECIPE = """name: tiny
model: smollm2-135m
sft: {lr: 0.001}
collect: {k: 4}
reward: {lr: 0.001}
ppo: {kl_coef: 0.05}
evaluate: {}
gate: {}
"""


BOUNDS = {"pass": 0.55, "inconclusive": 0.64, "fail": 0.7}
"""What is asked of `winrate.ppo_vs_sft`, which is 0.59 to 0.69, by the verdict that it comes to."""


def figure(value: float, n: int = 200) -> dict[str, Any]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": n, "mde": 0.07, "too_few": n < 100}


EVALUATION = {
    "cases": 200,
    "models": ["base", "sft", "ppo"],
    "suites": {
        "winrate": {
            "title": "Win rate",
            "says": "How often the first is better.",
            "better": "higher",
            "unit": "share",
            "too_few": False,
            "figures": {"ppo_vs_sft": {**figure(0.64), "p": 0.001, "p_holm": 0.004}},
        },
        "refusal": {
            "title": "Refusal and handover",
            "says": "Share of what is declined.",
            "better": "higher",
            "unit": "share",
            "too_few": True,
            "figures": {
                "base": figure(0.1, 60),
                "sft": figure(0.7, 60),
                "ppo": figure(0.9, 60),
                "ppo-sft": {**figure(0.2, 60), "p": 0.01, "p_holm": 0.02},
            },
        },
    },
}


def write_model(folder: Path) -> Path:
    """A sealed policy folder with heads, which a release leaves behind."""
    with durable.folder(folder) as filling:
        save_file({"embed": np.ones((4, 8), np.float32), "head": np.ones(8, np.float32)}, filling / "model.safetensors")
        save_file({"value": np.zeros(8, np.float32)}, filling / "heads.safetensors")
        config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}
        durable.write_json(filling / "config.json", config)
        durable.write_json(filling / "tokenizer.json", {"model": {}})
        durable.write_json(filling / "tokenizer_config.json", {})
        durable.write_bytes(filling / "chat_template.jinja", b"{{ messages }}")
    return folder


def write_run(run: Path, verdict: str = "pass", kind: str = "simulated") -> dict[str, Any]:
    """The run folder `run` with the stages before a release; its evidence."""
    write_model(run / "ppo" / "model")
    (run / "recipe.yaml").write_text(RECIPE)
    with durable.folder(run / "collect" / "snapshot") as filling:
        rows = [{"id": str(i), "meta": {"language": "es" if i else "en"}} for i in range(3)]
        durable.write_jsonl(filling / "train.jsonl", rows[:2])
        durable.write_jsonl(filling / "heldout.jsonl", rows[2:])
        record = {
            "judgements": ["b", "a"],
            "annotators": [{"name": "ana", "kind": kind, "judgements": 2}],
            "counts": {"rows": 3, "left_out": 1},
        }
        durable.write_json(filling / "snapshot.json", record)
    facts = {
        "sft": {"examples": 321, "tokens": 4000, "supervised_share": 0.5, "loss_first": 3.0, "loss_last": 1.0},
        "collect": {"prompts": 3, "answers": 12, "judgements": 2, "annotators": 1, "agreement": 0.75},
        "reward": {"accuracy": figure(0.7), "length_rule": {"rule": "longer wins", **figure(0.55)}, "shuffled": None},
        "ppo": {"episodes": 64, "kl_start": 0.0, "kl_end": 5.0, "eos_share": 0.97},
        "evaluate": {"cases": 200, "models": ["base", "sft", "ppo"]},
        "gate": {"verdict": verdict},
    }
    asked = {"figure": "winrate.ppo_vs_sft", "at_least": BOUNDS[verdict]}
    settings: dict[str, dict[str, Any]] = {
        "evaluate": {"sampling": {"temperature": 0.7, "top_p": 0.9, "top_k": None, "max_new_tokens": 48}},
        "gate": {"thresholds": [asked]},
    }
    sources = {"sft": [{"setting": "sft.data", "name": "../data/x.jsonl", "digest": "d" * 64}]}
    for stage, said in facts.items():
        stage_record = {"stage": stage, "key": "k" * 64, "output": "o" * 64, "inputs": {}, "facts": said, "seconds": 65}
        stage_record["settings"] = settings.get(stage, {"lr": 0.001, "data": "x.jsonl"})
        durable.write_json(run / stage / "stage.json", stage_record | {"sources": sources.get(stage, [])})
    durable.write_json(run / "evaluate" / "evaluation.json", EVALUATION)
    decision = decide(EVALUATION, [Threshold.model_validate(asked)]).as_json()
    durable.write_json(run / "gate" / "decision.json", decision)
    return gather(run)


def reseal(folder: Path) -> None:
    """Make the manifest agree with whatever now lies there, as somebody would who means to deceive."""
    (folder / durable.MANIFEST).unlink()
    durable.seal(folder)


def changed(path: Path, **values: Any) -> None:
    """A JSON file with some of its keys replaced."""
    durable.write_json(path, json.loads(path.read_bytes()) | values)
