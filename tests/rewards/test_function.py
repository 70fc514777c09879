"""A user's function: what it is given, what may come back, and how its faults are told."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.rewards.function import FunctionReward, load_function, required_columns
from burnish.types import Completion, Message, Prompt, Stop

PROMPTS = [
    Prompt(id="p:1", messages=(Message(role="user", content="One?"),), meta={"answer": "1"}),
    Prompt(id="p:2", messages=(Message(role="user", content="Two?"),), meta={"answer": "2", "hard": True}),
]
ANSWERS = [Completion(text=text, stop=Stop.EOS, ids=(7,)) for text in ("1", "one")]


def reward(folder: Path, code: str, function: str = "f") -> FunctionReward:
    path = folder / "mine.py"
    path.write_text(code)
    return FunctionReward(call=load_function(path, function), file=path, name=function)


def problem(call: Any) -> tuple[str, str, str]:
    with pytest.raises(ConfigError) as caught:
        call()
    [found] = caught.value.problems
    return found.where, found.found, found.mend


def test_a_function_written_for_trl_is_given_what_it_expects(tmp_path: Path) -> None:
    code = """
def f(prompts, completions, **columns):
    assert prompts[0] == [{"role": "user", "content": "One?"}]
    assert completions[1] == [{"role": "assistant", "content": "one"}]
    assert columns == {"answer": ["1", "2"], "hard": [None, True], "completion_ids": [[7], [7]]}
    return [float(said[0]["content"] == right) for said, right in zip(completions, columns["answer"])]
"""
    rated = reward(tmp_path, code).score(PROMPTS, ANSWERS)
    assert (rated.scores, rated.parts) == ([1.0, 0.0], {"f": [1.0, 0.0]})


def test_where_prompts_are_texts_so_are_answers(tmp_path: Path) -> None:
    """As in TRL, where a function that asks for an answer's length gets that of a text, not of a list of one turn."""
    code = "def f(prompts, completions):\n    return [len(p) + 10 * len(c) for p, c in zip(prompts, completions)]\n"
    assert replace(reward(tmp_path, code), texts=True).score(PROMPTS, ANSWERS).scores == [14.0, 34.0]


def test_an_error_says_in_which_form_answers_are(tmp_path: Path) -> None:
    asked = reward(
        tmp_path, "def f(completions):\n    return [float(each[0]['content'] == '1') for each in completions]\n"
    )
    where, found, mend = problem(lambda: replace(asked, texts=True).score(PROMPTS, ANSWERS))
    assert where.endswith("mine.py:2: f")
    assert "TypeError" in found
    assert mend == "Mind that completions are texts, since the prompts are texts, as TRL gives them."


def test_one_that_names_its_columns_is_given_no_others(tmp_path: Path) -> None:
    code = """
def f(completions, answer, scale=2):
    return [scale * (said[0]["content"] in right) for said, right in zip(completions, answer)]
"""
    assert reward(tmp_path, code).score(PROMPTS, ANSWERS).scores == [2.0, 0.0]


def test_none_says_nothing_and_pays_nothing(tmp_path: Path) -> None:
    rated = reward(tmp_path, "def f(completions, **_):\n    return [None, True]\n").score(PROMPTS, ANSWERS)
    assert (rated.scores, rated.parts) == ([0.0, 1.0], {"f": [None, 1.0]})


def test_arrays_are_lists_of_numbers(tmp_path: Path) -> None:
    rated = reward(tmp_path, "import numpy\ndef f(completions):\n    return numpy.array([0.5, 2])\n").score(
        PROMPTS, ANSWERS
    )
    assert rated.scores == [0.5, 2.0]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("[1.0]", "gave 1 numbers for 2 answers"),
        ("1.0", "gave float; a list of numbers is wanted"),
        ("None", "gave NoneType; a list of numbers is wanted"),
        ("(1.0 for _ in completions)", "gave generator; a list of numbers is wanted"),
        ("[1.0, float('nan')]", "gave nan for an answer to p:2; a finite number or None is wanted"),
        ("[float('inf'), 1.0]", "gave inf for an answer to p:1; a finite number or None is wanted"),
        ("[1.0, 'good']", "gave 'good' for an answer to p:2; a finite number or None is wanted"),
        ("[1.0, -(10**309)]", f"gave {-(10**309)} for an answer to p:2; a finite number or None is wanted"),
    ],
)
def test_what_is_no_number_an_answer_is_refused(tmp_path: Path, said: str, found: str) -> None:
    made = reward(tmp_path, f"def f(completions, **_):\n    return {said}\n")
    assert problem(lambda: made.score(PROMPTS, ANSWERS))[:2] == (f"{tmp_path / 'mine.py'}: f", found)


