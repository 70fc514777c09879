"""`burnish bench rl`: prompts and settings, and runs on a small model."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from burnish.__main__ import code_of
from burnish.chat.render import Renderer
from burnish.errors import ConfigError, DataError
from burnish.models.tiny import tiny_tokenizer, write_tiny
from burnish.proof.bench import reinforcement
from burnish.proof.bench.compare import Peer, Plan, compare
from burnish.proof.bench.items import prompts
from burnish.proof.bench.job import Job
from burnish.proof.bench.policies import worth
from burnish.proof.bench.reinforcement import WORKS, contests
from burnish.proof.material import Rows
from burnish.proof.samples import RANKINGS
from burnish.types import Silent

ROWS = Rows(examples=[], rankings=[*RANKINGS, RANKINGS[0]])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("bench") / "tiny")


def plan(works: str, *, peer: bool) -> Plan:
    return Plan(works, 16, 1, 256, 1024, 4, peer)


def test_each_prompt_comes_once_and_again_when_there_are_no_more() -> None:
    renderer = Renderer(tiny_tokenizer())
    found = prompts(ROWS, renderer, 4, 200)
    assert [item.ids for item in found[:3]] == [renderer.prompt(row.prompt.messages) for row in RANKINGS]
    assert (found[3].row, found[3].ids) == ("prompt#3", found[0].ids)
    with pytest.raises(DataError, match="--new-tokens"):
        prompts(ROWS, renderer, 4, 3)


def test_new_words_are_worth_more() -> None:
    assert worth([1, 2, 3, 4]) == 1
    assert worth([1, 1, 1, 2]) == 0.5


@pytest.mark.parametrize(("asked", "rollout", "step"), [(64, 64, 4), (16, 16, 1), (2, 2, 1)])
def test_a_step_of_learning_has_a_sixteenth_of_the_prompts(asked: int, rollout: int, step: int) -> None:
    found = {name: work.prompts(asked) for name, work in WORKS.items()}
    assert found == {"rollout": rollout, "rollout-alone": 1, "grpo-step": step, "ppo-step": step}


def job(answers: int, per_step: int, *, source: str = "") -> Job:
    shape = {"steps": 1, "micro_tokens": 64, "items": []}
    return Job(work="rollout", model="", per_step=per_step, answers=answers, new_tokens=4, source=source, **shape)


def settings(peer: Peer) -> list[str]:
    return [*peer.settings, *peer.further(peer.settings[0])]


def test_peers_are_tried_in_batches_no_larger_than_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reinforcement, "find_spec", lambda name: object())
    generate, vllm = reinforcement.peers(job(8, 64))
    assert settings(generate) == ["fp32, 32 at once", "bf16 weights, 32 at once", "fp32, 128 at once"]
    assert settings(vllm) == ["fp32", "bf16 weights"]  # it batches as it likes
    generate, llama, _ = reinforcement.peers(job(1, 1, source="m.gguf"))
    assert settings(generate) == ["fp32, 1 at once", "bf16 weights, 1 at once"]
    assert settings(llama) == ["bf16 weights, 1 at once"]


def test_ours_alone_on_a_small_model(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--batch", "16", "--new-tokens", "4", "--rounds", "1", "--no-peer", "--json"]
    assert code_of(["bench", "rl", "--model", str(tiny), *arguments]) == 0
    found = {row["work"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert list(found) == list(WORKS)
    assert [row["answers"] for row in found.values()] == [128, 1, 8, 8]
    for row in found.values():
        assert row["ours"] > 0
        assert row["peer"] is row["ratio"] is None
        assert 0 < row["floor_share"] < 1
        assert 0 < row["useful_tokens"] <= 4 * row["answers"]
    assert found["rollout"]["ours_loss"] is None
    for name in ("grpo-step", "ppo-step"):
        phases = found[name]["phases"]
        assert list(phases) == ["sample", "score", "reference", "measure", "learn"]
        assert all(phases[name] > 0 for name in ("sample", "reference", "learn"))
        assert sum(phases.values()) == pytest.approx(found[name]["seconds"], abs=0.01)


def test_unknown_work_is_said(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        contests(str(tiny), tmp_path, None, plan("rolout", peer=False), Silent())


def test_a_prompt_that_no_micro_batch_holds_with_its_answers_is_said_before_anything_runs(tiny: Path) -> None:
    with pytest.raises(DataError, match="Raise micro_tokens"):
        contests(str(tiny), tiny, None, Plan("ppo-step", 16, 1, 256, 64, 16, False), Silent())


@pytest.mark.proof
@pytest.mark.skipif(find_spec("trl") is None, reason="TRL is what is compared with: pip install 'burnish[bench]'")
@pytest.mark.parametrize("work", WORKS)
def test_others_do_the_same_work(tiny: Path, tmp_path: Path, work: str) -> None:
    """Losses are not compared: each side has sampled answers of its own, and they begin at nothing."""
    (row,) = compare("bench", contests(str(tiny), tmp_path, None, plan(work, peer=True), Silent()), 1, Silent())
    found = row.as_json()
    assert found["ratio"] > 0
    assert found["peer_name"] == {"grpo-step": "trl", "ppo-step": "grpo"}.get(work, "generate")
    assert found["peer_setting"] in found["peer_tried"]
