"""Progress: one line in a terminal, few plain lines elsewhere, never a carriage return in a log."""

from __future__ import annotations

import io
import os
import pty
import select
import time

import pytest

from burnish import terminal
from burnish.errors import ConfigError, Problem
from burnish.terminal import Meter


class Clock:
    """Time that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def lively(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing asks for plain lines."""
    for name in ("NO_COLOR", "CI", "TERM"):
        monkeypatch.delenv(name, raising=False)


def test_plain_lines_come_every_ten_seconds(clock: Clock) -> None:
    out = io.StringIO()
    meter = Meter(stream=out, live=False)
    meter.start("sft: training", 100)
    for _ in range(100):
        clock.now += 0.5
        meter.advance(note="loss 1.2")
    meter.finish("done")
    lines = out.getvalue().splitlines()
    assert lines[0] == "sft: training  0/100"
    assert lines[1] == "sft: training  20/100  40 s left  loss 1.2"
    assert len(lines) == 1 + 5 + 1
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_work_inside_work_is_named_with_what_it_is_part_of(clock: Clock) -> None:
    out = io.StringIO()
    meter = Meter(stream=out, live=False)
    meter.start("evaluate: ppo", 1)
    clock.now += 11
    meter.start("answers", 8)
    clock.now += 11
    meter.advance(2)
    assert out.getvalue().splitlines()[-1].startswith("evaluate: ppo › answers  2/8")
    meter.finish()
    meter.finish()
    meter.finish()


def test_a_note_cannot_write_to_the_terminal(clock: Clock) -> None:
    out = io.StringIO()
    meter = Meter(stream=out, live=False)
    meter.start("x", 2)
    clock.now += 11
    meter.advance(note="\x1b[2Jgone\nline")
    assert out.getvalue().splitlines()[-1].endswith("\\x1b[2Jgone\\nline")


@pytest.mark.usefixtures("lively")
def test_a_terminal_gets_one_line_and_a_calm_one_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        meter = terminal.progress(stream)
        assert meter.live
        meter.start("ppo: training", 4)
        meter.clear()
        monkeypatch.setenv("NO_COLOR", "1")
        assert not terminal.progress(stream).live
        shown = ""
        while shown.count("\r\x1b[2K") < 2 and select.select([leader], [], [], 5)[0]:
            shown += os.read(leader, 4096).decode()  # what was written twice may be read in two pieces
    os.close(leader)
    assert "ppo: training" in shown
    assert "\n" not in shown
    assert shown.endswith("\r\x1b[2K")


@pytest.mark.usefixtures("lively")
def test_progress_goes_on_when_the_terminal_has_gone() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        meter = terminal.progress(stream)
        os.close(leader)
        meter.start("ppo: training", 4)
        meter.finish()
        terminal.say("done", stream)


@pytest.mark.usefixtures("lively")
def test_a_mark_is_colour_in_a_terminal_and_brackets_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal.marker(io.StringIO())("a\nb") == "[a\nb]"
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        assert terminal.marker(stream)("a\nb") == "\x1b[32ma\x1b[0m\n\x1b[32mb\x1b[0m"
        monkeypatch.setenv("NO_COLOR", "1")
        assert terminal.marker(stream)("a") == "[a]"
    os.close(leader)


def test_an_error_is_text_or_data(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError(Problem("a.yaml:1:2", "wrong", "Mend it."))
    assert terminal.fail(error, "nothing was written", as_json=False) == 2
    assert capsys.readouterr().err == "a.yaml:1:2: wrong. Mend it.\nnothing was written; exit 2\n"
    assert terminal.fail(error, "nothing was written", as_json=True) == 2
    assert '"where": "a.yaml:1:2"' in capsys.readouterr().out


def test_a_conversation_ends_with_an_empty_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n\nnever read\n"))
    terminal.converse(lambda text: f"you said {text}\n\x1b[31mred")
    assert capsys.readouterr().out == "you said hello\n\\x1b[31mred\n"
