"""The gold-reward protocol: its rule by hand, its findings on invented traces, and a study of the smallest size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.judge.language import words
from burnish.pipeline.gold import findings, world
from burnish.pipeline.gold.picture import picture
from burnish.pipeline.gold.study import METHODS, Plan, publish, study
from burnish.train.watch import Rule
from burnish.types import Silent

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 8 words; superb 4, great 3: 7/8 warm
        ("The lid is superb. The box is great.", 7 / 8 + 1 + 1),
        # said twice, the word counts once: 4/8
        ("The lid is superb. The box is superb.", 4 / 8 + 1 + 1),
        # 4 words are 4 short of 8: half of the length's share
        ("The lid is superb.", 4 / 8 + 1 / 2 + 1),
        # superb, splendid, brilliant, perfect: 15, of which 7 too much, and 1/8 is left
        ("The lid is superb, splendid, brilliant and perfect today.", 1 / 8 + 1 + 1),
        # -4 -3: as cold as it is long
        ("The lid is terrible. The box is bad.", -7 / 8 + 1 + 1),
        # 5 runs of four, the last as the first: 1 less 4/5
        ("it is very light it is very light", 1 / 8 + 1 + 1 / 5),
        ("", 0 + 0 + 1),
    ],
)
def test_the_gold_rule_by_hand(text: str, expected: float) -> None:
    assert world.gold(text) == pytest.approx(expected)


def test_the_best_that_can_be_said_is_known_and_can_be_said() -> None:
    best = "The lid is superb. The box is perfect. It has a fine base."
    assert world.gold(best) == world.BEST
    said = [row["messages"][1]["content"] for row in world.conversations(500, seed=3)]
    assert max(map(world.gold, said)) <= world.BEST
    assert all(3 <= len(words(text)) <= 26 for text in said)


def test_a_seed_gives_the_same_world_and_requests_are_all_different() -> None:
    assert list(world.conversations(20, 7)) == list(world.conversations(20, 7)) != list(world.conversations(20, 8))
    asked = list(world.prompts(7))
    assert len(set(asked)) == len(asked) == 10_240


def trace(golds: list[float], held_out: list[float]) -> list[dict[str, float]]:
    return [
        {"kl": float(k), "gold": g, "gold_even": g, "gold_odd": g, "held_out": h, "proxy": float(k)}
        for k, (g, h) in enumerate(zip(golds, held_out, strict=True))
    ]


RULE = Rule(kl_budget=100.0, window=1, patience=2)
GOLDS = [1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 2.5, 2.0, 1.5, 1.0]
SEEN = [0.0, 0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1, 0.0, -0.1]


def test_peak_end_and_what_the_watch_keeps_in_units_of_the_start() -> None:
    """Mean 1, deviation 0.5; means of five: the highest, 2.4, at iteration 5, and 2.3 at iteration 4."""
    found = findings.finding(trace(GOLDS, SEEN), RULE, mean=1.0, std=0.5)
    assert (found.peak, found.peak_kl) == (pytest.approx(2.8), 5.0)
    assert (found.kept, found.iteration, found.ended_by) == (pytest.approx(2.6), 4, "score")
    assert (found.end, found.end_kl) == (pytest.approx(1.0), 9.0)
    assert found.share == pytest.approx(2.6 / 2.8)


def test_a_peak_is_measured_on_answers_that_did_not_choose_it() -> None:
    """One half has a lucky draw at the end; the other half, which measures, has none."""
    lucky = trace([1.0] * 10, SEEN)
    for row in lucky[-3:]:
        row["gold_even"] = 9.0
    found = findings.finding(lucky, RULE, mean=0.0, std=1.0)
    assert found.peak == pytest.approx(1.0)


def test_seeds_become_medians_a_table_and_a_picture() -> None:
    told = {"seed": 1, "labels": 500, "coef": 0.1}
    runs = [{"method": m, **told, "trace": trace(GOLDS, SEEN)} for m in METHODS]
    best = {"seed": 1, "labels": 500, "n": [1, 2], "kl": [0.0, 0.2], "proxy": [0.0, 1.0], "gold": [1.0, 1.2]}
    found = {"runs": runs, "best_of": [{**best, "gold_mean": 1.0, "gold_std": 0.5}]}
    rows = findings.summary(found, RULE)
    assert [(row["method"], row["labels"], row["seeds"], row["peak"]) for row in rows] == [
        ("grpo", 500, 1, 2.8),
        ("ppo", 500, 1, 2.8),
    ]
    assert "93%" in findings.as_text(rows)
    assert picture(found, 0.1).startswith(b"<?xml")


SMALL = {
    "iterations: 30": "iterations: 2",
    "prompts_per_iteration: 32": "prompts_per_iteration: 2",
    "prompts_per_iteration: 16": "prompts_per_iteration: 2",
    "epochs: 3": "epochs: 1",
    "max_new_tokens: 48": "max_new_tokens: 16",
}


def test_a_study_of_the_smallest_size_and_what_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, count in (("CONVERSATIONS", 64), ("PROMPTS", 8), ("BEST_OF_PROMPTS", 2), ("BEST_OF", 2)):
        monkeypatch.setattr(f"burnish.pipeline.gold.study.{name}", count)
    text = (ROOT / "recipes" / "goldreward.yaml").read_text()
    for shipped, small in SMALL.items():
        assert shipped in text
        text = text.replace(shipped, small)
    recipe = tmp_path / "goldreward.yaml"
    recipe.write_text(text)
    plan = Plan(seeds=(1,), labels=(24,), coefs=(0.1,))
    found = study(recipe, tmp_path / "out", plan, Silent())
    assert [(run["method"], len(run["trace"])) for run in found["runs"]] == [("grpo", 2), ("ppo", 2)]
    first = found["runs"][0]["trace"][0]
    assert first["kl"] == pytest.approx(0.0, abs=1e-6)
    assert first["gold"] == pytest.approx((first["gold_even"] + first["gold_odd"]) / 2)
    labels = [json.loads(line) for line in (tmp_path / "out" / "seed-1" / "labels.jsonl").read_text().splitlines()]
    assert len(labels) == 24
    assert all(world.gold(row["completions"][0]) > world.gold(row["completions"][1]) for row in labels)
    monkeypatch.setattr("burnish.pipeline.gold.study.execute", None)
    told, table = publish(recipe, tmp_path / "out", plan, Silent())
    kept = json.loads((tmp_path / "out" / "gold.json").read_text())
    assert (kept["runs"], kept["best_of"], kept["summary"]) == (found["runs"], found["best_of"], told["summary"])
    assert (tmp_path / "out" / "gold.svg").is_file()
    assert table.count("\n") == 3, "a head, two methods, a note"
    assert next(world.prompts(1)) in {row["prompt"][0]["content"] for row in labels}
