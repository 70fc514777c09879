"""Answers to a file of prompts: after a kill nobody is asked again who has answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from burnish.pipeline import talk
from burnish.types import Completion, Message, Progress, Prompt, Sampling, Silent, Stop

PROMPTS = [Prompt(id=f"q{k}", messages=(Message(role="user", content=f"question {k}"),)) for k in range(5)]


class Tiring:
    """Answers so many prompts, then the machine stops."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[str] = []

    def generate(
        self, prompts: Sequence[Sequence[Message]], sampling: Sampling, *, n: int = 1, seeds: object = None
    ) -> list[list[Completion]]:
        if len(self.asked) + len(prompts) > self.most:
            raise KeyboardInterrupt
        self.asked += [prompt[-1].content for prompt in prompts]
        return [[Completion(text=f"to {p[-1].content}", stop=Stop.EOS, ids=(k,)) for k in range(n)] for p in prompts]


def test_a_killed_sampling_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "AT_ONCE", 4)
    out, tired, fresh = tmp_path / "answers.jsonl", Tiring(4), Tiring(5)

    def run(generator: Tiring, seed: int = 0) -> None:
        def opened(model: str, progress: Progress) -> Tiring:
            return generator

        monkeypatch.setattr(talk, "opened", opened)
        talk.sample("m", PROMPTS, Sampling(seed=seed), 2, Silent(), out)

    with pytest.raises(KeyboardInterrupt):
        run(tired)
    assert tired.asked == [f"question {k}" for k in range(4)]
    assert not out.exists()
    run(fresh)
    assert fresh.asked == ["question 4"]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [prompt.id for prompt in PROMPTS]
    assert rows[1]["completions"] == [{"text": "to question 1", "stop": "eos"}] * 2
    again = Tiring(5)
    run(again, seed=1)
    assert len(again.asked) == 5, "another seed was told the answers of this one"
