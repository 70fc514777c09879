"""Bad recipes and overrides: refused before anything is written, with place, what was found and a mend."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, model_validator

from burnish.config import Strict, load_yaml, validate
from burnish.errors import BurnishError, ConfigError
from burnish.pipeline.recipe_file import load_recipe


class Sft(Strict):
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    epochs: int = Field(default=1, ge=1)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    packed: bool = True


class Recipe(Strict):
    name: str = "a"
    seed: int = 0
    sft: Sft = Sft()
    cases: tuple[str, ...] = ()
    stages: dict[str, Sft] = Field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def ordered(self) -> Recipe:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


@dataclass(frozen=True)
class Bad:
    name: str
    text: str | bytes
    where: str
    """What follows the file's name, or the whole place of an override."""
    found: str
    mend: str
    sets: list[str] = field(default_factory=list)


BAD = [
    Bad(
        "unknown key",
        "sft:\n  learning_rtae: 1e-4\n",
        ":2:3",
        '"sft.learning_rtae" is not a setting',
        'Did you mean "learning_rate"?',
    ),
    Bad("unknown section", "name: a\nsfft: {}\n", ":2:1", '"sfft" is not a setting', 'Did you mean "sft"?'),
    Bad(
        "unknown key in a named group",
        "stages:\n  one: {epoch: 2}\n",
        ":2:9",
        '"stages.one.epoch" is not a setting',
        'Did you mean "epochs"?',
    ),
    Bad("unlike any key", "zzz: 1\n", ":1:1", '"zzz" is not a setting', "Known here: cases, high, low"),
    Bad(
        "negative rate",
        "sft: {learning_rate: -1}\n",
        ":1:7",
        "sft.learning_rate is -1; it should be greater than 0",
        "The default is learning_rate: 0.0001.",
    ),
    Bad(
        "rate 3e+4",
        "sft: {learning_rate: 3e+4}\n",
        ":1:7",
        "sft.learning_rate is 30000.0; it should be less than or equal to 1",
        "The default",
    ),
    Bad(
        "epochs 0",
        "sft:\n  epochs: 0\n",
        ":2:3",
        "sft.epochs is 0; it should be greater than or equal to 1",
        "The default is epochs: 1.",
    ),
    Bad(
        "epochs 1.5", "sft:\n  epochs: 1.5\n", ":2:3", "sft.epochs is 1.5; it should be a valid integer", "The default"
    ),
    Bad(
        "epochs true",
        "sft:\n  epochs: true\n",
        ":2:3",
        "sft.epochs is true; it should be a valid integer",
        "The default",
    ),
    Bad(
        "number in quotes",
        "sft: {learning_rate: '5e-5'}\n",
        ":1:7",
        'sft.learning_rate is "5e-5"',
        "Remove the quotes: learning_rate: 5e-5",
    ),
    Bad("NaN", "high: .nan\n", ":1:1", "high is NaN; it should be a finite number", "The default is high: 1.0."),
    Bad("infinity", "high: 1e999\n", ":1:1", "high is Infinity; it should be a finite number", "The default"),
    Bad(
        "yes for true",
        "sft: {packed: yes}\n",
        ":1:7",
        'sft.packed is "yes"; it should be a valid boolean',
        "The default is packed: true.",
    ),
    Bad("misspelt choice", "sft: {schedule: cosin}\n", ":1:7", 'sft.schedule is "cosin"', 'Did you mean "cosine"?'),
    Bad("text for a list", "cases: a.jsonl\n", ":1:1", 'cases is "a.jsonl"; it should be a valid', ""),
    Bad("list for a section", "sft: [1]\n", ":1:1", "sft is [1]; it should be", ""),
    Bad("contradiction", "low: 2\n", "", "low is above high", ""),
    Bad(
        "name twice",
        "sft:\n  epochs: 1\n  packed: true\n  epochs: 2\n",
        ":4:3",
        '"epochs" stands twice (first at {path}:2:3)',
        "Remove one of the two.",
    ),
    Bad(
        "section twice", "sft: {}\nname: a\nsft: {}\n", ":3:1", '"sft" stands twice (first at {path}:1:1)', "Remove one"
    ),
    Bad("tab", "sft:\n\tepochs: 1\n", ":2:1", "not YAML: found character '\\t'", "Indent with spaces"),
    Bad("no colon", "name: a\nseed 5\nsft: {}\n", ":3:1", "not YAML: could not find expected ':'", ""),
    Bad(
        "python tag",
        "name: !!python/object/apply:os.system [touch pwned]\n",
        ":1:7",
        "the tag !!python/object/apply:os.system is refused",
        "Remove the tag.",
    ),
    Bad(
        "python name",
        "name: !!python/name:os.system\n",
        ":1:7",
        "the tag !!python/name:os.system is refused",
        "Remove the tag.",
    ),
    Bad("local tag", "sft: !include other.yaml\n", ":1:6", "the tag !include is refused", "Remove the tag."),
    Bad(
        "anchor used again",
        "sft: &a {epochs: 1}\nstages: {one: *a}\n",
        ":1:6",
        "an anchor used again (*name)",
        "Write the value out.",
    ),
    Bad("merge key", "sft:\n  <<: {epochs: 1}\n", ":2:3", '"sft.<<" is not a setting', "Known here"),
    Bad("YAML 1.1", "%YAML 1.1\n---\nname: a\n", ":1:1", "a YAML directive", "Remove the line."),
    Bad("two documents", "name: a\n---\nname: b\n", ":2:1", "not YAML: but found another document", ""),
    Bad("list as a name", "? [a, b]\n: 1\n", ":1:3", "a list or mapping as the name of a setting", ""),
    Bad("empty", "", ":1:1", "the file is empty", ""),
    Bad("a list", "- name: a\n", ":1:1", "settings (name: value) are wanted", ""),
    Bad("not UTF-8", b"name: a\nseed: \xff\n", ":2", "byte 0xff is not UTF-8", ""),
    Bad("lone surrogate", 'name: "\\ud800"\n', ":1:7", "cannot be read", ""),
    Bad("control character", "name: a\x07b\n", "", "not YAML", ""),
    Bad("bottomless", "a: " + "[" * 500_000, ":1:67", "nested deeper than 64", ""),
    Bad("bottomless in blocks", "a:\n  " + "- " * 100_000, ":2:129", "nested deeper than 64", ""),
    Bad("huge", "#" * (2**20 + 1), "", "1,048,577 bytes; settings have 1,048,576 at most", ""),
    Bad(
        "unknown override",
        "name: a\n",
        "--set sft.learning_rtae=1",
        '"sft.learning_rtae" is not a setting',
        'Did you mean "learning_rate"?',
        ["sft.learning_rtae=1"],
    ),
    Bad(
        "override out of bounds", "name: a\n", "--set sft.epochs=0", "sft.epochs is 0", "The default", ["sft.epochs=0"]
    ),
    Bad(
        "override without =",
        "name: a\n",
        "--set sft.epochs",
        "a name, = and a value are wanted",
        "Write: --set sft.lr=1e-4",
        ["sft.epochs"],
    ),
    Bad(
        "override of nothing",
        "name: a\n",
        "--set sft..epochs=1",
        "a name, = and a value are wanted",
        "Write",
        ["sft..epochs=1"],
    ),
    Bad(
        "override inside a number",
        "seed: 3\n",
        "--set seed.x=1",
        '"seed" is 3: there is no "x" in it',
        "",
        ["seed.x=1"],
    ),
    Bad(
        "override past a list",
        "cases: [a]\n",
        "--set cases.1=b",
        '"cases" is a list of 1: there is no "1" in it',
        "",
        ["cases.1=b"],
    ),
    Bad(
        "override with a tag",
        "name: a\n",
        "--set name=!!python/name:os.system",
        "the tag !!python/name:os.system is refused",
        "Remove",
        ["name=!!python/name:os.system"],
    ),
    Bad("override with bad YAML", "name: a\n", "--set cases=[a", "not YAML", "", ["cases=[a"]),
    Bad(
        "conflicting overrides",
        "name: a\n",
        "--set seed=2",
        "contradicts --set seed=1",
        "Remove one of the two.",
        ["seed=1", "seed=2"],
    ),
    Bad(
        "override of a part and the whole",
        "name: a\n",
        "--set sft={}",
        "contradicts --set sft.epochs=2",
        "Remove one",
        ["sft.epochs=2", "sft={}"],
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_refused(bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_bytes(bad.text.encode() if isinstance(bad.text, str) else bad.text)
    with pytest.raises(ConfigError) as caught:
        validate(Recipe, load_yaml(path), bad.sets)
    assert caught.value.exit_code == 2
    (problem,) = caught.value.problems
    assert problem.where == (bad.where if bad.where.startswith("--set") else f"{path}{bad.where}")
    assert bad.found.replace("{path}", str(path)) in problem.found
    assert bad.mend in problem.mend
    assert bool(bad.mend) == bool(problem.mend)
    assert os.listdir(tmp_path) == ["recipe.yaml"]


def test_missing_recipe_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "support.yaml").touch()
    with pytest.raises(ConfigError, match=r'Did you mean "support\.yaml"\?'):
        load_yaml(tmp_path / "suport.yaml")
    with pytest.raises(ConfigError, match="There is no folder"):
        load_yaml(tmp_path / "none" / "suport.yaml")
    with pytest.raises(ConfigError, match="is not a file"):
        load_yaml(tmp_path)


def test_messages_hold_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text('"se\\x1b[31med": 1\nname: ["\\x1b[0m\\n"]\nsft: {learning_rate: "1\\n"}\n')
    with pytest.raises(BurnishError) as caught:
        validate(Recipe, load_yaml(path))
    assert len(caught.value.problems) == 3
    for problem in caught.value.problems:
        assert "\x1b" not in str(problem)
        assert "\n" not in str(problem)


REAL = """\
name: support
model: smollm2-135m
sft:
  data: rows.jsonl
reward:
  rankings: rows.jsonl
ppo:
  minibatches: 2
"""


@dataclass(frozen=True)
class Wrong:
    """One line of the real recipe, replaced."""

    line: int
    new: str
    where: str
    found: str
    mend: str


WRONG = [
    Wrong(
        4, "  data: rows.jsonl\n  learning_rtae: 1e-4", ":5:3", '"sft.learning_rtae" is not a setting', "Known here:"
    ),
    Wrong(4, "  data: rows.jsonl\n  epohcs: 2", ":5:3", '"sft.epohcs" is not a setting', 'Did you mean "epochs"?'),
    Wrong(4, "  data: rows.jsonl\n  lr: -1e-4", ":5:3", "sft.lr is -0.0001; it should be greater than 0", "lr: 0.0001"),
    Wrong(4, "  data: rows.jsonl\n  lr: 3e+4", ":5:3", "sft.lr is 30000.0; it should be less than", "lr: 0.0001"),
    Wrong(4, "  data: rows.jsonl\n  epochs: 0", ":5:3", "sft.epochs is 0; it should be greater than", "epochs: 1"),
    Wrong(4, "  data: rows.jsonl\n  batch_size: 1000001", ":5:3", "batch_size is 1000001; it should be less", "32"),
    Wrong(4, "  data: rows.jsnl", ":4:3", '"rows.jsnl" does not exist', "relative to the recipe's folder"),
    Wrong(4, "  data: owner/name", ":4:3", '"owner/name" does not exist', "hf download owner/name --repo-type dataset"),
    Wrong(4, "  data: '$(id); rm -rf .jsonl'", ":4:3", '"$(id); rm -rf .jsonl" does not exist', "relative to"),
    Wrong(8, "  minibatches: 99", ":8:3", "99 minibatches of 32 prompts", "Set minibatches to 32 or less."),
    Wrong(5, "rewards:", ":5:1", '"rewards" is not a setting', 'Did you mean "reward"?'),
    Wrong(1, "name: ../../etc", ":1:1", 'name is "../../etc"; String should match pattern', ""),
    Wrong(2, "model: !!python/name:os.system", ":2:8", "the tag !!python/name:os.system is refused", "Remove the tag."),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.new.split("\n")[-1].strip())
def test_the_real_recipe_is_as_strict(wrong: Wrong, tmp_path: Path) -> None:
    lines = REAL.splitlines()
    lines[wrong.line - 1] = wrong.new
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(lines))
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    problem = caught.value.problems[0]
    assert problem.where == f"{path}{wrong.where}"
    assert wrong.found in problem.found
    assert wrong.mend in problem.mend
    assert sorted(os.listdir(tmp_path)) == ["recipe.yaml", "rows.jsonl"]


def test_fine_tuning_needs_something_to_learn_from(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\nmodel: m\nsft:\n  epochs: 1\n")
    with pytest.raises(ConfigError, match=r"recipe.yaml:3:1: .*neither sft.data nor reward.rankings"):
        load_recipe(path)


def test_a_path_is_a_plain_path(tmp_path: Path) -> None:
    name = "a b'; touch pwned; $(touch pwned).jsonl"
    (tmp_path / name).touch()
    (tmp_path / "rows.jsonl").touch()
    path = tmp_path / "recipe.yaml"
    path.write_text(REAL.replace("data: rows.jsonl", f'data: "{name}"'))
    recipe = load_recipe(path)
    assert recipe.sft is not None
    assert recipe.sft.data == name
    assert not list(tmp_path.glob("pwned*"))
