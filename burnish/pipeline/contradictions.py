"""Settings that do not go together: of reward, and of what learns from the policy's own answers. Knows no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from burnish.errors import nearest
from burnish.evals.run import FIGURES
from burnish.pipeline.critic_free import Grpo, ImportanceSampling
from burnish.pipeline.recipe import Collect, Evaluate, Gate, RewardModel
from burnish.pipeline.reinforcement import Distill, OnPolicy, Ppo, Reinforced, Rft
from burnish.release.gate import models_of
from burnish.store.kinds import KINDS

Contradiction = tuple[tuple[str, ...], str, str]
"""Key paths concerned (the first is where the user looks), what was found, a mend."""
STRENGTHS = "strengths"
"""The column of a snapshot that says how far an answer was called ahead."""


def collect_clashes(collect: Collect, reward: RewardModel | None) -> Iterator[Contradiction]:
    """Of what people are asked, and of a reward model that learns from it."""
    for setting in ("strength", "rationale", "edits"):
        if getattr(collect, setting) and collect.by == "panel":
            found = f"{setting} is asked, and the simulated panel says nothing beside the order"
            yield (f"collect.{setting}", "collect.by"), found, f"Say by: people, or remove {setting}."
    if collect.asked in ("scale", "good_bad") and collect.by == "panel":
        yield (
            ("collect.kind", "collect.k", "collect.by"),
            "the simulated panel orders answers, and grades none",
            ("Say by: people."),
        )
    fewest, most = KINDS[collect.asked].fewest, KINDS[collect.asked].most
    if not fewest <= collect.k <= most:
        wanted = fewest if fewest == most else f"{fewest} to {most}"
        found = f"{collect.asked} is asked of {wanted} answers, not {collect.k}"
        yield ("collect.k", "collect.kind"), found, f"Set k: {min(most, max(fewest, collect.k))}."
    if collect.strength and collect.asked != "pairwise":
        found = f"how far one answer is ahead is asked of two, and there are {collect.k}"
        yield ("collect.strength", "collect.k"), found, "Set k: 2."
    if bool(collect.axes) != (collect.asked == "scale"):
        mend = "Add collect.axes, for example [helpful, honest]." if collect.asked == "scale" else "Remove it."
        yield ("collect.axes", "collect.kind"), "axes are what a scale grades, and go with it", mend
    if reward and isinstance(reward.margin, str):
        found = f"margin names a column of given rankings, and the collect section makes none called {reward.margin}"
        if not collect.strength and collect.asked != "scale":
            yield ("reward.margin", "collect"), found, "Give a number."
        elif reward.margin != STRENGTHS:
            yield ("reward.margin", "collect"), found, f"Say margin: {STRENGTHS}."


def gate_clashes(gate: Gate, policies: Sequence[str], released: bool) -> Iterator[Contradiction]:
    """Of what is asked of models that the recipe does not make, or of others than the one that goes out, the last of
    `policies`."""
    models = ["base", *policies]
    for place, threshold in enumerate(gate.thresholds):
        for unknown in [each for each in models_of(threshold.figure) if each not in models]:
            found = f"{threshold.figure} is of {unknown or 'no model'}, and there will be {', '.join(models)}"
            yield (f"gate.thresholds.{place}.figure",), found, nearest(unknown, models)
    if released and policies and all(policies[-1] not in models_of(each.figure) for each in gate.thresholds):
        found = f"no threshold asks anything of {policies[-1]}, whose weights go out"
        yield ("gate.thresholds", "release"), found, f"Add one, for example of ended_with_eos.{policies[-1]}."


def sampled_clashes(name: str, section: OnPolicy, parallel: str, watcher: bool) -> Iterator[Contradiction]:
    """Of every section. `watcher`: whether there will be a reward model that policies are not paid by."""
    if section.watch and section.watch.held_out and not watcher:
        yield (
            (f"{name}.watch.held_out", "reward"),
            "there is no reward model to watch by that the policy is not paid by",
            "Set reward.watcher: 0.3, or watch.held_out: false.",
        )
    if section.minibatches > section.prompts_per_iteration:
        yield (
            (f"{name}.minibatches", f"{name}.prompts_per_iteration"),
            f"{section.minibatches} minibatches of {section.prompts_per_iteration} prompts: a prompt is never split",
            f"Set minibatches to {section.prompts_per_iteration} or less.",
        )
    if parallel == "fsdp":
        found = f"{name} samples with the whole policy, and fsdp leaves it in parts"
        yield ("parallel", name), found, "Set parallel to ddp."
    if section.lora and section.unfrozen_layers is not None:
        yield (
            (f"{name}.unfrozen_layers", f"{name}.lora"),
            "an adapter trains beside weights that are all frozen",
            "Remove one of the two.",
        )
    if section.overlong_tokens and section.overlong_tokens > section.max_new_tokens:
        yield (
            (f"{name}.overlong_tokens", f"{name}.max_new_tokens"),
            f"the last {section.overlong_tokens} tokens of a budget of {section.max_new_tokens}",
            f"Set overlong_tokens to {section.max_new_tokens} or less.",
        )
    for place, term in enumerate(section.rewards or ()):
        if term.judge and term.judge.by == "comparison" and section.answers < 2:
            found = "answers to one prompt are compared, and there is one"
            yield (f"{name}.rewards.{place}",), found, "Set by: grade, or have more answers a prompt."
    if section.prompt_column is not None and section.prompts is None:
        found = "prompt_column is set, and the prompts are those of the rankings"
        yield (f"{name}.prompt_column",), found, f"Add {name}.prompts, or remove prompt_column."
    for setting in ("ptx_coef", "ptx_batch_size", "ptx_length"):
        if getattr(section, setting) is not None and section.ptx_data is None:
            found = f"{setting} is set, and there is nothing to learn beside the answers"
            yield (f"{name}.{setting}",), found, f"Add {name}.ptx_data, or remove {setting}."


def measured_clashes(evaluate: Evaluate) -> Iterator[Contradiction]:
    """Of the rewards that an evaluation measures by."""
    for place, term in enumerate(evaluate.rewards or ()):
        if term.label in FIGURES:
            found = f'"{term.label}" is the name of a figure that there is already'
            yield (f"evaluate.rewards.{place}",), found, "Give the reward another name."
        if term.judge and term.judge.by == "comparison":
            found = "answers to one prompt are compared, and each model gives one"
            yield (f"evaluate.rewards.{place}",), found, "Set by: grade."


def reward_clashes(reward: RewardModel) -> Iterator[Contradiction]:
    """Settings that its loss does not read, or that mean two things at once."""
    whole_order = reward.loss == "plackett_luce"
    unread = {
        name: value is not None and whole_order
        for name, value in (("margin", reward.margin), ("centring", reward.centring), ("lapse", reward.lapse))
    }
    for name in (name for name, there in (unread | {"ties": reward.learns_ties and whole_order}).items() if there):
        found = f"{name} is about pairs, and plackett_luce reads a prompt's whole order"
        yield (f"reward.{name}", "reward.loss"), found, f"Remove {name}, or set loss: k_wise."
    if reward.ties == "rao_kupper":
        for name in (name for name in ("margin", "lapse") if getattr(reward, name) is not None):
            found = f"{name} is set, and rao_kupper has its threshold instead"
            yield (f"reward.{name}", "reward.ties"), found, f"Remove {name}, or set ties: half."
    elif reward.tie_threshold is not None:
        found = "a threshold is set, and only rao_kupper reads it"
        yield ("reward.tie_threshold", "reward.ties"), found, "Set ties: rao_kupper, or remove tie_threshold."
    if reward.bootstrap and reward.members == 1:
        found = "bootstrap is set, and there is one member, which would only learn from less"
        yield ("reward.bootstrap", "reward.members"), found, "Set members to 2 or more, or remove bootstrap."


def _reinforced_clashes(name: str, section: Reinforced) -> Iterator[Contradiction]:
    if not section.mask_truncated:
        return
    if section.watch:
        found = "the watch reads how far all answers are from the tuned model, and those that were cut are not passed"
        yield (f"{name}.watch", f"{name}.mask_truncated"), found, "Remove one of the two."
    if section.missing_eos_penalty != Reinforced().missing_eos_penalty:
        found = "a penalty is set for answers that were cut, and nothing is learned from them"
        yield (f"{name}.missing_eos_penalty", f"{name}.mask_truncated"), found, "Remove one of the two."


def ppo_clashes(ppo: Ppo) -> Iterator[Contradiction]:
    yield from _reinforced_clashes("ppo", ppo)
    if ppo.baseline == "leave_one_out" and ppo.samples_per_prompt < 2:
        yield (
            ("ppo.baseline", "ppo.samples_per_prompt"),
            "a baseline of the prompt's other answers, and one answer a prompt",
            "Set samples_per_prompt to 2 or more, or baseline to none.",
        )
    if ppo.kl_horizon is not None and ppo.kl_target is None:
        found = "kl_horizon is set, and the weight of the KL is fixed"
        yield ("ppo.kl_horizon",), found, "Add ppo.kl_target, or remove kl_horizon."
    if ppo.kl_target is not None and not ppo.kl_coef:
        found = "a weight of 0 is to be steered, and a multiple of 0 is 0"
        yield ("ppo.kl_target", "ppo.kl_coef"), found, "Set kl_coef above 0: the weight begins there."


def grpo_clashes(grpo: Grpo) -> Iterator[Contradiction]:
    yield from _reinforced_clashes("grpo", grpo)
    if grpo.clips is None and grpo.epochs * grpo.minibatches > 1:
        yield (
            (f"grpo.{'epochs' if grpo.epochs > 1 else 'minibatches'}", "grpo.loss"),
            f"{grpo.loss} has no ratio, so that it learns from answers of the policy as it is: one step an iteration",
            "Set epochs and minibatches to 1, or loss to dr_grpo.",
        )
    if grpo.kl and grpo.kl.place == "reward" and grpo.kl.kind != "k1":
        found = f"{grpo.kl.kind} in the reward leaves out its own gradient, and has another optimum than it says"
        yield ("grpo.kl.estimator", "grpo.kl.in"), found, "Set estimator: k1, or in: loss."
    if grpo.kl and grpo.kl.place == "loss" and grpo.kl.kind == "k1":
        found = "k1 in the loss has an expected gradient of 0: it holds nothing"
        yield ("grpo.kl.estimator", "grpo.kl.in"), found, "Set estimator: k3, or in: reward."
    grouped = grpo.usual.against == "group"
    if grpo.attempts > 1 and grpo.kl_is_paid and grouped:
        found = "with a KL in the reward, answers with the same score are not paid the same: no prompt is left out"
        yield ("grpo.dynamic_sampling", "grpo.kl.in"), found, "Remove dynamic_sampling, or set in: loss."
    weighing = grpo.importance_sampling
    if weighing and weighing.rule == "truncate" and weighing.least != ImportanceSampling().least:
        found = "least is set, and truncate has no lower end"
        where = "grpo.importance_sampling"
        yield (f"{where}.least", f"{where}.rule"), found, "Set rule: mask, or remove least."
    unread = {
        "epsilon": grpo.epsilon and (grpo.clips is None or grpo.loss == "cispo"),
        "epsilon_high": grpo.epsilon_high and grpo.clips is None,
        "scale_rewards": grpo.scale_rewards and not grouped,
        "dynamic_sampling": grpo.dynamic_sampling and not grouped,
    }
    for name in (name for name, there in unread.items() if there):
        yield (f"grpo.{name}", "grpo.loss"), f"{name} is set, and {grpo.loss} does not read it", f"Remove {name}."


def rft_clashes(rft: Rft) -> Iterator[Contradiction]:
    if rft.per_prompt and rft.per_prompt > rft.num_generations:
        found = f"the best {rft.per_prompt} of {rft.num_generations} answers"
        yield ("rft.per_prompt", "rft.num_generations"), found, f"Set per_prompt to {rft.num_generations} or less."
    if rft.watch:
        found = "the watch reads how far all answers are from the tuned model, and rft passes the chosen ones alone"
        yield ("rft.watch",), found, "Remove watch."


def distill_clashes(distill: Distill) -> Iterator[Contradiction]:
    if distill.lmbda < 1 and distill.data is None:
        found = f"the policy says {distill.lmbda:.0%} of what is learned, and the rest is nowhere"
        yield ("distill.lmbda",), found, "Add distill.data, or set lmbda to 1."
    if distill.lmbda == 1 and distill.data is not None:
        found = "conversations are given, and the policy says all that is learned"
        yield ("distill.data", "distill.lmbda"), found, "Set lmbda below 1, for example 0.5, or remove data."
