"""`burnish bench`: rows and useful tokens by hand, the turns of a side, and runs on a small model."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from burnish.__main__ import code_of
from burnish.chat.render import Renderer
from burnish.data.documents import ranked_document
from burnish.errors import ConfigError, DataError, MachineError, Problem
from burnish.models import arithmetic
from burnish.models.tiny import tiny_tokenizer, write_tiny
from burnish.proof.bench import training
from burnish.proof.bench.compare import Contest, Peer, Plan, compare
from burnish.proof.bench.items import items
from burnish.proof.bench.job import SEED, Item, Job, read_job, write_job
from burnish.proof.bench.report import Row, Run, as_text
from burnish.proof.bench.settings import AUTOCAST, FP32, Setting
from burnish.proof.bench.side import Killed, Side
from burnish.proof.bench.training import contests
from burnish.proof.bench.turns import Ended, Step, Turns, peak_mb
from burnish.proof.bench.works import WORKS
from burnish.proof.material import Rows
from burnish.train.feeds import DatasetFeed
from burnish.types import KernelName, Message, Prompt, Ranking, Silent

RENDERER = Renderer(tiny_tokenizer())


def item(row: str, ids: int, *branches: int) -> Item:
    """Of so many tokens; answers in their order."""
    answers = [[number] * count for number, count in enumerate(branches)]
    return Item(row=row, ids=[9] * ids, branches=answers, ranks=list(range(1, len(answers) + 1)))


def ranking(name: str, *answers: str) -> Ranking:
    prompt = Prompt(id=name, messages=(Message(role="user", content=name),))
    return Ranking(prompt=prompt, completions=answers, ranks=tuple(range(1, len(answers) + 1)))


def plan(*works: str, peer: bool = False, max_length: int = 512) -> Plan:
    return Plan(",".join(works), 2, 1, max_length, 1024, 8, peer)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("bench") / "tiny")


def test_a_prompt_counts_for_each_of_its_answers() -> None:
    """(5 + 2) + (5 + 3), and 7 of a conversation: the order of a single step's rows does not matter."""
    job = Job(work="dpo", model="", steps=1, per_step=2, micro_tokens=64, items=[item("a", 5, 2, 3), item("b", 7)])
    assert job.useful(0) == 15 + 7


def test_a_ranking_is_six_pairs_to_a_trainer_of_pairs() -> None:
    found = Item(row="", ids=[9], branches=[[10], [11], [12], [13]], ranks=[3, 1, 4, 2]).pairs()
    assert found == [([11], [13]), ([11], [10]), ([11], [12]), ([13], [10]), ([13], [12]), ([10], [12])]
    assert Item(row="", ids=[9], branches=[[10], [11]], ranks=[1, 1]).pairs() == []


def test_labels_are_what_is_learned() -> None:
    assert Item(row="", ids=[4, 5, 6], weights=[0.0, 0.0, 1.0], branches=[], ranks=[]).labels == [-100, -100, 6]


def test_four_answers_are_two_and_those_of_the_next_row_by_length() -> None:
    """Lengths of answers 2, 8 and 5: after the first comes the third, after that the second, then the first again."""
    rows = [ranking("one", "a", "b"), ranking("two", "cccc", "dddd"), ranking("three", "ee", "middle", "fff")]
    found = items(Rows(examples=[], rankings=rows), RENDERER, 4, 3, 100)
    said = [("a", "b", "ee", "fff"), ("cccc", "dddd", "a", "b"), ("ee", "fff", "cccc", "dddd")]
    for each, row, answers in zip(found, rows, said, strict=True):
        document = ranked_document(RENDERER, ranking(row.prompt.id, *answers))
        assert each.branches == document.branches
        assert each.ids == document.ids
        assert each.ranks == [1, 2, 3, 4]


def test_few_rows_come_again_under_other_names_and_long_ones_do_not_come() -> None:
    rows = Rows(examples=[], rankings=[ranking("one", "a", "b"), ranking("two", "c", "d" * 200)])
    found = items(rows, RENDERER, 2, 3, 100)
    assert [each.row for each in found] == ["one#0", "one#1", "one#2"]
    with pytest.raises(DataError, match="Give --max-length"):
        items(rows, RENDERER, 2, 3, 8)


def test_rows_come_in_the_order_of_our_feed(tmp_path: Path) -> None:
    """Else the two sides would not learn from the same rows at the same step."""
    given = [item(str(number), 3, 1, 1) for number in range(6)]
    write_job(tmp_path / "job.json", Job(work="dpo", model="m", steps=3, per_step=2, micro_tokens=64, items=given))
    job = read_job(tmp_path / "job.json")
    assert job.items == given
    feed = DatasetFeed([each.document for each in given], per_step=2, micro_tokens=64, seed=SEED)
    orders = [[each.row for each in job.rows(step)] for step in range(3)]
    for step, rows in enumerate(orders):
        assert sorted(name for batch in feed.next(step).batches for name in batch.rows) == sorted(rows)
    assert sorted(row for rows in orders for row in rows) == [str(number) for number in range(6)]


