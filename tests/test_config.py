"""Settings: YAML 1.2 as plain data, strict types, overrides, and where each value stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from burnish.config import Strict, load_yaml, override, resolved, schema, validate
from burnish.errors import ConfigError


class Sft(Strict):
    lr: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate."""
    epochs: int = Field(default=1, ge=1)
    schedule: Literal["constant", "linear"] = "linear"
    data: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Threshold:
    figure: str
    low: float = 0.0


class Recipe(Strict):
    name: str
    seed: int = 0
    packed: bool = True
    sft: Sft | None = None
    gate: tuple[Threshold, ...] = ()


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_values_and_places(tmp_path: Path) -> None:
    path = written(tmp_path, "name: demo # x\nsft:\n  lr: 5e-5\n  data: [a.jsonl, 'b c.jsonl']\n")
    document = load_yaml(path)
    assert document.value == {"name": "demo", "sft": {"lr": 5e-5, "data": ["a.jsonl", "b c.jsonl"]}}
    assert document.where("sft.lr") == f"{path}:3:3"
    assert document.where("sft.data.1") == f"{path}:4:19"
    assert document.where(("sft", "epochs")) == f"{path}:2:1"
    assert document.where("gate.0") == str(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5), ("3e+4", 3e4), ("1E5", 1e5), (".5", 0.5), ("-2.5e-3", -2.5e-3),
        ("1_000", 1000), ("+5", 5), ("010", 10), ("0x1f", 31), ("0o17", 15), ("-0", 0),
        ("true", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"),
        ("null", None), ("~", None), ("", None), ("'5e-5'", "5e-5"), ("2026-01-01", "2026-01-01"),
        ("!!str 5", "5"), ("1:30", "1:30"), ("[1, {a: b}]", [1, {"a": "b"}]), ("|\n  a\n  b\n", "a\nb\n"),
        ('"\\u2028; rm -rf $(id)"', "\u2028; rm -rf $(id)"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    found = load_yaml(written(tmp_path, f"a: {text}\n")).value["a"]
    assert found == value
    assert type(found) is type(value)


def test_validate_and_resolved(tmp_path: Path) -> None:
    recipe = validate(Recipe, load_yaml(written(tmp_path, "name: a\nsft: {lr: 5e-5, data: [x]}\ngate: [{figure: f}]")))
    assert recipe == Recipe(name="a", sft=Sft(lr=5e-5, data=(Path("x"),)), gate=(Threshold("f"),))
    assert resolved(recipe) == {
        "name": "a",
        "seed": 0,
        "packed": True,
        "sft": {"lr": 5e-5, "epochs": 1, "schedule": "linear", "data": ["x"]},
        "gate": [{"figure": "f", "low": 0.0}],
    }


def test_resolved_is_read_back(tmp_path: Path) -> None:
    import json

    recipe = Recipe(name="a", seed=3, sft=Sft(epochs=2))
    path = written(tmp_path, json.dumps(resolved(recipe), indent=1))
    assert validate(Recipe, load_yaml(path)) == recipe


def test_overrides(tmp_path: Path) -> None:
    document = load_yaml(written(tmp_path, "name: a\nsft:\n  lr: 1e-3\ngate: [{figure: f}, {figure: g}]\n"))
    sets = ["sft.lr=5e-5", "seed=1_000", "sft.data=[x, y]", "gate.1.low=0.5", "name=b=c"]
    recipe = validate(Recipe, document, sets)
    assert recipe.sft == Sft(lr=5e-5, data=(Path("x"), Path("y")))
    assert (recipe.seed, recipe.name) == (1000, "b=c")
    assert recipe.gate == (Threshold("f"), Threshold("g", 0.5))
    assert document.value["sft"] == {"lr": 1e-3}  # the document itself is as it was


def test_overrides_make_and_remove_sections(tmp_path: Path) -> None:
    document = load_yaml(written(tmp_path, "name: a\n"))
    assert validate(Recipe, document, ["sft.epochs=2"]).sft == Sft(epochs=2)
    with_sft = load_yaml(written(tmp_path, "name: a\nsft: {lr: 1e-3}\n"))
    assert validate(Recipe, with_sft, ["sft=null"]).sft is None
    assert validate(Recipe, load_yaml(written(tmp_path, "name: a\nsft:\n")), ["sft.lr=0.5"]).sft == Sft(lr=0.5)


def test_an_override_is_where_its_value_stands(tmp_path: Path) -> None:
    document = override(load_yaml(written(tmp_path, "name: a\nsft:\n  lr: 1e-3\n  epochs: 2\n")), ["sft={lr: 2}"])
    assert document.where("sft.lr") == "--set sft={lr: 2}"
    assert document.where("sft.epochs") == "--set sft={lr: 2}"


def test_the_same_override_twice_is_no_conflict(tmp_path: Path) -> None:
    assert validate(Recipe, load_yaml(written(tmp_path, "name: a\n")), ["seed=1", "seed=1"]).seed == 1


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Sft().lr = 1.0


def test_schema_describes_and_closes() -> None:
    found = schema(Recipe)
    assert found["additionalProperties"] is False
    assert found["$defs"]["Sft"]["properties"]["lr"] == {
        "default": 0.0001,
        "description": "Peak learning rate.",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "title": "Lr",
        "type": "number",
    }


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: x\nsft:\n  lr: -1\n  epohcs: 2\n")
    with pytest.raises(ConfigError) as caught:
        validate(Recipe, load_yaml(path))
    assert [str(problem) for problem in caught.value.problems] == [
        f'{path}: "name" is missing. Add: name: ...',
        f'{path}:1:1: seed is "x"; it should be a valid integer. The default is seed: 0.',
        f"{path}:3:3: sft.lr is -1; it should be greater than 0. The default is lr: 0.0001.",
        f'{path}:4:3: "sft.epohcs" is not a setting. Did you mean "epochs"?',
    ]
