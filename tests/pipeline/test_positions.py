"""Rows that a model has no positions for: left out and counted, before any of them is learned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import GPT2Config

from burnish.errors import DataError
from burnish.models.tiny import tiny_tokenizer, write_random, write_tiny
from burnish.pipeline.graph import execute
from burnish.pipeline.recipe import Sft
from burnish.pipeline.recipe_file import load_recipe
from burnish.pipeline.training import within
from burnish.types import Silent

LONG = "a word " * 12


def place(folder: Path, *texts: str) -> Path:
    """A recipe that fine-tunes a model with learned positions for 64 tokens."""
    config = GPT2Config(vocab_size=tiny_tokenizer().vocab_size, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    write_random(folder / "model", config)
    rows = [{"prompt": "hello", "completion": text} for text in texts]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text("name: short\nmodel: model\ndtype: float32\nsft: {data: rows.jsonl}\n")
    return folder


def test_rows_beyond_learned_positions_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = place(tmp_path, "hi", LONG, "you")
    [step] = execute(load_recipe(folder / "recipe.yaml"), folder, folder / "run", Silent())
    assert (step.record.facts["examples"], step.record.facts["too_long"]) == (2, 1)


def test_where_none_fits_the_positions_nothing_is_trained(tmp_path: Path) -> None:
    folder = place(tmp_path, LONG)
    with pytest.raises(DataError, match="no row fits the 64 tokens that max_length and the model's positions allow"):
        list(execute(load_recipe(folder / "recipe.yaml"), folder, folder / "run", Silent()))


def test_turned_positions_do_not_end(tmp_path: Path) -> None:
    """Of 2,048 that the tiny model was made for."""
    settings = Sft(data="rows.jsonl", max_length=4096)
    assert within(settings, write_tiny(tmp_path / "model")) is settings
