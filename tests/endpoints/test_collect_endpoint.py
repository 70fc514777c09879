"""Answers of a model behind a server, put before the panel by a recipe that has no model of its own to answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stub import Stub, serving

from burnish.errors import ConfigError
from burnish.pipeline.graph import execute
from burnish.pipeline.recipe_file import load_recipe
from burnish.types import Silent

SHIPPED = Path(__file__).parents[2] / "recipes" / "support"
RECIPE = """\
name: remote
model: nowhere/model
dtype: float32
collect: {prompts: prompts.jsonl, k: 2, overlap: 2, rubric: shop.yaml, held_out: 0.3}
"""


def test_a_server_answers_and_the_snapshot_says_so(tmp_path: Path) -> None:
    rows = (SHIPPED / "prompts.jsonl").read_text().splitlines()[:6]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows))
    (tmp_path / "shop.yaml").write_bytes((SHIPPED / "shop.yaml").read_bytes())
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with serving(Stub()) as stub:
        name = f"{stub.url}#small"
        recipe = load_recipe(tmp_path / "recipe.yaml", [f"collect.model={name}"])
        list(execute(recipe, tmp_path, tmp_path / "run", Silent()))
    place = tmp_path / "run" / "collect"
    answers = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    for row in answers:
        assert [each["text"] for each in row["answers"]] == [f"{row['messages'][-1]['content']}:0:{k}" for k in (0, 1)]
    assert json.loads((place / "snapshot" / "snapshot.json").read_text())["models"] == {name: 12}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://me:secret@127.0.0.1:1/v1#m", "a password or a query stands in the address"),
        ("http://127.0.0.1:1/v1", "the address names no model"),
        ("http://#m", "the address names no host"),
    ],
)
def test_an_address_that_will_not_do_is_said_before_anything_is_written(
    tmp_path: Path, address: str, said: str
) -> None:
    for name in ("prompts.jsonl", "shop.yaml"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(ConfigError, match=said) as raised:
        load_recipe(tmp_path / "recipe.yaml", [f"collect.model={address}"])
    assert "secret" not in raised.value.problems[0].found


def test_a_folder_that_is_not_there_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    for name in ("prompts.jsonl", "shop.yaml"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(ConfigError, match=r'collect\.model=\./mine: "\./mine" does not exist'):
        load_recipe(tmp_path / "recipe.yaml", ["collect.model=./mine"])