def test_what_it_raises_is_told_with_the_line(tmp_path: Path) -> None:
    made = reward(tmp_path, "def g(x):\n    return 1 / x\n\ndef f(completions):\n    return [g(0)]\n")
    where, found, _ = problem(lambda: made.score(PROMPTS, ANSWERS))
    assert where == f"{tmp_path / 'mine.py'}:2: f"
    assert found == "raised ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("sys.exit()", "raised SystemExit: "),
        ("return [1.0, Odd()]", "raised ZeroDivisionError: division by zero"),
        ("return Odd()", "raised ZeroDivisionError: division by zero"),
        ("return [1.0, 10**5000]", "raised ValueError: Exceeds the limit"),  # of digits that Python writes
    ],
)
def test_nothing_that_it_does_ends_the_process(tmp_path: Path, code: str, found: str) -> None:
    odd = "class Odd:\n    def __getattr__(self, name): 1 / 0\n    def __float__(self): 1 / 0\n"
    made = reward(tmp_path, f"import sys\n{odd}def f(completions):\n    {code}\n")
    where, clause, _ = problem(lambda: made.score(PROMPTS, ANSWERS))
    assert where.startswith(str(tmp_path / "mine.py"))
    assert clause.startswith(found)


GOES = "def f(completions): os.chdir('/')"
ENDED = """
import os, signal
from pathlib import Path
import burnish.__main__ as program
from burnish.rewards.function import FunctionReward

def ended(argv):
    FunctionReward(call=lambda: os.kill(os.getpid(), signal.SIGTERM), file=Path("mine.py"), name="f").score([], [])

program.code_of = ended
program.main()
"""


def test_the_end_that_the_process_was_asked_for_is_one() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (143, "\nterminated; the same command continues\n")


@pytest.mark.parametrize(
    "code", ["os.chdir('/')\ndef f(completions): return [1, 2]", f"{GOES}; return [1, 2]", f"{GOES}; 1 / 0"]
)
def test_it_may_go_elsewhere_without_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A relative --out is where the command line was typed."""
    monkeypatch.chdir(tmp_path)
    made = reward(tmp_path, f"import os\n{code}\n")
    with suppress(ConfigError):
        made.score(PROMPTS, ANSWERS)
    assert Path.cwd() == tmp_path


def test_required_columns_are_read_without_running_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "raise SystemExit\n"
        "def f(prompts, completions, answer, *, unit, places=2, completion_ids, **rest): ...\n"
        "g = f\n"
        "from math import sqrt as h\n"
    )
    assert required_columns(path, "f") == ("answer", "unit")
    assert required_columns(path, "g") == required_columns(path, "h") == ()


@pytest.mark.parametrize(
    ("code", "function", "found", "mend"),
    [
        ("def f(:\n", "f", "no Python (invalid syntax)", ""),
        ("def brevity(): ...\n", "brevty", 'there is no function "brevty"', 'Did you mean "brevity"?'),
        ("", "f", 'there is no function "f"', "Define it at the top of the file."),
        ("f = 3\n", "f", '"f" is no function', ""),
        ("def f(): ...\n\0", "f", "no Python (source code string cannot contain null bytes)", ""),
        ("import sys\ndef f(): ...\nsys.exit()\n", "f", "importing it raised SystemExit", ""),
        ("import nowhere_to_be_found\ndef f(): ...\n", "f", "importing it raised ModuleNotFoundError", ""),
    ],
)
def test_a_file_without_the_function(tmp_path: Path, code: str, function: str, found: str, mend: str) -> None:
    where, clause, told = problem(lambda: reward(tmp_path, code, function))
    assert where.startswith(str(tmp_path / "mine.py"))
    assert "None" not in where
    assert clause.startswith(found)
    assert told == mend