def test_a_side_steps_when_it_is_told() -> None:
    tells = io.StringIO()
    turns = Turns(io.StringIO("step\nstep\nend\n"), tells)
    turns.ready()
    made = Step(seconds=0.5, tokens=8, loss=1.25), Step(seconds=0.25, tokens=6, phases={"sample": 0.125})
    turns.done(made[0])
    with pytest.raises(Ended):
        turns.done(made[1])
    ready, *lines = [json.loads(line) for line in tells.getvalue().splitlines()]
    assert ready == {"ready": True}
    assert [Step(**line) for line in lines] == list(made)
    assert [step.rate for step in made] == [16, 24]
    with pytest.raises(SystemExit):
        Turns(io.StringIO(), tells).ready()


def test_the_peak_is_this_processes_own() -> None:
    assert 10 < peak_mb() < 1e6


def test_settings_are_told_by_name() -> None:
    for setting in (Setting(AUTOCAST), Setting(AUTOCAST, packed=True), Setting(FP32, batch=32)):
        assert Setting.named(str(setting)) == setting


def run(rates: Sequence[float], peak: float, loss: float) -> Run:
    steps = [Step(seconds=1 / rate, tokens=1, loss=loss, phases={"learn": 1 / rate}) for rate in rates]
    return Run(steps=steps, peak_mb=peak, setting="fp32", tried={"fp32": rates[0]})


def test_ratios_are_of_steps_side_by_side() -> None:
    """100/50, 300/60 and 90/30: 2, 5 and 3, of which the middle is 3, and not that of the medians, 100/50."""
    row = Row(
        work="sft",
        says="fine-tuning",
        ours=run([100, 300, 90], 700, 1.5),
        peers={"trl": run([50, 60, 30], 900, 1.6), "plain": run([25, 60, 45], 800, 1.7)},
        floor_shares=[0.5, 0.7, 0.6],
        machine={"gflops": 800},
        step={"rows": 8},
    )
    found = row.as_json()
    assert {"work", "ours", "peer", "ratio", "floor_share", "peak_mb"} <= found.keys()
    assert (found["ours"], found["peer"], found["ratio"], found["ratios"]) == (100, 50, 3, [2, 5, 3])
    assert (found["floor_share"], found["peak_mb"], found["peer_peak_mb"]) == (0.6, 700, 900)
    assert (found["ours_loss"], found["peer_loss"], found["vs_plain"]) == (1.5, 1.6, 4)
    assert found["phases"] == {"learn": 0.01}
    text = as_text([row], "a model")
    assert "3.00x" in text
    assert "2.00-5.00" in text
    assert "against plain (fp32): 4.00x (2.00-5.00) of 45" in text
    assert "fine-tuning, seconds of its parts: learn 0.01" in text


