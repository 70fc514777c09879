"""The documents against the code: what they name exists, and what exists in certain places is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from burnish.cli import app
from burnish.config import load_yaml, validate
from burnish.errors import BurnishError
from burnish.pipeline.critic_free import USUAL
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.reward_terms import RewardList

ROOT = Path(__file__).parents[1]
DECISIONS = ROOT / "docs" / "decisions"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md", *GUIDE, *DECISIONS.glob("*.md")]
)
OURS = ("burnish/", "tests/", "docs/", "recipes/", "requirements/", ".ci/")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for said, text in found if re.fullmatch(language, said)]


def spans(page: Path) -> list[str]:
    """Inline code, fenced blocks left out."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def code(page: Path) -> str:
    return "\n".join([*spans(page), *blocks(page, r"\w*")])


def defines(file: Path, name: str) -> bool:
    """Whether a file has each part of a dotted name as a class, function or assigned name."""
    text = file.read_text()
    return all(
        re.search(rf"^\s*((class|def|async def) {part}\b|{part}\b.*=)", text, re.MULTILINE) for part in name.split(".")
    )


@pages
def test_files_and_names_exist(page: Path) -> None:
    wanted = [
        span
        for span in spans(page)
        if span.startswith(OURS) or re.fullmatch(r"[\w.]+\.(md|toml)|Makefile|LICENSE", span)
    ]
    wanted += re.findall(r"\brecipes/[\w./-]+\.yaml", code(page))
    wanted += [f"{page.parent.relative_to(ROOT)}/{link}" for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text())]
    missing = []
    for each in wanted:
        path, _, name = each.partition("::")
        if not (ROOT / path).exists() or (name and not defines(ROOT / path, name)):
            missing.append(each)
    assert missing == []


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", code(page))) <= targets


@pages
def test_verbs_exist(page: Path) -> None:
    groups = {str(group.name): group.typer_instance for group in app.registered_groups}
    verbs = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    verbs |= {
        f"{name} {each.name or each.callback.__name__}"
        for name, group in groups.items()
        for each in group.registered_commands
        if each.callback
    }
    for first, second in re.findall(r"\bburnish ([a-z][a-z-]*)(?: ([a-z]+)\b)?", code(page)):
        assert first in verbs or f"{first} {second}" in verbs, f"burnish {first} {second}"


def test_recipes_told_to_users_are_recipes_and_rewards_are_rewards(tmp_path: Path) -> None:
    examples = [text for page in (ROOT / "README.md", *GUIDE) for text in blocks(page, "yaml")]
    assert len(examples) > 10
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        validate(RewardList if text.startswith("rewards:") else Recipe, load_yaml(path))


def test_the_guides_table_of_losses_is_that_of_the_code() -> None:
    """Every loss of `grpo` has its row, with where its ratio is clipped and with its KL."""
    table = (
        (ROOT / "docs" / "guide" / "methods.md").read_text().partition("| `loss` | an answer")[2].partition("\n\n")[0]
    )
    rows = {cells[1].strip(" `"): cells for cells in (row.split("|") for row in table.splitlines()[2:])}
    assert rows.keys() == USUAL.keys()
    for name, usual in USUAL.items():
        _, _, against, learned, _, kl, _ = rows[name]
        assert ("spread" in against) == usual.scaled
        assert ("ratio" in learned) == (usual.clip is not None)
        if usual.clip and name != "cispo":  # that of CISPO is told as the most that the weight can be
            assert {float(number) for number in re.findall(r"[\d.]+", learned)} == set(usual.clip)
        said = (
            f"{'k3 ' if usual.kl.kind == 'k3' else ''}in the {usual.kl.place}, {usual.kl.coef}" if usual.kl else "none"
        )
        assert kl.strip() == said


def test_every_folder_is_in_the_readmes_tree() -> None:
    folders = {path.parent.name for path in (ROOT / "burnish").glob("*/__init__.py")}
    tree = next(block for block in blocks(ROOT / "README.md", "") if block.startswith("burnish/"))
    assert set(re.findall(r"^  (\w+)/", tree, re.MULTILINE)) == folders


def test_the_data_are_as_many_as_the_readme_says() -> None:
    counts = re.findall(r"(\d+)\s+(conversations|prompts|cases)\b", (ROOT / "README.md").read_text())
    assert len(counts) == 3
    for number, name in counts:
        assert len((ROOT / f"recipes/support/{name}.jsonl").read_text().splitlines()) == int(number), name


def test_exit_codes_are_those_of_the_errors() -> None:
    table = (ROOT / "README.md").read_text().partition("| exit |")[2]
    told = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    assert told == {0, 1, 130, 143} | {error.exit_code for error in BurnishError.__subclasses__()}


def test_layers_are_those_of_the_contract() -> None:
    layers: list[str] = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    told = [(int(number), re.findall(r"\w+", areas)) for number, areas in rows]
    assert told == [(len(layers) - place, layer.split(" | ")) for place, layer in enumerate(layers)]


def test_every_decision_is_in_the_index() -> None:
    index = (DECISIONS / "README.md").read_text()
    files = [page.name for page in DECISIONS.glob("0*.md")]
    assert files
    assert [name for name in files if f"]({name})" not in index] == []


def test_every_dependency_has_its_reason() -> None:
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    told = re.findall(r"^\| (?:`\w+` \| )?`([^`]+)` \|", (DECISIONS / "0003-dependencies.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(re.split(r"[><=~! ]", each)[0] for each in wanted)
