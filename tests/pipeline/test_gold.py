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
    """Both halves of the answers alike."""
    return [
        {"kl": float(k), "proxy": float(k)}
        | {f"{name}{half}": value for half in ("", "_even", "_odd") for name, value in (("gold", g), ("held_out", h))}
        for k, (g, h) in enumerate(zip(golds, held_out, strict=True))
    ]


RULE = Rule(kl_budget=100.0, window=1, patience=2)
GOLDS = [1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 2.5, 2.0, 1.5, 1.0]
SEEN = [0.0, 0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1, 0.0, -0.1]
PLAIN = findings.Start(mean=0.0, std=1.0, error=0.0)


def test_peak_end_and_what_the_watch_keeps_in_units_of_the_start() -> None:
    """Mean 1, deviation 0.5; means of five: the highest, 2.4, at iteration 5, and 2.3 at iteration 4."""
    found = findings.finding(trace(GOLDS, SEEN), RULE, findings.Start(mean=1.0, std=0.5, error=0.1))
    assert (found.peak, found.peak_kl) == (pytest.approx(2.8), 5.0)
    assert (found.kept, found.kept_kl, found.ended_by) == (pytest.approx(2.6), 4.0, "score")
    assert (found.end, found.end_kl) == (pytest.approx(1.0), 9.0)
    assert (found.share, found.end_share) == (pytest.approx(2.6 / 2.8), pytest.approx(1.0 / 2.8))
    assert found.error == pytest.approx(0.1 / 0.5), "halves that agree have no noise; the start's mean has"


def test_a_peak_is_measured_on_answers_that_did_not_choose_it() -> None:
    """One half has a lucky draw at the end; the other half, which measures, has none."""
    lucky = trace([1.0] * 10, SEEN)
    for row in lucky[-3:]:
        row["gold_even"] = 9.0
    assert findings.finding(lucky, RULE, PLAIN).peak == pytest.approx(1.0)


def test_what_the_watch_keeps_is_measured_on_answers_that_did_not_choose_it() -> None:
    """One half's answers are luckily good at the end, by gold and by the watcher. They choose the end, and the other
    half says 1 of it; the other half chooses iteration 4, where the lucky half says 1 as well."""
    lucky = trace([1.0] * 10, SEEN)
    for place, row in enumerate(lucky):
        row["held_out_even"] = float(place)
        if place >= 7:
            row["gold_even"], row["gold"] = 9.0, 5.0
    found = findings.finding(lucky, RULE, PLAIN)
    assert found.kept == pytest.approx(1.0)
    assert found.kept_kl == (9.0 + 4.0) / 2
    assert found.end == pytest.approx(5.0), "nothing chose the end"


def noisy(peak: float) -> list[dict[str, float]]:
    """Halves that differ by 2 at each iteration, either above in turn: each has the variance 2² / 2. Means of five have
    2/5, and that of two of them 1/5. A half's highest five are 1/5 above `peak`, and the other's 1/5 below it there."""
    found = trace([peak] * 10, SEEN)
    for place, row in enumerate(found):
        row["gold_even"] += 1 - 2 * (place % 2)
        row["gold_odd"] -= 1 - 2 * (place % 2)
    for row in found[:2] + found[-2:]:  # no peak at the ends, where fewer are averaged
        row["gold_even"] -= 9
        row["gold_odd"] -= 9
    return found


def test_the_error_of_a_peak_is_told_by_how_halves_differ() -> None:
    found = findings.finding(noisy(5.0), RULE, findings.Start(mean=0.0, std=1.0, error=0.2))
    assert found.error == pytest.approx((1 / 5 + 0.2**2) ** 0.5)
    assert found.peak == pytest.approx(5.0 - 1 / 5)
    assert findings.finding(noisy(1.2), RULE, PLAIN).counts, "1 is more than twice 0.45"


def test_a_peak_within_its_noise_has_no_share_and_is_counted() -> None:
    """Shares 2.4/2.8 at 500 labels; with 2,000 one peak of 0, one below it, and one of 0.8, which is less than twice
    its error of 0.45."""
    runs = [
        {"seed": 1, "method": "grpo", "coef": 0.0, "labels": labels, "trace": rows}
        for labels, rows in (
            (500, trace([each - 1 for each in GOLDS], SEEN)),
            (2000, trace([0.0] * 10, SEEN)),
            (2000, trace([-1.0] * 10, SEEN)),
            (2000, noisy(1.0)),
        )
    ]
    best = [{"seed": 1, "labels": n, "gold_mean": 0.0, "gold_std": 1.0, "gold_error": 0.0} for n in (500, 2000)]
    found = {"runs": runs, "best_of": best}
    few, many, every = findings.shares(found, RULE)
    # peak 1.4 and kept 1.3, as above in other units; the end 0.5
    assert few == {"labels": 500, "runs": 1, "counted": 1, "ended": 1, "share": 0.929, "end_share": 0.357}
    assert many == {"labels": 2000, "runs": 3, "counted": 0, "ended": 3, "share": None, "end_share": None}
    assert every == {"labels": None, "runs": 4, "counted": 1, "ended": 4, "share": 0.929, "end_share": 0.357}
    text = findings.as_text(findings.summary(found, RULE), [few, many, every])
    assert "2000 labels: 0 of 3 runs have such a peak; medians: kept by the watch -, at the end -" in text
    assert "all: 1 of 4 runs have such a peak; medians: kept by the watch 93%, at the end 36%" in text


