"""A stage by its own verb: the same run folder as a recipe's, from options."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tiny import burnish, project, said

SMALL = ("batch_size=8", "max_length=1024", "micro_tokens=4096")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project(tmp_path_factory.mktemp("alone"), cases=4)
    rows = [
        {"prompt": f"Where is order {n}?", "chosen": f"Order {n} left us today.", "rejected": "No idea."}
        for n in range(12)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def small(stage: str) -> list[str]:
    return [word for setting in SMALL for word in ("--set", f"{stage}.{setting}")]


def test_sft_alone_continues_and_does_nothing_twice(place: Path) -> None:
    command = ("sft", "--model", place / "model", "--data", place / "conversations.jsonl", "--out", place / "tuned")
    first = burnish(*command, *small("sft"), "--json")
    assert first.returncode == 0, first.stderr
    assert said(first)["stages"]["sft"]["ran"] is True
    assert (place / "tuned" / "sft" / "model" / "model.safetensors").is_file()
    assert (place / "tuned" / "report.html").is_file()
    again = burnish(*command, *small("sft"), "--json")
    assert said(again)["stages"]["sft"]["ran"] is False
    [stage] = said(burnish("status", place / "tuned", "--json"))["stages"]
    assert (stage["stage"], stage["state"]) == ("sft", "done")


def test_a_reward_model_alone_is_measured(place: Path) -> None:
    command = ("reward", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "scored")
    found = burnish(*command, *small("reward"), "--set", "reward.folds=2", "--json")
    assert found.returncode == 0, found.stderr
    assert {"accuracy", "length_rule", "shuffled"} <= said(found)["stages"]["reward"]["facts"].keys()


def test_dpo_alone_starts_at_ln_2(place: Path) -> None:
    command = ("dpo", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "preferred")
    found = burnish(*command, *small("dpo"), "--set", "dpo.lora={}", "--json")
    assert found.returncode == 0, found.stderr
    assert said(found)["stages"]["dpo"]["facts"]["loss_first"] == pytest.approx(math.log(2), abs=1e-2)
    assert (place / "preferred" / "dpo" / "adapter" / "adapter_model.safetensors").is_file()


def labels(place: Path, *said: object) -> Path:
    """A file of answers with these labels; None: without one."""
    rows = [
        {"prompt": f"Where is order {n}?", "completion": ("It left us today.", "No idea.")[n % 2], "label": label}
        for n, label in enumerate(said)
    ]
    kept = [{name: value for name, value in row.items() if value is not None} for row in rows]
    (place / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    return place / "labels.jsonl"


def test_kto_alone_starts_at_a_half_and_learns(place: Path) -> None:
    data = labels(place, *[True, False] * 8)
    command = ("kto", "--model", place / "model", "--data", data, "--out", place / "labelled", *small("kto"))
    found = burnish(*command, "--set", "kto.lr=1e-3", "--set", "kto.epochs=4", "--set", "kto.eval_every=2", "--json")
    assert found.returncode == 0, found.stderr
    facts = said(found)["stages"]["kto"]["facts"]
    assert facts["loss_first"] == pytest.approx(0.5, abs=1e-2)
    assert facts["loss_last"] < 0.5
    assert facts["prompts"] + facts["raised"]["n"] + facts["lowered"]["n"] == 14  # of 16; two are evaluated on
    assert facts["raised"]["value"] > 0.5 < facts["lowered"]["value"]
    assert facts["eval_loss"] < 0.5
    assert (place / "labelled" / "kto" / "model" / "model.safetensors").is_file()
    again = burnish(*command, "--set", "kto.lr=1e-3", "--set", "kto.epochs=4", "--set", "kto.eval_every=2", "--json")
    assert said(again)["stages"]["kto"]["ran"] is False


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((True, None, False), 'labels.jsonl:2:1: "label" is missing'),
        ((True, False, "true"), 'labels.jsonl:3:68: "label" is text; true (good) or false (bad) is wanted'),
        ((True, False, 1), '"label" is a number'),
        ((False, False, False), "labels.jsonl:1:68: the label is false, and so it is in all 3 rows"),
    ],
)
def test_bad_labels_are_refused_before_anything_is_written(place: Path, given: tuple[object, ...], says: str) -> None:
    found = burnish("kto", "--model", place / "model", "--data", labels(place, *given), "--out", place / "bad")
    assert found.returncode == 2
    assert says in found.stderr
    assert not (place / "bad").exists()


def test_orpo_is_dpo_with_another_loss(place: Path) -> None:
    command = ("orpo", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "odds")
    found = burnish(*command, *small("dpo"), "--json")
    assert found.returncode == 0, found.stderr
    assert said(found)["stages"]["dpo"]["facts"]["loss"] == "orpo"


def test_grpo_alone_learns_its_reward_first(place: Path) -> None:
    command = ("grpo", "--model", place / "model", "--data", place / "prompts.jsonl", "--out", place / "grown")
    without = burnish(*command)
    assert without.returncode == 2
    assert "grpo needs a reward section" in without.stderr
    settings = ("iterations=2", "prompts_per_iteration=3", "num_generations=2", "max_new_tokens=8", "micro_tokens=4096")
    words = [word for setting in settings for word in ("--set", f"grpo.{setting}")]
    pairs = ("--set", f"reward.rankings={place / 'pairs.jsonl'}")
    found = burnish(*command, *pairs, *small("reward"), *words, "--json")
    assert found.returncode == 0, found.stderr
    facts = said(found)["stages"]["grpo"]["facts"]
    assert (facts["episodes"], facts["loss"], facts["kl_start"]) == (12, "grpo", 0.0)
    rows = [json.loads(line) for line in (place / "grown" / "grpo" / "metrics.jsonl").read_text().splitlines()]
    assert [row["val/ratio"] for row in rows] == [1.0, 1.0]
    assert all("reward/model" in row for row in rows)
    assert len((place / "grown" / "grpo" / "samples.jsonl").read_text().splitlines()) == 12


BREVITY = "def brevity(completions, **_):\n    return [-len(said[0]['content']) for said in completions]\n"


def test_grpo_is_paid_by_rules_and_a_function_and_needs_nobody(place: Path) -> None:
    rows = [{"question": f"{n} + 1?", "answer": n + 1} for n in range(6)]
    (place / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    function = place / "mine.py"
    function.write_text(BREVITY)
    brevity = f"{{python: {{file: {function}, function: brevity}}, weight: 0.01}}"
    settings = (
        *("iterations=2", "prompts_per_iteration=3", "num_generations=2", "max_new_tokens=8", "micro_tokens=4096"),
        *("prompt_column=question", f"rewards=[{{exact: {{compare: last_number}}}}, {brevity}]"),
    )
    command = ("grpo", "--model", place / "model", "--data", place / "sums.jsonl", "--out", place / "counted")
    words = [word for setting in settings for word in ("--set", f"grpo.{setting}")]
    found = burnish(*command, *words, "--json")
    assert found.returncode == 0, found.stderr
    samples = [json.loads(line) for line in (place / "counted" / "grpo" / "samples.jsonl").read_text().splitlines()]
    for each in samples:
        parts, cut = each["parts"], each["stop"] == "length"
        assert parts["brevity"] == -len(each["text"])
        assert each["score"] == pytest.approx(parts["exact"] + 0.01 * parts["brevity"] - cut)
    function.write_text(BREVITY.replace("in completions", "in completions[1:]"))
    again = burnish(*command, *words)
    assert again.returncode == 2
    assert "mine.py: brevity: gave 5 numbers for 6 answers" in again.stderr


def test_problems_name_the_option(place: Path) -> None:
    found = burnish("sft", "--model", place / "model", "--data", place / "none.jsonl", "--out", place / "x")
    assert found.returncode == 2
    assert found.stderr.startswith("--data: ")
    assert "does not exist" in found.stderr
    assert not (place / "x").exists()
    named = burnish("sft", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "a b")
    assert named.returncode == 2
    assert "--out" in named.stderr
