"""What TRL calls settings and values that have other names here, for those who bring its names along: each with the
mend that an error tells. Knows names only.
"""

from __future__ import annotations

from collections.abc import Mapping


def _called(names: Mapping[str, str]) -> dict[str, str]:
    """Mends, by our names."""
    return {theirs: f"Here it is called {ours}." for theirs, ours in names.items()}


TRAINED = {
    **_called(
        {
            "learning_rate": "lr",
            "lr_scheduler_type": "schedule",
            "warmup_ratio": "warmup_steps, and is a number of steps",
            "max_grad_norm": "clip_norm",
            **dict.fromkeys(("adam_beta1", "adam_beta2"), "betas, a list of both"),
            "save_steps": "save_every",
            **dict.fromkeys(("use_peft", "peft_config"), "lora, a section"),
            "lora_r": "lora.rank",
            "lora_alpha": "lora.alpha",
            "lora_dropout": "lora.dropout",
            "lora_target_modules": "lora.targets",
        }
    ),
    **dict.fromkeys(("packing", "padding_free"), "Remove it: rows are always packed, and none sees another."),
    **dict.fromkeys(("bf16", "fp16", "torch_dtype"), "Remove it, and say dtype at the top of the recipe."),
    "use_liger_kernel": "Remove it, and say kernels: liger at the top of the recipe.",
    **dict.fromkeys(("seed", "gradient_checkpointing"), "Move it to the top of the recipe."),
    "optim": "Remove it: it is AdamW.",
    "adam_epsilon": "Remove it: it is 1e-8.",
    "logging_steps": "Remove it: metrics.jsonl has every step.",
    "report_to": "Remove it, and say track at the top of the recipe: metrics.jsonl is written in any case.",
}
"""Of all stages that train."""
GIVEN = {
    **TRAINED,
    **_called(
        {
            "num_train_epochs": "epochs",
            "per_device_train_batch_size": "batch_size, and counts those of all devices",
            **dict.fromkeys(("max_seq_length", "model_max_length"), "max_length"),
            **dict.fromkeys(
                ("max_prompt_length", "max_completion_length"), "max_length, and is of prompt and answer together"
            ),
            **dict.fromkeys(("eval_steps", "eval_strategy"), "eval_every, and is a number of steps"),
            "eval_dataset": "eval_data",
            "early_stopping_patience": "patience",
            "load_best_model_at_end": "keep, and true is best",
        }
    ),
    "gradient_accumulation_steps": "Remove it: it follows from batch_size, which is a whole step's, and micro_tokens.",
    "max_steps": "Remove it: steps follow from the rows (see limit), epochs and batch_size.",
}
"""Of stages that learn from data."""
_LOSS = _called({"loss_type": "loss"})
_ROWS = ("dataset_name", "train_dataset")
_RANKINGS = {**GIVEN, **_LOSS, **_called(dict.fromkeys(_ROWS, "rankings"))}
_DATA = {**GIVEN, **_called(dict.fromkeys(_ROWS, "data"))}
SFT = {
    **_DATA,
    **dict.fromkeys(
        ("assistant_only_loss", "completion_only_loss"), "Remove it: assistant turns are learned, and nothing else."
    ),
    "loss_type": "Remove it: the loss is the negative log-likelihood, and mean says of what it is a mean.",
}
REWARD = {**_RANKINGS, **_called({"center_rewards_coefficient": "centring"})}
DPO = {**_RANKINGS, **_called({"simpo_gamma": "gamma"})}
KTO = {**_DATA, "loss_type": "Remove it: there is one loss."}

ON_POLICY = {
    **TRAINED,
    **_called(
        {
            **dict.fromkeys(("num_ppo_epochs", "num_iterations"), "epochs"),
            "num_mini_batches": "minibatches",
            **dict.fromkeys(("response_length", "max_completion_length"), "max_new_tokens"),
            "reward_funcs": "rewards",
            "use_vllm": "vllm, a section",
            "vllm_gpu_memory_utilization": "vllm.cache_gib, and counts GiB of keys and values",
            "max_steps": "iterations, each of epochs times minibatches steps",
            "per_device_train_batch_size": "prompts_per_iteration, and counts prompts, not answers, of all devices",
        }
    ),
    "gradient_accumulation_steps": "Remove it: it follows from prompts_per_iteration, minibatches and micro_tokens.",
    **dict.fromkeys(
        ("vllm_mode", "vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_tensor_parallel_size"),
        "Remove it: with a section vllm it runs beside training, in a process of its own, on one device.",
    ),
}
REINFORCED = {**ON_POLICY, **_called({"mask_truncated_completions": "mask_truncated"})}
PPO = _called({"num_generations": "samples_per_prompt", "beta": "kl_coef", "init_kl_coef": "kl_coef"})
GRPO = {
    **_called({"samples_per_prompt": "num_generations", "rloo_k": "num_generations"}),
    **_LOSS,
    **dict.fromkeys(("beta", "kl_coef"), "Here it is called kl.coef, and kl.in says where it stands."),
    "vllm_importance_sampling_correction": "Here it is called importance_sampling, a section.",
}
ONLINE_DPO = {**ON_POLICY, **_LOSS}

PREFERENCE_VALUES = {"loss": _called({"sigmoid": "dpo, and with label_smoothing cdpo"})}
GRPO_VALUES = {
    "loss": _called(
        {
            **dict.fromkeys(("reinforce++", "reinforce_plus_plus"), "reinforce_pp"),
            **dict.fromkeys(("dr-grpo", "drgrpo"), "dr_grpo"),
        }
    ),
    "scale_rewards": _called({"true": "group", "false": "none"}),
}
"""Mends for values, by the setting that they are of."""
