"""What a stage that learns from its own answers states about them: of the weights that it kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from contexts import context_of

from burnish.models.critic import critic_of
from burnish.models.load import load_trainable
from burnish.models.tiny import write_tiny
from burnish.pipeline.on_policy import collected, learner
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.reinforcement import Ppo, Watch
from burnish.pipeline.settings import Lora
from burnish.pipeline.stage import Facts

HELD_OUT = (0.0, 1.0, 2.0, 3.0, 1.0, 0.5)
"""What does not pay rises for four iterations and falls for two."""


def stated(folder: Path, watch: Watch | None) -> Facts:
    """Facts of six iterations, in each of which reward and KL are one more than before."""
    rows = [
        {
            "step": number,
            "loss": 0.1,
            "episode": 2 * (number + 1),
            "objective/scores": float(number),
            "objective/kl": float(number),
            "objective/full_kl": float(number),
            "val/eos_share": 1 - number / 10,
            "val/length": 30.0 - number,
            "reward/held_out": score,
        }
        for number, score in enumerate(HELD_OUT)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = Ppo(watch=watch)
    return collected(context_of(Recipe(name="t", model="m", ppo=settings), folder), settings)


def test_they_are_of_the_iterations_up_to_the_weights_that_the_watch_kept(tmp_path: Path) -> None:
    facts = stated(tmp_path, Watch(window=1, patience=2))
    assert (facts["kept_iterations"], facts["iterations"], facts["ended_by"]) == (3, 6, "score")
    # kept are the weights of iteration 3, whose answers say what they are: of four, two are averaged at each end
    assert (facts["reward_start"], facts["reward_end"]) == (0.5, 2.5)
    assert (facts["kl_start"], facts["kl_end"], facts["kept_kl"]) == (0.0, 2.5, 3.0)
    assert (facts["eos_share"], facts["length_end"]) == (pytest.approx(0.75), 27.5)
    assert facts["episodes"] == 12


@pytest.mark.parametrize("watch", [None, Watch(window=1, patience=2, stop=False)])
def test_where_nothing_ended_the_run_they_are_of_its_end(tmp_path: Path, watch: Watch | None) -> None:
    facts = stated(tmp_path, watch)
    assert (facts["kl_end"], facts["reward_end"], facts["eos_share"]) == (4.0, 4.0, pytest.approx(0.6))
    assert "kept_iterations" not in facts


def test_a_watch_that_kept_the_start_says_nothing_of_later_answers(tmp_path: Path) -> None:
    facts = stated(tmp_path, Watch(kl_budget=0.5))
    assert (facts["kept_iterations"], facts["kl_end"], facts["eos_share"], facts["averaged_iterations"]) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("settings", "learns"),
    [
        (Ppo(), r".*"),
        (Ppo(lora=Lora(rank=2)), r".*\.lora_[AB]|value\..*"),
        (Ppo(unfrozen_layers=1), r"backbone\.layers\.1\..*|value\..*"),
        (Ppo(unfrozen_layers=9), r"backbone\.layers\..*|value\..*"),  # the reward model may have fewer layers
    ],
)
def test_what_learns_of_a_critic_is_what_learns_of_a_policy(tmp_path: Path, settings: Ppo, learns: str) -> None:
    folder = write_tiny(tmp_path / "tiny")
    reward = load_trainable(folder, dtype=torch.float32, lm=False, score=True)
    critic = learner(critic_of(reward, 0.0, 1.0), settings, seed=0)
    found = {name for name, weight in critic.named_parameters() if weight.requires_grad}
    assert found == {name for name, _ in critic.named_parameters() if re.fullmatch(learns, name)}
    assert {"value.weight"} < found
