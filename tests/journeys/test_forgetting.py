"""Reinforcement learning makes a model forget; text learned beside it (PPO-ptx) keeps it nearer to where it began."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny import burnish

from burnish.chat.tokenizer import Tokenizer
from burnish.data.documents import text_documents
from burnish.models.load import load_trainable, save_trainable
from burnish.models.tiny import write_tiny
from burnish.pipeline.gold.world import conversations, prompts
from burnish.records import durable
from burnish.runs import MetricsLog
from burnish.train.feeds import DatasetFeed
from burnish.train.loop import FitConfig, fit
from burnish.train.objectives import Sft
from burnish.train.optim import OptimConfig, Optimizer
from burnish.types import Text

CORPUS = Path(__file__).parents[3] / "shared/data/corpus/wikitext2/wikitext2_valid.txt"
SEEDS = range(1, 6)
STEPS = 1000
"""Of the base model's own training."""
SHOWN = [f"{what} {model}" for what in ("text_nll", "worth") for model in ("base", "sft", "ppo")]
RECIPE = """\
name: forgetting
model: model
seed: {seed}
dtype: float32
sft: {{data: conversations.jsonl, epochs: 2, batch_size: 16, lr: 1e-3, max_length: 512, micro_tokens: 8192}}
ppo:
  prompts: prompts.jsonl
  rewards: [{{python: {{file: worth.py, function: worth}}}}]
  iterations: 40
  prompts_per_iteration: 16
  samples_per_prompt: 4
  baseline: leave_one_out
  kl_coef: 0.01
  lr: 1e-3
  max_new_tokens: 128
  micro_tokens: 8192
  save_every: 100
evaluate:
  cases: [cases.jsonl]
  rewards: [{{python: {{file: worth.py, function: worth}}}}]
  texts: [measured.txt]
  sampling: {{temperature: 1.0, max_new_tokens: 128}}
"""
REWARD = """\
from burnish.pipeline.gold.world import gold


def worth(prompts, completions, **columns):
    return [gold(each) for each in completions]
"""


def reader(folder: Path, text: Text) -> Path:
    """A model that reads bytes and has learned to predict the text."""
    tokenizer = Tokenizer.load(write_tiny(folder / "random", width=96))
    module = load_trainable(folder / "random", dtype=torch.float32)
    feed = DatasetFeed(text_documents(tokenizer, [text], 256, "text"), per_step=16, micro_tokens=8192, seed=1)
    optimizer = Optimizer(module, OptimConfig(lr=3e-3, steps=STEPS, warmup_steps=50, schedule="cosine"))
    fit(module, feed, Sft(), optimizer, FitConfig(steps=STEPS, seed=1), log=MetricsLog(folder / "reading.jsonl"))
    with durable.folder(folder / "model") as filling:
        save_trainable(module, filling, tokenizer, dtype=torch.float32)
    return folder / "model"


def project(folder: Path) -> Path:
    """Everything but the recipe: a base model that has read, reviews to fine-tune on, and the rule that pays."""
    content = CORPUS.read_text(encoding="utf-8")
    learned, measured = content[:900_000], content[-60_000:]
    (folder / "learned.txt").write_text(learned, encoding="utf-8")
    (folder / "measured.txt").write_text(measured, encoding="utf-8")
    reader(folder, Text(id="wikitext", content=learned))
    asked = list(islice(prompts(seed=1), 700))
    for name, rows in (
        ("conversations", list(conversations(500, seed=2))),
        ("prompts", [{"prompt": each} for each in asked[:600]]),
        ("cases", [{"id": str(number), "prompt": each} for number, each in enumerate(asked[600:])]),
    ):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "worth.py").write_text(REWARD, encoding="utf-8")
    return folder


def figures(folder: Path, run: Path, *settings: str) -> dict[str, float]:
    """Of one run: log-loss on the measured text, worth of answers, KL."""
    chosen = [part for setting in settings for part in ("--set", setting)]
    found = burnish("run", folder / "recipe.yaml", "--out", run, *chosen, timeout=1800)
    assert found.returncode == 0, found.stderr
    evaluation = json.loads((run / "evaluate" / "evaluation.json").read_text(encoding="utf-8"))
    return {
        f"{suite} {name}": figure["value"]
        for suite, its in evaluation["suites"].items()
        for name, figure in its["figures"].items()
    }


@pytest.mark.proof
def test_text_beside_the_answers_keeps_a_policy_nearer_to_its_start(tmp_path: Path) -> None:
    if not CORPUS.is_file():
        pytest.skip("needs WikiText-2, which the project does not ship")
    folder = project(tmp_path)
    for seed in SEEDS:
        (folder / "recipe.yaml").write_text(RECIPE.format(seed=seed), encoding="utf-8")
        alone, beside = folder / f"alone-{seed}", folder / f"beside-{seed}"
        without = figures(folder, alone)
        shutil.copytree(alone, beside, ignore=shutil.ignore_patterns("ppo", "evaluate", "report*"))
        text = figures(folder, beside, "ppo.ptx_data=learned.txt")
        print(seed, *({name: round(each[name], 3) for name in SHOWN} for each in (without, text)), sep="\n")
        assert without["text_nll sft"] == text["text_nll sft"], "both begin at the same model"
        assert text["text_nll ppo"] < without["text_nll ppo"]
        assert min(without["worth ppo"], text["worth ppo"]) > without["worth sft"] + 0.5, "both learn what is paid for"
