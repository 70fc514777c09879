"""`burnish label critique` with a model behind a server: written once, ready to be shown."""

from __future__ import annotations

import json

import pytest
from stub import Stub, serving

from burnish.__main__ import code_of


def test_a_model_behind_a_server_writes_critiques(campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Stub()) as stub:
        arguments = [
            "label",
            "critique",
            campaign,
            "--model",
            f"{stub.url}#small",
            "--called",
            "m",
            "--rubric",
            "It is so.",
        ]
        capsys.readouterr()
        assert code_of([*arguments, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["items"], found["critiques"], found["unreadable"]) == (3, 6, 0)
        assert len(stub.asked) == 6
        assert "It is so." in stub.asked[0]["messages"][0]["content"]
        assert code_of(arguments) == 0
        assert len(stub.asked) == 6, "nothing is asked twice"
    assert "burnish label assistance one --show before" in capsys.readouterr().out
