"""sft on conversations in which the assistant calls tools: it learns them, and a kill changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat.tool_templates import HERMES
from tiny import burnish, said

from burnish.chat.tokenizer import TEMPLATE
from burnish.models.tiny import write_tiny
from burnish.records.durable import MANIFEST, digest_file

TOOLS = [{"type": "function", "function": {"name": "order", "parameters": {"type": "object", "properties": {"n": {}}}}}]
STEPS = ("epochs=4", "batch_size=4", "micro_tokens=4096", "save_every=1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "model")
    (tmp_path / "model" / TEMPLATE).write_text(HERMES)
    (tmp_path / "model" / MANIFEST).unlink()
    (tmp_path / "calls.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in range(12)))
    return tmp_path


def row(number: int) -> dict[str, object]:
    call = {"id": f"c{number}", "type": "function", "function": {"name": "order", "arguments": f'{{"n": {number}}}'}}
    turns = [
        {"role": "user", "content": f"Where is order {number}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "left", "tool_call_id": f"c{number}"},
        {"role": "assistant", "content": "It left us.", "tool_calls": None},
    ]
    return {"messages": turns, "tools": json.dumps(TOOLS) if number % 2 else TOOLS}


def asked(place: Path, out: str) -> list[str]:
    settings = [word for setting in STEPS for word in ("--set", f"sft.{setting}")]
    return ["sft", "--model", f"{place}/model", "--data", f"{place}/calls.jsonl", "--out", f"{place}/{out}", *settings]


def test_calls_are_learned_and_a_kill_changes_nothing(place: Path) -> None:
    done = burnish(*asked(place, "whole"), "--json")
    assert done.returncode == 0, done.stderr
    facts = said(done)["stages"]["sft"]["facts"]  # type: ignore[index]
    assert facts["examples"] == 12
    assert facts["loss_last"] < facts["loss_first"]
    model = Path("sft", "model", "model.safetensors")
    killed = subprocess.Popen([sys.executable, "-m", "burnish", *asked(place, "killed")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while killed.poll() is None and time.monotonic() < deadline:
        if [*(place / "killed").glob("sft/checkpoints/[!.]*")]:
            killed.kill()
        time.sleep(0.005)
    killed.wait()
    assert not (place / "killed" / "sft" / "model").exists(), "killed too late"
    resumed = burnish(*asked(place, "killed"), "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((place / "killed" / "sft" / "stage.json").read_text())["resumed"]
    assert digest_file(place / "killed" / model) == digest_file(place / "whole" / model)
    template = (place / "whole" / "sft" / "model" / TEMPLATE).read_text()
    assert template == HERMES


def test_a_template_without_tools_is_told_before_training(place: Path) -> None:
    write_tiny(place / "plain")
    done = burnish(*asked(place, "none"), "--model", f"{place}/plain")
    assert done.returncode == 2
    assert "the chat template shows no tools" in done.stderr
    assert "calls.jsonl:1" in done.stderr
