"""What TRL calls settings that have other names here, for those who bring its names along: each with the mend that an
error tells. Knows names only.
"""

from __future__ import annotations

from collections.abc import Mapping


def _called(names: Mapping[str, str]) -> dict[str, str]:
    """Mends, by our names."""
    return {theirs: f"Here it is called {ours}." for theirs, ours in names.items()}


ON_POLICY = _called(
    {
        **dict.fromkeys(("num_ppo_epochs", "num_iterations"), "epochs"),
        "num_mini_batches": "minibatches",
        **dict.fromkeys(("response_length", "max_completion_length"), "max_new_tokens"),
        "reward_funcs": "rewards",
        "learning_rate": "lr",
        "lr_scheduler_type": "schedule",
        "max_grad_norm": "clip_norm",
    }
)
REINFORCED = {**ON_POLICY, **_called({"mask_truncated_completions": "mask_truncated"})}
PPO = _called({"num_generations": "samples_per_prompt", "beta": "kl_coef", "init_kl_coef": "kl_coef"})
GRPO = {
    **_called({"samples_per_prompt": "num_generations", "rloo_k": "num_generations", "loss_type": "loss"}),
    **dict.fromkeys(("beta", "kl_coef"), "Here it is called kl.coef, and kl.in says where it stands."),
    "vllm_importance_sampling_correction": "Here it is called importance_sampling, a section.",
}
ONLINE_DPO = {**ON_POLICY, **_called({"loss_type": "loss"})}
