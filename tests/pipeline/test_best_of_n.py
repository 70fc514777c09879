"""The best of n answers: who is chosen, what is written, and what smaller n would have been worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from burnish.__main__ import code_of
from burnish.models.tiny import write_tiny
from burnish.pipeline.best_of_n import best_of_n
from burnish.records.formats import read_examples
from burnish.types import Completion, Message, Prompt, Rated, Sampling, Stop

PROMPTS = [Prompt(id=f"q{k}", messages=(Message(role="user", content=f"question {k}"),)) for k in range(40)]


class Counting:
    """Says "0", "1", … to every prompt."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def generate(
        self, prompts: Sequence[Sequence[Message]], sampling: Sampling, *, n: int = 1, seeds: object = None
    ) -> list[list[Completion]]:
        self.asked.append(len(prompts))
        return [[Completion(text=str(k), stop=Stop.EOS, ids=(k,)) for k in range(n)] for _ in prompts]


class Tens:
    """Likes answers near 2."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        scores = [-abs(float(each.text) - 2) for each in completions]
        return Rated(scores=scores, parts={"near": scores})


def test_the_best_answer_is_a_row_to_learn_from(tmp_path: Path) -> None:
    generator = Counting()
    found = best_of_n(generator, Tens(), PROMPTS, Sampling(), 4)
    assert generator.asked == [32, 8]
    assert [row["id"] for row in found.rows] == [prompt.id for prompt in PROMPTS]
    first = found.rows[0]
    assert (first["completion"], first["score"], first["stop"]) == ("2", 0.0, "eos")
    assert [answer["text"] for answer in first["answers"]] == ["2", "1", "3", "0"]
    assert first["answers"][-1]["parts"] == {"near": -2.0}
    path = tmp_path / "best.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found.rows))
    learned = read_examples(path)
    assert [message.content for message in learned[3].messages] == ["question 3", "2"]


def test_smaller_n_are_worth_what_their_subsets_say() -> None:
    """Scores -2, -1, 0, -1. Of pairs: the best is 0 in 3 of 6, -1 in 3. Of three: 0 in 3 of 4, -1 in 1."""
    found = best_of_n(Counting(), Tens(), PROMPTS, Sampling(), 4)
    assert [size.n for size in found.sizes] == [1, 2, 4]
    assert [size.score.value for size in found.sizes] == pytest.approx([-1.0, -0.5, 0.0])
    assert [round(size.kl, 3) for size in found.sizes] == [0.0, 0.193, 0.636]
    three = best_of_n(Counting(), Tens(), PROMPTS, Sampling(), 3).sizes
    assert [size.n for size in three] == [1, 2, 3]
    lines = found.as_text().splitlines()
    assert lines[3].split()[:2] == ["4", "0"]
    assert lines[3].endswith("0.64 nats")


def test_what_is_no_reward_model_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(tmp_path / "model")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "hello"}\n')
    words = ["best-of-n", str(tmp_path / "model"), "--prompts", str(tmp_path / "prompts.jsonl")]
    code = code_of([*words, "--reward", str(tmp_path / "model"), "--out", str(tmp_path / "best.jsonl")])
    assert code == 2
    assert "holds no reward model. Give the folder reward/model of a run" in capsys.readouterr().err
    assert not (tmp_path / "best.jsonl").exists()


def place(folder: Path, rewards: str, count: int = 1) -> list[str]:
    """A model, prompts with columns of other names, and a list of rewards and a function: what the verb is told."""
    (folder / "kept").mkdir(exist_ok=True)
    write_tiny(folder / "model")
    rows = [{"question": f"hello {k}", "answer": "a|the|of"} for k in range(count)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "kept" / "mine.py").write_text(FUNCTION)
    (folder / "kept" / "rewards.yaml").write_text(f"rewards:\n{rewards}")
    told = [
        "--prompts",
        folder / "prompts.jsonl",
        "--prompt-column",
        "question",
        "--reward",
        folder / "kept" / "rewards.yaml",
    ]
    told += ["--n", 2, "--max-new-tokens", 4, "--out", folder / "best.jsonl", "--json"]
    return ["best-of-n", str(folder / "model"), *map(str, told)]


FUNCTION = """\
def size(completions, answer, **columns):
    assert set(answer) == {"a|the|of"}
    return [float(len(each)) for each in completions]
"""
REWARDS = """\
  - {python: {file: mine.py, function: size}, weight: -2}
  - {length: {unit: words, most: 2, slack: 10}}
  - {length: {unit: tokens, most: 2, slack: 10}, name: tokens}
"""


def test_rewards_of_a_file_choose_by_their_weighted_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(place(tmp_path, REWARDS, 3)) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    rows = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    for row in rows:
        for answer in row["answers"]:
            parts = answer["parts"]
            assert parts["size"] == len(answer["text"])
            assert parts["tokens"] <= 0.9, "a byte a token, and an end: four tokens, or three"
            assert answer["score"] == pytest.approx(-2 * parts["size"] + parts["length"] + parts["tokens"])
        assert row["score"] == max(answer["score"] for answer in row["answers"])


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        (
            "  - {exact: {}}\n  - {model: {}}\n",
            "rewards.yaml:3:5: the reward model of this run is meant, and there is no",
        ),
        ("  - {exact: {column: answr}}\n", '"answr" is missing, which the reward exact reads. Did you mean "answer"?'),
        ("  - {model: {folder: ../model}}\n", "holds no reward model"),
        ("  - {lenght: {}}\n", 'rewards.yaml:2:6: "rewards.0.lenght" is not a setting. Did you mean "length"?'),
    ],
)
def test_rewards_that_cannot_choose_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rewards: str, said: str
) -> None:
    words = place(tmp_path, rewards)
    assert code_of(words[:-1]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "best.jsonl").exists()


@pytest.mark.parametrize(
    ("rewards", "options", "said"),
    [
        (
            "  - {judge: {model: ./model, criteria: x, by: comparison}}\n",
            ["--n", "1"],
            "compared, and there is one. Raise --n",
        ),
        (
            "  - {length: {unit: tokens, most: 9}}\n",
            ["http://127.0.0.1:1/v1#m"],
            "counts tokens, and a server gives text alone",
        ),
        ("", ["--reward", "rewards.yml"], "rewards.yml: does not exist. Give the run, folder or Hub id"),
    ],
)
def test_what_the_answers_cannot_have_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rewards: str, options: list[str], said: str
) -> None:
    words = place(tmp_path, rewards)[:-1]
    words = [words[0], *options, *words[2:]] if len(options) == 1 else [*words, *options]
    assert code_of(words) == 2
    assert said in capsys.readouterr().err


def test_parts_that_a_function_scored_otherwise_are_not_taken_up(tmp_path: Path) -> None:
    """Killed after 32 of 33 prompts; then the file that the list names is another."""
    words, mine = place(tmp_path, "  - {python: {file: mine.py, function: size}}\n", 33), tmp_path / "kept" / "mine.py"
    mine.write_text("def size(completions):\n    return [1] * len(completions) if len(completions) > 2 else 1\n")
    assert code_of(words) == 2
    [kept] = tmp_path.glob(".best.jsonl.*.parts")
    assert [path.name for path in kept.iterdir()] == ["0.jsonl"]
    mine.write_text("def size(completions):\n    return [2] * len(completions)\n")
    assert code_of(words) == 0
    rows = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [row["score"] for row in rows] == [2.0] * 33