def test_seeds_become_medians_a_table_and_a_picture() -> None:
    told = {"seed": 1, "labels": 500, "coef": 0.1}
    runs = [{"method": m, **told, "trace": trace(GOLDS, SEEN)} for m in METHODS]
    best = {"seed": 1, "labels": 500, "n": [1, 2], "kl": [0.0, 0.2], "proxy": [0.0, 1.0], "gold": [1.0, 1.2]}
    found = {"runs": runs, "best_of": [{**best, "gold_mean": 1.0, "gold_std": 0.5, "gold_error": 0.1}]}
    rows = findings.summary(found, RULE)
    assert [(row["method"], row["labels"], row["runs"], row["counted"], row["peak"]) for row in rows] == [
        ("grpo", 500, 1, 1, 2.8),
        ("ppo", 500, 1, 1, 2.8),
    ]
    assert "93%" in findings.as_text(rows, findings.shares(found, RULE))
    assert picture(found, 0.1).startswith(b"<?xml")


SMALL = {
    "iterations: 30": "iterations: 2",
    "prompts_per_iteration: 32": "prompts_per_iteration: 2",
    "prompts_per_iteration: 16": "prompts_per_iteration: 2",
    "epochs: 3": "epochs: 1",
    "max_new_tokens: 48": "max_new_tokens: 16",
}


class Counts(Silent):
    """How far each work had come when it was over, and of how much, by what it is called."""

    def __init__(self) -> None:
        self.under_way: list[tuple[str, int, int]] = []
        self.over: dict[str, tuple[int, int]] = {}

    def start(self, label: str, total: int) -> None:
        self.under_way.append((label, 0, total))

    def advance(self, done: int = 1, note: str = "") -> None:
        label, before, total = self.under_way.pop()
        self.under_way.append((label, before + done, total))

    def finish(self, note: str = "") -> None:
        label, done, total = self.under_way.pop()
        self.over[label] = (done, total)


def test_a_study_of_the_smallest_size_and_what_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, count in (("CONVERSATIONS", 64), ("PROMPTS", 8), ("CHUNK", 8), ("BEST_OF_PROMPTS", 2), ("BEST_OF", 2)):
        monkeypatch.setattr(f"burnish.pipeline.gold.study.{name}", count)
    text = (ROOT / "recipes" / "goldreward.yaml").read_text()
    for shipped, small in SMALL.items():
        assert shipped in text
        text = text.replace(shipped, small)
    recipe = tmp_path / "goldreward.yaml"
    recipe.write_text(text)
    plan = Plan(seeds=(1,), labels=(24,), coefs=(0.1,))
    progress = Counts()
    found = study(recipe, tmp_path / "out", plan, progress)
    assert progress.over["gold judges answers, seed 1"] == (24, 24)
    assert [(run["method"], len(run["trace"])) for run in found["runs"]] == [("grpo", 2), ("ppo", 2)]
    first = found["runs"][0]["trace"][0]
    assert first["kl"] == pytest.approx(0.0, abs=1e-6)
    run = tmp_path / "out" / "seed-1" / "labels-24" / "grpo"
    lines = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()][:8]  # 2 prompts, 4 each
    assert first["gold_even"] == pytest.approx(sum(world.gold(line["text"]) for line in lines[:4]) / 4)
    assert first["gold_odd"] == pytest.approx(sum(world.gold(line["text"]) for line in lines[4:]) / 4)
    assert first["held_out_odd"] == pytest.approx(sum(line["parts"]["held_out"] for line in lines[4:]) / 4)
    assert first["gold"] == pytest.approx((first["gold_even"] + first["gold_odd"]) / 2)
    metrics = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["held_out"] == pytest.approx(metrics["reward/held_out"])
    labels = [json.loads(line) for line in (tmp_path / "out" / "seed-1" / "labels.jsonl").read_text().splitlines()]
    assert len(labels) == 24
    assert all(world.gold(row["completions"][0]) > world.gold(row["completions"][1]) for row in labels)
    monkeypatch.setattr("burnish.pipeline.gold.study.execute", None)
    told, table = publish(recipe, tmp_path / "out", plan, Silent())
    kept = json.loads((tmp_path / "out" / "gold.json").read_text())
    assert (kept["runs"], kept["best_of"], kept["summary"]) == (found["runs"], found["best_of"], told["summary"])
    assert (tmp_path / "out" / "gold.svg").is_file()
    assert kept["shares"] == told["shares"]
    assert table.count("\n") == 6, "a head, two methods, a note of two lines, shares by labels and of all"
    assert next(world.prompts(1)) in {row["prompt"][0]["content"] for row in labels}
