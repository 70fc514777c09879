"""What a recipe in TRL's words is told: our name for each, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from burnish.config import Strict
from burnish.errors import ConfigError
from burnish.pipeline.critic_free import Grpo
from burnish.pipeline.recipe import Dpo, Kto, Recipe, RewardModel, Sft
from burnish.pipeline.recipe_file import load_recipe
from burnish.pipeline.reinforcement import Cuts, Distill, OnlineDpo, Ppo, Rft

SECTIONS: dict[str, type[Strict]] = {
    "sft": Sft,
    "reward": RewardModel,
    "dpo": Dpo,
    "kto": Kto,
    "distill": Distill,
    "rft": Rft,
    "online_dpo": OnlineDpo,
    "ppo": Ppo,
    "grpo": Grpo,
}


def told(folder: Path, section: str, name: str, value: Any = 1) -> tuple[str, str]:
    """What was found of one setting of a recipe, and the mend."""
    (folder / "recipe.yaml").write_text(f"name: t\nmodel: m\n{section}: {{{name}: {value}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(folder / "recipe.yaml")
    [problem] = caught.value.problems
    return problem.found, problem.mend


@pytest.mark.parametrize(
    ("section", "name", "ours"),
    [
        ("sft", "learning_rate", "lr"),
        ("sft", "max_seq_length", "max_length"),
        ("sft", "eval_steps", "eval_every"),
        ("reward", "num_train_epochs", "epochs"),
        ("reward", "center_rewards_coefficient", "centring"),
        ("dpo", "loss_type", "loss"),
        ("dpo", "per_device_train_batch_size", "batch_size"),
        ("dpo", "warmup_ratio", "warmup_steps"),
        ("kto", "lr_scheduler_type", "schedule"),
        ("kto", "max_grad_norm", "clip_norm"),
        ("kto", "lora_r", "lora.rank"),
        ("ppo", "num_ppo_epochs", "epochs"),
        ("ppo", "num_mini_batches", "minibatches"),
        ("ppo", "response_length", "max_new_tokens"),
        ("ppo", "num_generations", "samples_per_prompt"),
        ("grpo", "num_iterations", "epochs"),
        ("grpo", "max_completion_length", "max_new_tokens"),
        ("grpo", "mask_truncated_completions", "mask_truncated"),
        ("grpo", "beta", "kl.coef"),
        ("rft", "warmup_ratio", "warmup_steps"),
        ("online_dpo", "learning_rate", "lr"),
    ],
)
def test_names_of_trls_are_told_ours(tmp_path: Path, section: str, name: str, ours: str) -> None:
    found, mend = told(tmp_path, section, name)
    assert found == f'"{section}.{name}" is not a setting'
    assert mend.startswith((f"Here it is called {ours}.", f"Here it is called {ours},"))


@pytest.mark.parametrize(
    ("section", "name", "mend"),
    [
        ("sft", "packing", "Remove it: rows are always packed, and none sees another."),
        ("dpo", "gradient_accumulation_steps", "Remove it: it follows from batch_size"),
        ("ppo", "gradient_accumulation_steps", "Remove it: it follows from prompts_per_iteration"),
        ("kto", "loss_type", "Remove it: there is one loss."),
        ("grpo", "bf16", "Remove it, and say dtype at the top of the recipe."),
    ],
)
def test_what_needs_no_setting_is_to_be_removed(tmp_path: Path, section: str, name: str, mend: str) -> None:
    assert told(tmp_path, section, name)[1].startswith(mend)


@pytest.mark.parametrize("section", SECTIONS.values())
def test_names_of_others_name_settings_that_there_are(section: type[Strict]) -> None:
    for name, mend in section.elsewhere.items():
        assert name not in section.model_fields
        if mend.startswith("Here it is called "):
            ours = mend.removeprefix("Here it is called ").rstrip(".").split(",")[0].split(".")[0]
            assert ours in section.model_fields, (name, mend)
        elif "the top of the recipe" in mend:
            assert {name, *mend.replace(":", "").split()} & Recipe.model_fields.keys()
        else:
            assert mend.startswith("Remove it: "), (name, mend)
    assert section.elsewhere.keys() >= {"learning_rate", *(Cuts.model_fields if section in (Ppo, Grpo) else ())}


@pytest.mark.parametrize(
    ("section", "name", "value", "ours"),
    [
        ("dpo", "loss", "sigmoid", "dpo"),
        ("online_dpo", "loss", "sigmoid", "dpo"),
        ("grpo", "loss", "reinforce++", "reinforce_pp"),
        ("grpo", "loss", "REINFORCE++", "reinforce_pp"),
        ("grpo", "loss", "dr-grpo", "dr_grpo"),
        ("grpo", "loss", "drgrpo", "dr_grpo"),
        ("grpo", "scale_rewards", "false", "none"),
    ],
)
def test_values_of_trls_are_told_ours(tmp_path: Path, section: str, name: str, value: str, ours: str) -> None:
    found, mend = told(tmp_path, section, name, value)
    assert found.startswith(f"{section}.{name} is ")
    assert mend.startswith((f"Here it is called {ours}.", f"Here it is called {ours},"))
    assert told(tmp_path, section, name, ours + "?")[0].count(f"'{ours}'") == 1  # there is such a value


@pytest.mark.parametrize(("section", "value"), [("grpo", "sapo"), ("grpo", "bnpo"), ("dpo", "apo_zero")])
def test_an_algorithm_that_is_not_here_is_no_misspelling_of_another(tmp_path: Path, section: str, value: str) -> None:
    assert told(tmp_path, section, "loss", value)[1].startswith("Known here: ")
    assert told(tmp_path, section, "loss", section + "o")[1] == f'Did you mean "{section}"?'
