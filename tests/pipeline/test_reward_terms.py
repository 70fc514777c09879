"""`rewards` in a recipe: what is refused before anything runs, what is in a stage's key, and how paths move."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from burnish.config import resolved
from burnish.errors import BurnishError
from burnish.pipeline.graph import GRAPH
from burnish.pipeline.key import contents, stage_key
from burnish.pipeline.preflight import check_files
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.recipe_file import load_recipe, moved, yaml_text

ROOT = Path(__file__).parents[2]
JUDGES = {"alias": "smollm2-135m", "folder": "mine", "hub": "owner/name", "server": "http://127.0.0.1:8000/v1"}
ROWS = [{"question": "2 + 3?", "answer": "5"}, {"question": "9 - 4?", "answer": "= 5"}]
BASE = "name: sums\nmodel: smollm2-135m\ngrpo:\n  prompts: sums.jsonl\n  prompt_column: question\n  rewards:\n"
EXACT = "    - {exact: {compare: last_number}}\n"
BREVITY = "    - {python: {file: mine.py, function: brevity}, weight: 0.1}\n"


def write(folder: Path, *terms: str, rows: list[dict[str, object]] | None = None, head: str = BASE) -> Path:
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or ROWS))
    (folder / "mine.py").write_text("def brevity(completions, **_):\n    return [0.0 for _ in completions]\n")
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "scored" / "reward" / "model").mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(head + "".join(terms))
    return folder / "recipe.yaml"


def problems(path: Path) -> list[str]:
    """All that is wrong with a recipe and its files."""
    with pytest.raises(BurnishError) as caught:
        check_files(load_recipe(path), path.parent, ["ppo", "grpo"])
    return [str(problem) for problem in caught.value.problems]


def key(path: Path, stage: str = "grpo") -> str:
    recipe, found = load_recipe(path), next(each for each in GRAPH if each.name == stage)
    return stage_key(recipe, found, contents(recipe, path.parent, found), {})


def test_a_recipe_of_rules_needs_no_other_stage_and_no_person(tmp_path: Path) -> None:
    path = write(tmp_path, EXACT, BREVITY)
    recipe = load_recipe(path)
    assert recipe.stages() == ["grpo"]
    assert check_files(recipe, tmp_path, ["grpo"]) == {"sums.jsonl": 2}
    assert recipe.grpo is not None
    assert [term.label for term in recipe.grpo.rewards or ()] == ["exact", "brevity"]


def test_a_reward_model_may_be_one_of_the_hub(tmp_path: Path) -> None:
    path = write(tmp_path, "    - {model: {folder: Skywork/Skywork-Reward-V2-Qwen3-0.6B}}\n")
    assert check_files(load_recipe(path), tmp_path, ["grpo"]) == {"sums.jsonl": 2}
    assert "folder: Skywork/Skywork-Reward" in yaml_text(moved(load_recipe(path), tmp_path, tmp_path / "run"))
    path = write(tmp_path, "    - {model: {folder: runs/none/reward/model}}\n")
    with pytest.raises(BurnishError, match='"runs/none/reward/model" does not exist'):
        load_recipe(path)


def test_rewards_are_written_out_as_they_were_meant(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, EXACT, BREVITY))
    values = resolved(recipe)
    assert values["grpo"]["rewards"] == [
        {"exact": {"column": "answer", "compare": "last_number"}, "weight": 1.0},
        {"python": {"file": "mine.py", "function": "brevity"}, "weight": 0.1},
    ]
    assert Recipe.model_validate_json(recipe.model_dump_json(by_alias=True)) == recipe
    there = moved(recipe, tmp_path, tmp_path / "runs" / "sums")
    assert there["grpo"]["rewards"][1]["python"]["file"] == "../../mine.py"
    assert Recipe.model_validate(there).grpo is not None


def test_a_key_holds_what_the_files_say_and_not_where_they_lie(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    path, other = (write(tmp_path / name, EXACT, BREVITY) for name in ("one", "two"))
    assert key(path) == key(other)
    write(tmp_path / "two", EXACT, BREVITY.replace("mine.py", "./mine.py"))
    assert key(path) == key(other)
    (tmp_path / "two" / "mine.py").write_text("def brevity(completions, **_):\n    return [1.0 for _ in completions]\n")
    assert key(path) != key(other)
    assert key(write(tmp_path / "two", EXACT)) != key(path)


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ("    - {weight: 1}\n", "one kind of reward is wanted, of model, judge, python, exact"),
        ("    - {exact: {}, math: {}}\n", "found exact and math"),
        (EXACT + EXACT, 'two rewards are called "exact"; give one of them a name'),
        ("    - {exact: {}, weight: 0}\n", "all weights are 0, so that nothing is paid for"),
        ("    []\n", "grpo.rewards is []"),
        ("    - {exct: {}}\n", '"grpo.rewards.0.exct" is not a setting. Did you mean "exact"?'),
        ("    - {regex: {pattern: '('}}\n", "no regular expression (missing ), unterminated subpattern at position 0)"),
        ("    - {length: {}}\n", "neither least nor most is given"),
        ("    - {exact: {}, name: 'a b'}\n", "grpo.rewards.0.name"),
        ("    - {exact: {}, name: sure}\n", '"sure" is what a watch goes by; give the reward another name'),
        ("    - {exact: {}, name: held_out}\n", '"held_out" is what a watch goes by'),
        ("    - {model: {folder: sums.jsonl, spread_coef: 2}}\n", "spread_coef is set, and mean does not read it"),
        ("    - {model: {}}\n", "grpo needs a reward section. Add reward, or let grpo.rewards say"),
        ("    - {python: {file: theirs.py, function: f}}\n", '"theirs.py" does not exist'),
        ("    - {python: {file: mine.py, function: brevty}}\n", 'no function "brevty". Did you mean "brevity"?'),
        (
            "    - {exact: {column: anwser}}\n",
            '"anwser" is missing, which the reward exact reads. Did you mean "answer"?',
        ),
        ("    - {model: {folder: scored}}\n", "a run, where the folder of a reward model is wanted. Set folder: "),
        ("    - {json_schema: {file: sums.jsonl}}\n", "no JSON (Extra data)"),
        ("    - {language: {code: xx}}\n", "'xx' is no language that is told apart. Known here: ace, af, am"),
        ("    - {rubric: {file: recipe.yaml}}\n", "recipe.yaml:"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, terms: str, says: str) -> None:
    assert any(says in each for each in problems(write(tmp_path, terms)))


def test_what_two_sections_name_is_told_once(tmp_path: Path) -> None:
    path = write(tmp_path, "    - {json_schema: {file: sums.jsonl}}\n")
    path.write_text(path.read_text() + "ppo:\n  prompts: sums.jsonl\n  prompt_column: question\n  rewards:\n")
    path.write_text(path.read_text() + "    - {json_schema: {file: sums.jsonl}}\n")
    found = problems(path)
    assert len(found) == len(set(found)) == 1


def test_a_clash_of_rewards_is_told_where_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path, EXACT, "    - {length: {least: 3, most: 2}}\n")
    assert problems(path) == [f"{path}:8:8: grpo.rewards.1.length: least is 3 and most 2."]


def test_every_row_without_the_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, EXACT, rows=[*ROWS, {"question": "1 + 1?"}, {"question": "?", "answer": "two"}])
    assert problems(path) == [
        'sums.jsonl:3: "answer" is missing, which the reward exact reads. The row has no other columns.',
        'sums.jsonl:4: no number in "answer" (two), which the reward exact compares with.',
    ]


def test_a_functions_columns_are_asked_for_without_running_it(tmp_path: Path) -> None:
    path = write(tmp_path, "    - {python: {file: mine.py, function: hard}}\n")
    (tmp_path / "mine.py").write_text("raise SystemExit\ndef hard(completions, level): ...\n")
    assert len(problems(path)) == 2
    assert problems(path)[0].startswith('sums.jsonl:1: "level" is missing, which the reward hard reads.')


def test_rules_without_prompts_have_nothing_to_answer(tmp_path: Path) -> None:
    bare = BASE.replace("  prompts: sums.jsonl\n", "")
    assert [each.partition(": ")[2] for each in problems(write(tmp_path, EXACT, head=bare))] == [
        "nothing to answer: there are no rankings and no grpo.prompts. Add prompts.",
        "prompt_column is set, and the prompts are those of the rankings. Add grpo.prompts, or remove prompt_column.",
    ]


def test_evaluate_measures_by_rewards_without_a_reward_model(tmp_path: Path) -> None:
    head = "name: sums\nmodel: smollm2-135m\nevaluate:\n  cases: [sums.jsonl]\n  prompt_column: question\n  rewards:\n"
    path = write(tmp_path, EXACT, head=head)
    assert check_files(load_recipe(path), tmp_path, ["evaluate"]) == {"sums.jsonl": 2}
    write(tmp_path, EXACT.replace("{compare", "{column: anwser, compare"), head=head)
    with pytest.raises(BurnishError, match="which the reward exact reads"):
        check_files(load_recipe(path), tmp_path, ["evaluate"])
    path = write(tmp_path, "    - {model: {}}\n", head=head)
    assert "a reward model that this recipe does not train" in problems(path)[0]


def test_a_judge_is_a_model_by_any_name(tmp_path: Path) -> None:
    terms = [f"    - {{judge: {{model: {name}, criteria: short}}, name: {label}}}\n" for label, name in JUDGES.items()]
    path = write(tmp_path, *terms)
    assert load_recipe(path).grpo is not None
    assert moved(load_recipe(path), tmp_path, tmp_path / "run")["grpo"]["rewards"][1]["judge"]["model"] == "../mine"


def test_the_shipped_sums_are_what_their_script_writes(tmp_path: Path) -> None:
    """Every right answer was computed, and no question is asked twice."""
    folder = ROOT / "recipes" / "arithmetic"
    done = subprocess.run(
        [sys.executable, "-c", f"import problems, pathlib; problems.write(pathlib.Path({str(tmp_path)!r}))"],
        cwd=folder,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}
    asked = [json.loads(line)["prompt"] for text in found.values() for line in text.splitlines()]
    assert len(asked) == len(set(asked)) == 760


def test_a_critic_of_its_own_begins_as_a_reward_model_whatever_is_paid(tmp_path: Path) -> None:
    head = BASE.replace("grpo:\n", "ppo:\n  critic: reward\n")
    assert any("ppo needs a reward section" in each for each in problems(write(tmp_path, EXACT, head=head)))
