"""What a recipe asks of the columns of its rankings: which rows, and how far apart their answers are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError
from burnish.pipeline.columns import ranked_rows
from burnish.pipeline.preflight import check_files
from burnish.pipeline.recipe import Collect, Dpo, Recipe, RewardModel, Value


def written(folder: Path, *columns: dict[str, Any]) -> Path:
    rows = [{"prompt": f"Q{n}?", "chosen": "Yes.", "rejected": "No."} | each for n, each in enumerate(columns)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "pairs.jsonl"


def texts(path: Path, **where: Value | tuple[Value, ...]) -> list[str]:
    rows, _ = ranked_rows(path, Dpo(rankings="pairs.jsonl", where=where))
    return [row.prompt.messages[0].content for row in rows]


def test_rows_are_chosen_by_all_columns_that_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, {"lang": "en", "safe": True}, {"lang": "de", "safe": True}, {"lang": "en", "safe": 1}, {})
    assert texts(path, lang=("en", "de")) == ["Q0?", "Q1?", "Q2?"]
    assert texts(path, lang=("en",), safe=(True,)) == ["Q0?"], "true is not 1"
    assert texts(path, safe=1) == ["Q2?"]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"lang": ("fr",)}, 'no row has one of the values that where names for "lang" (there are de, en)'),
        ({"langs": ("en",)}, 'no row has a column "langs"'),
    ],
)
def test_a_choice_of_nothing_is_refused_with_the_file(tmp_path: Path, where: dict[str, Any], says: str) -> None:
    path = written(tmp_path, {"lang": "en"}, {"lang": "de"})
    with pytest.raises(DataError) as caught:
        ranked_rows(path, RewardModel(rankings="pairs.jsonl", where=where))
    assert caught.value.problems[0].found == says
    assert caught.value.problems[0].where == str(path)
    recipe = Recipe(name="t", model="m", reward=RewardModel(rankings="pairs.jsonl", where=where))
    with pytest.raises(DataError, match="lang"):
        check_files(recipe, tmp_path, ["reward"])


def test_a_strength_is_a_number_of_the_pair_or_one_for_each_answer(tmp_path: Path) -> None:
    three = {"completions": ["a", "b", "c"], "ranks": [2, 1, 3], "stars": [3, 5, 1.5]}
    turned = {"completions": ["a", "b"], "ranks": [2, 1], "stars": 2}
    path = written(tmp_path, {"stars": 2}, {"meta": {"stars": [4, 1]}}, three, turned, {"stars": "2"}, {"star": 2})
    rows, dropped = ranked_rows(path, RewardModel(rankings="pairs.jsonl", margin="stars"))
    assert [row.strengths for row in rows] == [(2.0, 0.0), (4.0, 1.0), (3.0, 5.0, 1.5), (0.0, 2.0)]
    assert [problem.found.split(",")[0] for problem in dropped] == [
        '"stars" is text; one number for each of the 2 answers is wanted',
        '"stars" is missing',
    ]
    assert dropped[0].where.startswith(f"{path}:5:")


def test_one_model_has_nobody_to_disagree_with(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Q?"}\n')
    (tmp_path / "model").mkdir()
    collect = Collect(prompts="prompts.jsonl", by="people", disputed_by="model")
    with pytest.raises(DataError, match="nobody to disagree with"):
        check_files(Recipe(name="t", model="m", collect=collect), tmp_path, ["collect"])
    (tmp_path / "model" / "member-02").mkdir()
    assert check_files(Recipe(name="t", model="m", collect=collect), tmp_path, ["collect"])["model"] == 2


def test_where_no_row_has_a_strength_all_are_told_at_once(tmp_path: Path) -> None:
    written(tmp_path, {}, {})
    recipe = Recipe(name="t", model="m", reward=RewardModel(rankings="pairs.jsonl", margin="stars"))
    with pytest.raises(DataError) as caught:
        check_files(recipe, tmp_path, ["reward"])
    [problem] = caught.value.problems
    assert problem.found == 'all 2 rows: "stars" is missing, which says how good the answers are'
