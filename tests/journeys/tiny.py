"""A whole project that fits in a test: the shipped shop, some of its rows, and a model that reads bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from burnish.models.tiny import write_tiny

SHIPPED = Path(__file__).parents[2] / "recipes" / "support"
RECIPE = """\
name: tiny
model: model
seed: 5
dtype: float32
sft:
  data: conversations.jsonl
  batch_size: 4
  lr: 1e-3
  max_length: 1024
  micro_tokens: 4096
  save_every: 1
  ema: 0.5
  eval_every: 2
  keep: best
collect:
  prompts: prompts.jsonl
  k: 3
  overlap: 2
  rubric: shop.yaml
  held_out: 0.3
  sampling: {temperature: 1.0, max_new_tokens: 12}
reward:
  epochs: 1
  members: 2
  bootstrap: true
  watcher: 0.3
  batch_size: 4
  lr: 1e-3
  max_length: 1024
  micro_tokens: 4096
  save_every: 1
dpo:
  batch_size: 4
  lr: 1e-3
  max_length: 1024
  micro_tokens: 4096
  save_every: 1
  average_with_start: 0.3
  eval_every: 1
  patience: 1
kto: {data: labels.jsonl, batch_size: 4, lr: 1e-3, max_length: 1024, micro_tokens: 4096, save_every: 1, eval_every: 2}
distill:
  teacher: teacher
  beta: 0.5
  lmbda: 0.5
  data: conversations.jsonl
  iterations: 2
  prompts_per_iteration: 4
  epochs: 2
  max_new_tokens: 12
  lr: 1e-4
  micro_tokens: 4096
  save_every: 1
rft:
  iterations: 2
  prompts_per_iteration: 4
  num_generations: 3
  epochs: 2
  max_new_tokens: 12
  lr: 1e-4
  micro_tokens: 4096
  save_every: 1
online_dpo:
  loss: ipo
  iterations: 2
  prompts_per_iteration: 4
  minibatches: 2
  max_new_tokens: 12
  lr: 1e-4
  micro_tokens: 4096
  save_every: 1
ppo:
  iterations: 3
  prompts_per_iteration: 4
  samples_per_prompt: 2
  baseline: leave_one_out
  unfrozen_layers: 1
  kl_target: 0.5
  kl_horizon: 100
  ptx_data: story.txt
  ptx_batch_size: 2
  ptx_length: 16
  epochs: 1
  minibatches: 2
  max_new_tokens: 12
  lr: 1e-4
  micro_tokens: 4096
  save_every: 1
grpo:
  loss: dapo
  kl: {in: loss, coef: 0.02}
  watch: {window: 1, patience: 2}
  rewards: [{model: {combine: worst}}, {regex: {pattern: "[a-z]"}, weight: 0.5}]
  iterations: 3
  prompts_per_iteration: 4
  num_generations: 2
  epochs: 2
  max_new_tokens: 12
  lr: 1e-4
  micro_tokens: 4096
  save_every: 1
  ptx_data: conversations.jsonl
  ptx_coef: 0.5
  ptx_batch_size: 2
evaluate:
  cases: [cases.jsonl]
  rubric: shop.yaml
  texts: [story.txt]
  sampling: {temperature: 0.0, max_new_tokens: 8}
gate: {thresholds: [{figure: ended_with_eos.grpo, at_least: 0}]}
release: {name: tiny-support, license: mit, purpose: Nothing but a test.}
"""
ADAPTERS = {
    "\nsft:\n": "\nsft:\n  lora: {rank: 4, alpha: 8, dropout: 0.1}\n",
    "\nreward:\n": "\nreward:\n  lora: {rank: 4, alpha: 8}\n",
    "\ndpo:\n": "\ndpo:\n  lora: {rank: 4, alpha: 8}\n",
    "kto: {": "kto: {lora: {rank: 4, alpha: 8}, ",
    "\ndistill:\n": "\ndistill:\n  lora: {rank: 4, alpha: 8}\n",
    "\nrft:\n": "\nrft:\n  lora: {rank: 4, alpha: 8, dropout: 0.1}\n",
    "\nonline_dpo:\n": "\nonline_dpo:\n  lora: {rank: 4, alpha: 8}\n",
    "  unfrozen_layers: 1\n": "",
    "\nppo:\n": "\nppo:\n  lora: {rank: 4, alpha: 8, targets: [q_proj, v_proj, down_proj]}\n",
    "\ngrpo:\n": "\ngrpo:\n  lora: {rank: 4, alpha: 8}\n",
}
"""How each section begins where it trains an adapter."""
STORY = "The lamp came on a Monday. By Friday it was back in its box, and nobody could say why it hummed.\n" * 3
LABELLED = (("Yes.", True), ("No idea!", False), ("I will look.", True))


def project(folder: Path, *, cases: int = 100, dropout: float = 0.1, adapters: bool = False) -> Path:
    """A recipe, its data and its model in `folder`. The gate asks for what every model shows: a release follows."""
    recipe = RECIPE
    for begin, adapted in ADAPTERS.items() if adapters else ():
        recipe = recipe.replace(begin, adapted)
    folder.mkdir(parents=True, exist_ok=True)
    write_tiny(folder / "model", dropout=dropout)
    write_tiny(folder / "teacher", seed=9)
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "shop.yaml").write_bytes((SHIPPED / "shop.yaml").read_bytes())
    for name, count in (("conversations", 16), ("prompts", 16), ("cases", cases)):
        lines = (SHIPPED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        short = sorted(lines, key=lambda line: (len(line), line))
        (folder / f"{name}.jsonl").write_text("".join(short[:count]), encoding="utf-8")
    (folder / "story.txt").write_text(STORY, encoding="utf-8")
    prompts = [json.loads(line)["messages"] for line in (folder / "prompts.jsonl").read_text("utf-8").splitlines()]
    labelled = [{"prompt": each, "completion": text, "label": good} for each in prompts for text, good in LABELLED]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled), encoding="utf-8")
    return folder


def burnish(*arguments: str | Path, timeout: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in its own process, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "burnish", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        check=False,
    )


def said(process: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The JSON that a command printed."""
    found: dict[str, object] = json.loads(process.stdout)
    return found
