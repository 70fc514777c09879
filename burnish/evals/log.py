"""Answers on disk, one JSON line a case, with all that is needed to grade them again. Knows rows, not rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from burnish.errors import DataError, Problem
from burnish.evals.task import Case
from burnish.judge.rubric import Grade
from burnish.records.durable import write_jsonl
from burnish.records.jsonl import Row
from burnish.records.rows import read_as
from burnish.records.turns import messages_of, text_of
from burnish.types import Completion, Stop


def write_answers(
    path: Path, cases: Sequence[Case], answers: Sequence[Completion], grades: Sequence[Grade] | None = None
) -> None:
    """One model's answers: id, messages, meta, text, stop, ids, version, and the grade where there is one."""
    graded = [None] * len(cases) if grades is None else grades
    write_jsonl(path, [_row(*each) for each in zip(cases, answers, graded, strict=True)])


def read_answers(path: Path) -> list[tuple[Case, Completion]]:
    """Cases with their answers, as written. Raises DataError naming every line that is not such a row."""
    return read_as(path, _parsed)


def _row(case: Case, answer: Completion, grade: Grade | None) -> dict[str, Any]:
    row = {
        "id": case.id,
        "messages": [message.as_json() for message in case.messages],
        "meta": dict(case.meta),
        "text": answer.text.replace("\0", "\N{REPLACEMENT CHARACTER}"),  # a model may say NUL; no reader takes it
        "stop": answer.stop.value,
        "ids": list(answer.ids),
        "version": answer.version,
    }
    return row if grade is None else {**row, "grade": asdict(grade)}


def _parsed(row: Row) -> tuple[Case, Completion]:
    missing = [key for key in ("id", "messages", "meta", "text", "stop") if key not in row.value]
    stops = [stop.value for stop in Stop]
    if missing:
        raise DataError(Problem(row.where(), f"{', '.join(missing)} missing: not a row of answers"))
    if row.value["stop"] not in stops:
        raise DataError(Problem(row.where("stop"), f'"stop" is not one of {", ".join(stops)}'))
    case = Case(id=text_of(row, "id"), messages=messages_of(row, "messages"), meta=row.value["meta"])
    return case, Completion(
        text=text_of(row, "text"),
        stop=Stop(row.value["stop"]),
        ids=tuple(row.value.get("ids", ())),
        version=row.value.get("version", 0),
    )
