"""The picture of a watched stage: what pays and what looks on against drift, and the weights that were kept."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from burnish.pipeline.curves import curves
from burnish.pipeline.plots import draw


def rows(**more: list[float]) -> list[dict[str, Any]]:
    """Three iterations of two steps: what was sampled is told on the first, what the watch says on the second."""
    found: list[dict[str, Any]] = []
    for k in range(3):
        told = {name: values[k] for name, values in more.items()}
        found.append({"step": 2 * k, "objective/scores": 0.5 + k, "objective/full_kl": float(k * k), **told})
        found.append({"step": 2 * k + 1, "watch/kept": min(k, 1)})
    return found


def frontier(**more: list[float]) -> Any:
    [found] = [each for each in curves("grpo", rows(**more)) if each.title == "Score against drift"]
    return found


def test_gains_stand_beside_each_other_and_the_kept_weights_are_marked() -> None:
    found = frontier(**{"reward/held_out": [-1.0, 0.0, -0.5], "reward/gold": [3.0, 3.5, 2.0]})
    assert list(found.x) == [math.sqrt(k * k) for k in range(3)]
    assert list(found.y) == [0.0, 1.0, 2.0]
    assert [(each.name, list(each.y)) for each in found.beside] == [
        ("what looks on", [0.0, 1.0, 0.5]),
        ("gold", [0.0, 0.5, -1.0]),
    ]
    assert found.mark == 1.0


def test_a_stage_without_a_held_out_score_is_drawn_alone() -> None:
    assert frontier().beside == []


def test_without_a_watcher_what_an_ensemble_is_sure_of_stands_beside() -> None:
    [sure] = frontier(**{"reward/sure": [1.0, 2.0, 0.5]}).beside
    assert (sure.name, list(sure.y)) == ("what is sure of it", [0.0, 1.0, -0.5])


def test_the_kl_of_whole_distributions_is_drawn_where_it_was_measured() -> None:
    sampled = {"objective/kl": [0.1, 0.9, 4.2]}
    [found] = [each for each in curves("grpo", rows(**sampled)) if each.title == "KL from the tuned model"]
    assert list(found.y) == [0.0, 1.0, 4.0]
    assert found.caption.startswith("Of whole distributions")
    unwatched = [{name: value for name, value in row.items() if name != "objective/full_kl"} for row in rows(**sampled)]
    [found] = [each for each in curves("grpo", unwatched) if each.title == "KL from the tuned model"]
    assert list(found.y) == [0.1, 0.9, 4.2]
    assert found.caption.startswith("Summed log-ratio")


def test_distinct_pairs_and_each_ensembles_spread_are_drawn_where_they_were_logged() -> None:
    told = {"val/distinct_2": [0.9, 0.8, 0.4], "reward/rm/spread": [0.1, 0.2, 0.4], "reward/b/spread": [0.3, 0.3, 0.3]}
    for stage in ("distill", "rft", "online_dpo", "ppo", "grpo"):
        drawn = {each.title: list(each.y) for each in curves(stage, rows(**told))}
        assert drawn["Distinct pairs of tokens"] == [0.9, 0.8, 0.4]
        assert drawn["Disagreement within rm"] == [0.1, 0.2, 0.4]
        assert drawn["Disagreement within b"] == [0.3, 0.3, 0.3]
    assert not {"Distinct pairs of tokens", "Disagreement within rm"} & {each.title for each in curves("ppo", rows())}


def test_every_series_has_its_own_colour_and_name() -> None:
    picture = draw(frontier(**{"reward/held_out": [0.0, 1.0, 0.5], "reward/gold": [0.0, 1.0, 0.5]}))
    assert {"--grpo", "--reward", "--maybe"} <= set(re.findall(r"--\w+", picture))
    assert all(name in picture for name in ("what pays", "what looks on", "gold"))
    assert not re.search("#0[0-9a-f]{5}", picture), "a stand-in for a colour was left"


@pytest.mark.parametrize("kept", [0, 5])
def test_a_mark_lies_within_the_run(kept: int) -> None:
    told = [{**row, "watch/kept": kept} if "watch/kept" in row else row for row in rows()]
    [found] = [each for each in curves("ppo", told) if each.title == "Score against drift"]
    assert found.mark == found.x[min(kept, 2)]


def test_each_of_several_rewards_has_its_own_picture() -> None:
    """What one says is in no other's unit; members, spreads and what looks on are drawn elsewhere."""
    told = {f"reward/{name}": [0.1, 0.2, 0.4] for name in ("rm", "rm/1", "rm/2", "rm/spread", "held_out", "sure")}
    alone = {each.title for each in curves("grpo", rows(**told))}
    assert not {title for title in alone if title.startswith("Reward: ")}, "it is the reward itself"
    drawn = {
        each.title: list(each.y) for each in curves("grpo", rows(**told, **{"reward/brevity": [-9.0, -8.0, -4.0]}))
    }
    parts = {title: y for title, y in drawn.items() if title.startswith("Reward: ")}
    assert parts == {"Reward: rm": [0.1, 0.2, 0.4], "Reward: brevity": [-9.0, -8.0, -4.0]}
    assert list(drawn)[:5] == ["Reward", "KL from the tuned model", "Score against drift", *sorted(parts)]


def test_pictures_of_two_stages_share_neither_colour_nor_ids() -> None:
    told = [{"step": k, "objective/scores": float(k), "objective/kl": float(k), "val/length": 3.0} for k in range(3)]
    drawn = [[draw(each) for each in curves(stage, told)] for stage in ("ppo", "grpo")]
    ids = [set(re.findall(r' id="([^"]+)"', "".join(each))) for each in drawn]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])
    assert "--ppo" not in "".join(drawn[1])
