from __future__ import annotations

from pathlib import Path

import pytest

from burnish.errors import DataError
from burnish.evals.log import read_answers, write_answers
from burnish.evals.run import evaluate, grade
from burnish.types import Completion, Stop

from . import speakers


def test_answers_come_back_whole(tmp_path: Path, rubric):
    asked = speakers.cases(5)
    answers = [speakers.harmful(each) for each in asked]
    path = tmp_path / "answers-base.jsonl"
    write_answers(path, asked, answers, grade(rubric, asked, answers))
    back = read_answers(path)
    assert [case for case, _ in back] == asked
    assert [answer for _, answer in back] == answers
    again = evaluate(rubric, [case for case, _ in back], {"base": [answer for _, answer in back]})
    assert again.as_json() == evaluate(rubric, asked, {"base": answers}).as_json()


def test_an_answer_with_a_nul_can_be_read_again(tmp_path: Path):
    asked = [speakers.case(0, "facts")]
    path = tmp_path / "a.jsonl"
    write_answers(path, asked, [Completion(text="a\0b", stop=Stop.EOS)])
    assert [answer.text for _, answer in read_answers(path)] == ["a\ufffdb"]


def test_rows_name_the_grade(tmp_path: Path, rubric):
    asked = [speakers.case(0, "facts")]
    path = tmp_path / "a.jsonl"
    write_answers(path, asked, [speakers.good(asked[0])], grade(rubric, asked, [speakers.good(asked[0])]))
    assert '"total": 1.0' in path.read_text("utf-8")


def test_every_bad_line_is_named(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    good = '{"id": "1", "messages": [{"role": "user", "content": "?"}], "meta": {}, "text": "x", "stop": "eos"}'
    path.write_text(f'{good}\n{{"id": "2"}}\n{good.replace("eos", "end")}\n', "utf-8")
    with pytest.raises(DataError) as error:
        read_answers(path)
    assert [problem.where.split(":")[1] for problem in error.value.problems] == ["2", "3"]
