"""Rules as `Reward`s: asked here, or in a process that can be stopped where a rule may never come to an end."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish.errors import DataError, Problem
from burnish.rewards import checker
from burnish.rewards.rules import Check, Rule
from burnish.types import Completion, Prompt, Rated, Reward


def by_rule(kind: str, rule: Rule, base: Path, name: str) -> Reward:
    """The rule of that kind as a reward whose part has that name. Raises DataError for a file that it cannot use."""
    if rule.endless:
        return Stoppable(kind, rule, base, name)
    return Checked(rule.check(base), name)


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule that always comes to an end."""

    check: Check
    name: str

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        return rated(self.name, [self.check(*pair) for pair in zip(prompts, completions, strict=True)])


class Stoppable:
    """A rule in a process of its own. An answer at which it is stopped gets 0, and the part `name/stopped` marks it."""

    def __init__(self, kind: str, rule: Rule, base: Path, name: str) -> None:
        self._request = {
            "kind": kind,
            "settings": json.loads(rule.model_dump_json(by_alias=True)),
            "base": str(base.absolute()),
            "seconds": checker.SECONDS,
        }
        self.name = name
        self._child = _Child(self._request)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Rated:
        said = [self._ask(*pair) for pair in zip(prompts, completions, strict=True)]
        found = rated(self.name, [0.0 if each is None else each["score"] for each in said])
        stopped = [float(each is None) for each in said]
        parts = {**found.parts, f"{self.name}/stopped": stopped} if any(stopped) else found.parts
        return Rated(scores=found.scores, parts=parts)

    def _ask(self, prompt: Prompt, answer: Completion) -> dict[str, Any] | None:
        reply = self._child.ask(
            {
                "id": prompt.id,
                "messages": [message.as_json() for message in prompt.messages],
                "meta": dict(prompt.meta),
                "text": answer.text,
                "ids": answer.ids,
            }
        )
        if reply is None:
            self._child = _Child(self._request)
        elif "problems" in reply:
            found = [Problem(**each) for each in reply["problems"]]
            raise DataError(*[replace(each, where=each.where or f"{prompt.id}: {self.name}") for each in found])
        return reply


class _Child:
    """The process. What it prints as errors is kept, for the case that it fails."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (it is open as long as the process runs)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", checker.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
            start_new_session=True,  # an interruption from the keyboard is for us to handle; it ends when we end
        )
        weakref.finalize(self, _end, self._process, self._errors)
        reply = self.ask(request)
        assert reply is not None, f"a rule's process ended before it began: {self._said()}"
        if "problems" in reply:
            raise DataError(*[Problem(**each) for each in reply["problems"]])

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The reply; None where the process was stopped at its limits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it was ended while it waited: what follows says how
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        # Ended by a signal (the timer, the system's memory) or by a MemoryError: limits. All else is a fault of ours.
        assert code < 0 or "MemoryError" in self._said(), f"a rule's process ended with {code}: {self._said()}"
        return None

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-2000:]


def _end(process: subprocess.Popen[str], errors: Any) -> None:
    for stream in (process.stdin, process.stdout, errors):
        assert stream is not None
        with suppress(BrokenPipeError):  # what a process had not read when it was stopped
            stream.close()
    process.wait()


def rated(name: str, values: Sequence[float | None]) -> Rated:
    """Numbers of one signal. None, which says nothing of an answer, adds 0 to its score and stays None as a part."""
    return Rated(scores=[0.0 if each is None else each for each in values], parts={name: list(values)})