def test_ours_alone_on_a_small_model(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    arguments = ["--works", "dpo,reward-k4", "--batch", "2", "--rounds", "2", "--no-peer", "--json", "--out", str(out)]
    assert code_of(["bench", "train", "--model", str(tiny), *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == found
    assert [row["work"] for row in found["rows"]] == ["dpo", "reward-k4"]
    assert [row["rows"] for row in found["rows"]] == [2, 1]
    for row in found["rows"]:
        assert row["ours"] > 0
        assert row["peer"] is row["ratio"] is None
        assert 0 < row["floor_share"] < 1
        assert row["peak_mb"] > 100
        assert row["kernels"] == "torch"
        assert len(row["ours_each"]) == len(row["floor_shares"]) == 2
        assert math.isfinite(row["ours_loss"])
    assert found["rows"][0]["ours_loss"] == pytest.approx(math.log(2), abs=0.05)


def test_our_side_is_told_its_kernels(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Plan("sft", 2, 1, 512, 1024, 8, False, "compiled")
    (contest,) = contests(str(tiny), tmp_path, None, given, Silent())
    write_job(tmp_path / "job.json", contest.job)
    assert read_job(tmp_path / "job.json").kernels == "compiled"
    (row,) = acted(monkeypatch, kernels="compiled", slow=4.0)
    assert row.as_json()["kernels"] == "compiled"
    assert "tuning: ours by compiled kernels" in as_text([row], "a model")
    monkeypatch.setattr(arithmetic, "refusal", lambda place: "no g++")
    assert code_of(["bench", "train", "--model", str(tiny), "--no-peer", "--kernels", "compiled"]) == 3
    assert "kernels: compiled, which needs" in capsys.readouterr().err


def test_what_cannot_be_timed_is_said(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        contests(str(tiny), tmp_path, None, plan("rewards"), Silent())
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"pip install 'burnish\[bench\]'"):
        contests(str(tiny), tmp_path, None, plan("sft", peer=True), Silent())


def test_a_side_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    module = "burnish.proof.bench.ours"
    with (
        Side(module, [str(tmp_path / "missing.json")], tmp_path / "log") as side,
        pytest.raises(MachineError, match="FileNotFoundError"),
    ):
        side.ready()


class Acted:
    """A side that was told what each of its settings takes, in seconds; those that it was not told of are killed."""

    def __init__(self, module: str, arguments: list[str], log: Path, **seconds: float) -> None:
        self._seconds = {"": 1.0, **seconds}.get(arguments[2] if len(arguments) > 1 else "")
        self.made: list[Step] = []

    def __enter__(self) -> Acted:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ready(self) -> None:
        if self._seconds is None:
            raise Killed(Problem("peer", "killed by signal 9"))

    def step(self, patience: float | None = None) -> Step:
        assert self._seconds is not None
        if patience and self._seconds > patience:
            raise Killed(Problem("peer", "killed by signal 9"))
        self.made.append(Step(seconds=self._seconds, tokens=10))
        return self.made[-1]

    def end(self) -> dict[str, Any]:
        return {"peak_mb": 1.0, "floor_seconds": [0.5] * len(self.made), "gflops": 1.0, "gbytes": 1.0}


def acted(monkeypatch: pytest.MonkeyPatch, kernels: KernelName = "auto", **seconds: float) -> Iterator[Row]:
    given = [item("a", 5)] * 3
    job = Job(work="sft", model="", steps=3, per_step=1, micro_tokens=64, items=given, kernels=kernels)
    peer = Peer(name="other", program="peer", settings=["slow", "fast", "large"])
    contest = Contest(job=job, says="tuning", program="ours", peers=[peer], step={})
    monkeypatch.setattr("burnish.proof.bench.compare.Side", partial(Acted, **seconds))
    return compare("bench", [contest], 1, Silent())


def test_a_setting_for_which_memory_is_too_short_is_tried_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = (each.as_json() for each in acted(monkeypatch, slow=4.0, fast=2.0))
    assert row["peer_tried"] == {"slow": 2.5, "fast": 5.0, "large": None}
    assert (row["peer_setting"], row["ratio"]) == ("fast", 2.0)
    with pytest.raises(MachineError, match="in every setting"):
        next(acted(monkeypatch))


def test_a_setting_that_takes_many_times_as_long_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best takes 16 s, twice of which are 32: 31 s are a rate, 33 s are not."""
    (row,) = (each.as_json() for each in acted(monkeypatch, slow=16.0, fast=31.0, large=33.0))
    assert row["peer_tried"] == {"slow": 0.6, "fast": 0.3, "large": None}
    (row,) = (each.as_json() for each in acted(monkeypatch, slow=1.0, fast=19.0, large=21.0))
    assert row["peer_tried"] == {"slow": 10.0, "fast": 0.5, "large": None}


def test_a_side_is_ended_when_patience_is(tmp_path: Path) -> None:
    """It says that it is ready, hears what it is to do, and sleeps."""
    (tmp_path / "sleeper.py").write_text("import time\nprint('{}', flush=True)\ntime.sleep(60)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        with Side("sleeper", [], tmp_path / "log") as side:
            side.ready()
            with pytest.raises(Killed, match="signal 9"):
                side.step(patience=0.5)


@pytest.mark.proof
@pytest.mark.skipif(find_spec("trl") is None, reason="TRL is what is compared with: pip install 'burnish[bench]'")
@pytest.mark.parametrize("work", WORKS)
def test_trl_does_the_same_work(tiny: Path, tmp_path: Path, work: str) -> None:
    """On the same rows: both losses are of the same weights but for two small updates, in number formats that differ.
    Score heads are drawn anew by each side, so rewards agree in size alone."""
    (row,) = compare("bench", contests(str(tiny), tmp_path, None, plan(work, peer=True), Silent()), 1, Silent())
    found = row.as_json()
    assert found["ratio"] > 0
    assert found["peer_peak_mb"] > 100
    assert found["peer_setting"] in found["peer_tried"]
    assert len(found["peer_tried"]) == (4 if work.startswith("sft") else 3)
    assert found["peer_loss"] == pytest.approx(found["ours_loss"], rel=0.5 if "reward" in work else 0.02)
    assert ("vs_transformers" in found) == (work == "sft")
    if work == "sft":
        assert found["transformers_loss"] == pytest.approx(found["ours_loss"], rel=0.02)
