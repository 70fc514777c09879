"""A stage by its own verb: the same run folder as a recipe's, from options."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import burnish, project, said

from burnish.models.tiny import write_tiny
from burnish.records.durable import MANIFEST

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
    model = place / "tuned" / "sft" / "model"
    told = burnish(*command, *small("sft")).stdout.splitlines()
    assert told[-2:] == [f"Model:   {model}", f"Talk to it: burnish chat {model}"]
    [stage] = said(burnish("status", place / "tuned", "--json"))["stages"]
    assert (stage["stage"], stage["state"]) == ("sft", "done")


def test_a_reward_model_alone_is_measured(place: Path) -> None:
    command = ("reward", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "scored")
    found = burnish(*command, *small("reward"), "--set", "reward.folds=2", "--json")
    assert found.returncode == 0, found.stderr
    assert {"accuracy", "length_rule", "shuffled"} <= said(found)["stages"]["reward"]["facts"].keys()
    best = place / "best.jsonl"
    asked = ("--prompts", place / "prompts.jsonl", "--reward", place / "scored", "--n", "3", "--max-new-tokens", "4")
    chosen = burnish("best-of-n", place / "model", *asked, "--out", best, "--json")
    assert chosen.returncode == 0, chosen.stderr
    sizes = said(chosen)["sizes"]
    assert sizes[0]["score"]["value"] < sizes[2]["score"]["value"]
    rows = [json.loads(line) for line in best.read_text().splitlines()]
    assert (len(rows), said(chosen)["rows"]) == (16, 16)
    assert all(row["score"] == max(answer["score"] for answer in row["answers"]) for row in rows)


def test_a_reward_model_of_trees_by_another_loss_is_measured_in_folds(place: Path) -> None:
    def said_in(n: int, lang: str) -> dict[str, object]:
        replies = [
            {"text": text, "role": "assistant", "rank": rank, "replies": []}
            for rank, text in enumerate((f"Order {n} left us today. It will be there soon.", "No idea.", "Ask later."))
        ]
        prompt = {"text": f"Where is order {n}?", "role": "prompter", "lang": lang, "replies": replies}
        return {"message_tree_id": f"{n}", "prompt": prompt}

    rows = [said_in(n, "en") for n in range(14)] + [said_in(n, "de") for n in range(14, 20)]
    (place / "trees.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("reward", "--model", place / "model", "--data", place / "trees.jsonl", "--out", place / "trees")
    settings = (
        "folds=2",
        "held_out=0.1",
        "loss=bradley_terry",
        "ties=half",
        "lapse=0.1",
        "margin=0.3",
        "centring=0.01",
    )
    words = [word for each in (*settings, "where={lang: [en]}") for word in ("--set", f"reward.{each}")]
    found = burnish(*command, *small("reward"), *words, "--json")
    assert found.returncode == 0, found.stderr
    facts = said(found)["stages"]["reward"]["facts"]
    assert facts["train_prompts"] <= 14
    assert facts["accuracy"]["n"] == facts["calibration"]["brier"]["n"] == facts["train_prompts"]
    assert {each["probe"] for each in facts["probes"]} == {"length", "flattery", "format", "repetition"}
    assert "annotators" not in facts
    assert "What its chances are worth" in (place / "trees" / "report.html").read_text()


def test_rankings_that_leave_nothing_to_measure_on_are_refused(place: Path) -> None:
    rows = [{"prompt": "Where is it?", "chosen": f"Here, {n}.", "rejected": "No idea."} for n in range(4)]
    (place / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("reward", "--model", place / "model", "--data", place / "one.jsonl", "--out", place / "nothing")
    found = burnish(*command, *small("reward"), "--set", "reward.folds=2", "--set", "reward.held_out=0.1")
    assert found.returncode == 2
    assert "of 2 folds hold a prompt with two answers in order" in found.stderr


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


def test_ppo_alone_with_an_adapted_critic_of_its_own_survives_a_kill(place: Path) -> None:
    """The first run is left alone. The second is killed once its policy has a checkpoint; it goes on in less memory."""
    whole, killed = place / "reinforced", place / "killed"
    command = ("ppo", "--model", place / "model", "--data", place / "prompts.jsonl")
    without = burnish(*command, "--out", whole)
    assert without.returncode == 2
    assert "ppo needs a reward section" in without.stderr
    settings = (
        *("critic=reward", "lora={rank: 4, alpha: 8}", "iterations=6", "prompts_per_iteration=3", "minibatches=1"),
        *("samples_per_prompt=2", "max_new_tokens=8", "lr=1e-3", "micro_tokens=4096", "save_every=1"),
    )
    words = [word for setting in settings for word in ("--set", f"ppo.{setting}")]
    words += ["--set", f"reward.rankings={place / 'pairs.jsonl'}", *small("reward")]
    found = burnish(*command, "--out", whole, *words, "--json")
    assert found.returncode == 0, found.stderr
    facts = said(found)["stages"]["ppo"]["facts"]
    assert (facts["episodes"], facts["kl_start"]) == (36, 0.0)
    assert not (whole / "ppo" / "model" / "heads.safetensors").exists()
    line = [sys.executable, "-m", "burnish", *map(str, (*command, "--out", killed, *words))]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet) as working:
        while working.poll() is None and not [*(killed / "ppo").glob("checkpoints/[!.]*")]:
            time.sleep(0.0005)
        working.kill()
    assert not (killed / "ppo" / "model").exists(), "killed too late"
    again = burnish(*command, "--out", killed, *words, "--set", "gradient_checkpointing=true", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads((killed / "ppo" / "stage.json").read_text())["resumed"]
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors", "samples.jsonl"):
        assert (killed / "ppo" / name).read_bytes() == (whole / "ppo" / name).read_bytes(), name
    losses = [
        [json.loads(line)["loss/value_avg"] for line in (run / "ppo" / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, killed)
    ]
    assert losses[0] == losses[1]


def test_all_answers_are_counted_that_dynamic_sampling_asked_for(place: Path) -> None:
    """No answer is ever right, so that each of two iterations asks for its three prompts four times, for two answers
    each: 48, not 12."""
    command = ("grpo", "--model", place / "model", "--data", place / "prompts.jsonl", "--out", place / "dynamic")
    settings = (
        "loss=dapo",
        "rewards=[{regex: {pattern: (?!)}}]",
        "iterations=2",
        "prompts_per_iteration=3",
        "num_generations=2",
        "max_new_tokens=8",
        "missing_eos_penalty=0",
        "micro_tokens=4096",
    )
    found = burnish(*command, *(word for one in settings for word in ("--set", f"grpo.{one}")), "--json")
    assert found.returncode == 0, found.stderr
    assert said(found)["stages"]["grpo"]["facts"]["episodes"] == 2 * 4 * 3 * 2


def test_distillation_comes_nearer_to_its_teacher(place: Path) -> None:
    command = ("distill", "--model", place / "model", "--data", place / "prompts.jsonl", "--out", place / "taught")
    settings = (
        f"teacher={place / 'teacher'}",
        "iterations=8",
        "prompts_per_iteration=4",
        "max_new_tokens=8",
        "lr=3e-3",
    )
    found = burnish(*command, *(word for one in settings for word in ("--set", f"distill.{one}")), "--json")
    assert found.returncode == 0, found.stderr
    facts = said(found)["stages"]["distill"]["facts"]
    assert facts["episodes"] == 32
    assert "reward_start" not in facts
    assert 0 < facts["divergence_end"] < 0.9 * facts["divergence_start"]


def test_a_teacher_that_reads_other_ids_is_refused(place: Path) -> None:
    write_tiny(place / "stranger")
    vocabulary = json.loads((place / "stranger" / "tokenizer.json").read_text())
    swapped = vocabulary["model"]["vocab"]
    swapped["a"], swapped["b"] = swapped["b"], swapped["a"]
    (place / "stranger" / "tokenizer.json").write_text(json.dumps(vocabulary))
    (place / "stranger" / MANIFEST).unlink()
    command = ("distill", "--model", place / "model", "--data", place / "prompts.jsonl", "--out", place / "estranged")
    found = burnish(*command, "--set", f"distill.teacher={place / 'stranger'}")
    assert found.returncode == 2
    assert "distill.teacher: " in found.stderr
    assert "has another tokenizer than" in found.stderr
    assert "4 entries differ" in found.stderr


def test_rft_and_online_dpo_learn_from_fresh_answers(place: Path) -> None:
    command = ("rft", "--model", place / "model", "--data", place / "prompts.jsonl", "--out", place / "fresh")
    few = ("iterations=2", "prompts_per_iteration=3", "max_new_tokens=8", "micro_tokens=4096", "num_generations=3")
    words = [word for stage in ("rft", "online_dpo") for one in few for word in ("--set", f"{stage}.{one}")]
    pairs = (
        "--set",
        f"reward.rankings={place / 'pairs.jsonl'}",
        "--set",
        f"online_dpo.prompts={place / 'prompts.jsonl'}",
    )
    found = burnish(*command, *pairs, *small("reward"), *words, "--json")
    assert found.returncode == 0, found.stderr
    stages = said(found)["stages"]
    assert {"episodes": 18, "chosen": 6}.items() <= stages["rft"]["facts"].items()
    facts = stages["online_dpo"]["facts"]
    assert (facts["episodes"], facts["loss"], facts["beta"]) == (18, "dpo", 0.1)
    assert facts["kl_start"] == pytest.approx(0.0, abs=2e-2)  # of bfloat16
    rows = [json.loads(line) for line in (place / "fresh" / "online_dpo" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-2)


BREVITY = "def brevity(completions, **_):\n    return [-len(said) for said in completions]\n"


def test_grpo_is_paid_by_rules_and_a_function_and_needs_nobody(place: Path) -> None:
    rows = [{"question": f"{n} + 1?", "answer": n + 1} for n in range(6)]
    (place / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "mine.py").write_text(BREVITY)
    brevity = f"{{python: {{file: {place / 'mine.py'}, function: brevity}}, weight: 0.01}}"
    settings = (
        *("iterations=2", "prompts_per_iteration=3", "num_generations=2", "max_new_tokens=8", "micro_tokens=4096"),
        *("prompt_column=question", f"rewards=[{{exact: {{compare: last_number}}}}, {brevity}]"),
    )
    measured = (
        f"cases=[{place / 'sums.jsonl'}]",
        "prompt_column=question",
        "rewards=[{exact: {compare: last_number}}, {length: {most: 3}}]",
    )
    command = ("grpo", "--model", place / "model", "--data", place / "sums.jsonl", "--out", place / "counted")
    words = [word for setting in settings for word in ("--set", f"grpo.{setting}")]
    words += [word for setting in measured for word in ("--set", f"evaluate.{setting}")]
    found = burnish(*command, *words, "--json")
    assert found.returncode == 0, found.stderr
    assert said(found)["stages"]["grpo"]["facts"]["paid_by"] == "1 × exact, 0.01 × brevity, -1 where the budget cut"
    samples = [json.loads(line) for line in (place / "counted" / "grpo" / "samples.jsonl").read_text().splitlines()]
    for each in samples:
        parts, cut = each["parts"], each["stop"] == "length"
        assert parts["brevity"] == -len(each["text"])
        assert each["score"] == pytest.approx(parts["exact"] + 0.01 * parts["brevity"] - cut)
    suites = json.loads((place / "counted" / "evaluate" / "evaluation.json").read_text())["suites"]
    assert suites["exact"]["unit"] == "share"
    assert suites["length"]["figures"].keys() >= {"base", "grpo", "grpo-base"}
    added = suites["exact"]["figures"]["grpo"]["value"] + suites["length"]["figures"]["grpo"]["value"]
    assert suites["reward"]["figures"]["grpo"]["value"] == pytest.approx(added)


def test_a_prompt_that_leaves_no_room_for_answers_is_named_at_once(place: Path) -> None:
    """Though the only iteration does not come to it."""
    rows = [{"prompt": "a" * length} for length in (4, 5, 6, 2040, 7, 8)]
    (place / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ("iterations=1", "prompts_per_iteration=1", "num_generations=2", "max_new_tokens=8", "micro_tokens=4096")
    words = [word for setting in (*settings, "rewards=[{length: {most: 3}}]") for word in ("--set", f"grpo.{setting}")]
    command = ("grpo", "--model", place / "model", "--data", place / "long.jsonl", "--out", place / "long")
    found = burnish(*command, *words)
    assert found.returncode == 2
    assert "long.jsonl:4" in found.stderr
    assert "the model's context is 2048. Set max_new_tokens lower, or leave the prompt out." in found.stderr
    assert not (place / "long" / "grpo" / "samples.jsonl").exists()


def test_problems_name_the_option(place: Path) -> None:
    found = burnish("sft", "--model", place / "model", "--data", place / "none.jsonl", "--out", place / "x")
    assert found.returncode == 2
    assert found.stderr.startswith("--data: ")
    assert "does not exist" in found.stderr
    assert not (place / "x").exists()
    named = burnish("sft", "--model", place / "model", "--data", place / "pairs.jsonl", "--out", place / "a b")
    assert named.returncode == 2
    assert "--out" in named.stderr
