"""Rows that a model has no positions for: left out and counted, before any of them is learned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config

from burnish.errors import DataError
from burnish.models.tiny import tiny_tokenizer, write_random, write_tiny
from burnish.pipeline.graph import execute
from burnish.pipeline.perplexity import losses
from burnish.pipeline.recipe import Sft
from burnish.pipeline.recipe_file import load_recipe
from burnish.pipeline.training import within
from burnish.records.durable import digest_value
from burnish.types import Silent, Text

LONG = "a word " * 12
BRIEF = "prompts: prompts.jsonl, iterations: 1, prompts_per_iteration: 2, max_new_tokens: 4"


def place(folder: Path, *texts: str, stage: str = "sft: {data: rows.jsonl}") -> Path:
    """A recipe that trains a model with learned positions for 64 tokens."""
    config = GPT2Config(vocab_size=tiny_tokenizer().vocab_size, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    write_random(folder / "model", config)
    write(folder / "rows.jsonl", [{"prompt": "hello", "completion": text} for text in texts])
    (folder / "recipe.yaml").write_text(f"name: short\nmodel: model\ndtype: float32\n{stage}\n")
    return folder


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def facts(folder: Path) -> Mapping[str, Any]:
    *_, step = execute(load_recipe(folder / "recipe.yaml"), folder, folder / "run", Silent())
    return step.record.facts


def test_rows_beyond_learned_positions_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = place(tmp_path, "hi", LONG, "you")
    found = facts(folder)
    assert (found["examples"], found["too_long"]) == (2, 1)


@pytest.mark.parametrize("data", ["reward: {rankings: pairs", "dpo: {rankings: pairs", "kto: {data: labelled"])
def test_judged_rows_beyond_them_are_left_out_and_counted(data: str, tmp_path: Path) -> None:
    folder = place(tmp_path, "hi", stage=f"{data}.jsonl, held_out: 0.4, epochs: 1}}")
    pairs = [{"prompt": f"{n}", "chosen": "yes", "rejected": LONG if n == 3 else "no"} for n in range(10)]
    write(folder / "pairs.jsonl", pairs)
    kinds = [
        {"prompt": row["prompt"], "completion": row[kind], "label": kind == "chosen"}
        for row in pairs
        for kind in ("chosen", "rejected")
    ]
    write(folder / "labelled.jsonl", kinds)
    assert facts(folder)["too_long"] == 1


@pytest.mark.parametrize(
    "stage",
    [
        "ppo: {rewards: [{length: {most: 3, unit: words}}], ptx_data: rows.jsonl, %s}",
        "distill: {teacher: model, lmbda: 0.5, data: rows.jsonl, %s}",
    ],
)
def test_those_that_are_learned_beside_answers_are_left_out_and_said(
    stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = place(tmp_path, "hi", LONG, "you", stage=stage % BRIEF)
    write(folder / "prompts.jsonl", [{"prompt": "hello"}, {"prompt": "good day"}])
    facts(folder)
    assert "1 of 3 rows are longer than the 64 tokens that the model has positions for, and left out" in caplog.text


def test_a_text_of_which_nothing_can_be_learned_is_told(tmp_path: Path) -> None:
    """A byte a token: nothing stands before it."""
    folder = place(tmp_path, "hi", stage=f"ppo: {{rewards: [{{length: {{most: 3}}}}], ptx_data: x.jsonl, {BRIEF}}}")
    write(folder / "prompts.jsonl", [{"prompt": "hello"}])
    write(folder / "x.jsonl", [{"text": "x"}])
    with pytest.raises(DataError, match=r"ppo\.ptx_data: no text has two tokens\. Give longer ones\."):
        facts(folder)


def test_a_text_is_cut_to_what_they_allow(tmp_path: Path) -> None:
    folder = place(tmp_path, "hi")
    found = losses(folder / "model", [Text(id="long", content=LONG * 4)], "float32", Silent())
    assert len(found) > 1
    assert min(found.values()) > 0


def test_what_is_held_out_may_all_be_too_long_where_folds_measure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a few long conversations are held out: the training side is what must fit."""
    folder = place(tmp_path, "hi", stage="reward: {rankings: pairs.jsonl, held_out: 0.3, folds: 2, epochs: 1}")
    pairs = [{"prompt": f"{n}", "prompt_id": f"{n}", "chosen": "yes", "rejected": "no"} for n in range(20)]
    held = [row for row in pairs if int(digest_value([0, row["prompt_id"]])[:8], 16) / 16**8 < 0.3]
    assert 0 < len(held) < 15
    write(folder / "pairs.jsonl", [row | {"rejected": LONG} if row in held else row for row in pairs])
    assert facts(folder)["too_long"] == len(held)
    assert f"none of the {len(held)} rankings held out fits the 64 tokens of max_length" in caplog.text


def test_where_none_fits_the_positions_nothing_is_trained(tmp_path: Path) -> None:
    folder = place(tmp_path, LONG)
    with pytest.raises(DataError, match="no row fits the 64 tokens that max_length and the model's positions allow"):
        list(execute(load_recipe(folder / "recipe.yaml"), folder, folder / "run", Silent()))


def test_turned_positions_do_not_end(tmp_path: Path) -> None:
    """Of 2,048 that the tiny model was made for."""
    settings = Sft(data="rows.jsonl", max_length=4096)
    assert within(settings, write_tiny(tmp_path / "model")) is settings
