"""Files of another form: what is told of them, once, and that the shell line in it makes a file that can be read."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError, Problem
from burnish.records.formats import read_examples, read_labelled, read_prompts, read_rankings
from burnish.types import Message

ALPACA = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3", "source": "s"},
    {"instruction": 'It\'s "$HOME"\nü?', "input": "", "output": "Yes."},
    {"instruction": "Hi", "output": "Hello."},
]
SHARE_GPT = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "topic": "t"},
    {
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "human", "value": "It's ü"},
            {"from": "gpt", "value": "Yes."},
        ]
    },
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def refused(reader: Callable[[Path], Any], path: Path) -> Problem:
    with pytest.raises(DataError) as caught:
        reader(path)
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize("name", ["their rows.jsonl", "rows.jsonl.gz"])
def test_alpacas_columns_are_made_prompts_and_completions(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, ALPACA)
    problem = refused(read_examples, path)
    assert problem.where == f"{path}:1:1"
    assert problem.found == 'all 3 rows: "messages" is missing (keys here: instruction, input, output, source)'
    subprocess.run(["bash", "-c", problem.mend.removeprefix("Run: ")], check=True)
    found = read_examples(path.with_name(f"{name.split('.')[0]}.mended.jsonl"))
    assert [[turn.content for turn in each.messages] for each in found] == [
        ["Add.\n\n1 and 2", "3"],
        ['It\'s "$HOME"\nü?', "Yes."],
        ["Hi", "Hello."],
    ]
    assert found[0].meta == {"source": "s"}


def test_share_gpts_conversations_are_made_messages(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", SHARE_GPT)
    problem = refused(read_examples, path)
    assert problem.found.startswith('all 2 rows: "messages" is missing (keys here: conversations, topic)')
    subprocess.run(["bash", "-c", problem.mend.removeprefix("Run: ")], check=True)
    one, other = read_examples(tmp_path / "rows.mended.jsonl")
    assert one.messages == (Message(role="user", content="Hi"), Message(role="assistant", content="Hello."))
    assert [(turn.role, turn.content) for turn in other.messages] == [
        ("system", "Be kind."),
        ("user", "It's ü"),
        ("assistant", "Yes."),
    ]
    assert one.meta == {"topic": "t"}


@pytest.mark.parametrize(
    ("reader", "row", "found", "mend"),
    [
        (read_examples, {"text": "a"}, '"messages" is missing', 'Give "messages", or "prompt" and "completion".'),
        (read_prompts, {"id": "p", "q": "a"}, '"prompt" is missing', "or name it: prompt_column: q in a recipe"),
        (read_prompts, {"question": "a"}, '"prompt" is missing', "--prompt-column question of sample and best-of-n."),
        (read_rankings, {"text": "a"}, '"chosen" is missing', 'Give "prompt", "chosen" and "rejected", or '),
        (read_labelled, {"text": "a"}, '"prompt" is missing', 'Give "prompt", "completion" and "label".'),
    ],
)
def test_rows_without_any_of_the_columns_are_told_which_are_wanted(
    tmp_path: Path, reader: Callable[[Path], Any], row: dict[str, Any], found: str, mend: str
) -> None:
    rows = [{**row, "id": str(number)} if "id" in row else row for number in range(50)]
    problem = refused(reader, written(tmp_path / "rows.jsonl", rows))
    assert problem.found.startswith(f"all 50 rows: {found} (keys here: ")
    assert mend in problem.mend


def test_a_column_of_ones_own_is_missing_in_all_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"question": "a"}, {"question": "b"}])
    problem = refused(lambda path: read_prompts(path, "qestion"), path)
    assert problem.found == 'all 2 rows: "qestion" is missing (keys here: question)'
    assert problem.mend == 'Did you mean "question"? Add it, or rename the column.'


def test_what_some_rows_lack_is_told_of_each(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    path = written(tmp_path / "rows.jsonl", [good, *ALPACA])
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert [problem.where for problem in caught.value.problems] == [f"{path}:{line}:1" for line in (2, 3, 4)]
