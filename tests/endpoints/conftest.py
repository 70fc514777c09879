"""A campaign that waits for judgements or critiques, in the working folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.__main__ import code_of


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name: three questions with two answers each."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"Question {number}", "completions": ["Yes.", "No."]} for number in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert code_of(["label", "new", "one", "--from", "rows.jsonl"]) == 0
    return "one"
