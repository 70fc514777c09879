"""The settings of the stages that learn from the policy's own answers. Knows no stage's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from burnish.config import Strict
from burnish.errors import MachineError, Problem
from burnish.pipeline import trl_names
from burnish.pipeline.reward_terms import RewardTerms
from burnish.pipeline.settings import Kept, Lora, Positive, Preference, Rate, Schedule, Share
from burnish.types import Sampling

PTX_COEF = 0.1
"""Nearly all of a text was kept, and no less was learned of the reward; at 1 little was (docs/experiments.md, a small
model, five seeds). InstructGPT's γ is 27.8."""


class Watch(Strict):
    """What is watched besides the reward that pays, so that a run ends before the policy pleases its reward model
    alone. A reading is taken of each iteration's answers; the weights of the best one are kept."""

    held_out: bool = True
    """Have every answer scored by the reward model that learned from other judgements (`reward.watcher`) and is never
    paid by, and stop when its score no longer rises. false: where several models pay (`reward.members`), go by their
    mean less their spread; where one does, by the budget alone."""
    kl_budget: float = Field(default=20.0, gt=0)
    """Nats an answer from the tuned model, at which the stage ends; of whole distributions, not of what was sampled."""
    window: Positive = 5
    """Iterations whose held-out scores are averaged before they are compared with the best average."""
    patience: Positive = 10
    """Stop after so many averages in a row that are no better than the best. The best one's weights are kept whenever
    that is: more costs time, and fewer take the noise of some iterations for the peak (docs/experiments.md)."""
    length: tuple[Share, Annotated[float, Field(gt=1)]] | None = None
    """Stop when the answers' mean length, over a window, is no longer between these shares of what it was at first, for
    example [0.5, 2]. Absent: answers may become as long or short as they like."""
    stop: bool = True
    """false: only look, to the last iteration, and keep its weights."""


class Vllm(Strict):
    """vLLM draws the answers, in a process beside training, with a copy of the policy that is renewed at every
    iteration. For GPUs, and for policies whose answers take longer than what is learned from them."""

    cache_gib: float = Field(default=4.0, gt=0)
    """GiB of the device's memory for keys and values. Beside them lie the copy of the weights and, on a GPU, some GiB
    of activations and graphs. Answers for which there is no room wait for others to end."""

    def require(self, section: str) -> None:
        """Raises MachineError where vLLM is not installed. `section`: where the recipe asks for it."""
        if find_spec("vllm") is None:
            mend = "docs/guide/machines.md says how to install it; or remove it: burnish samples by itself."
            raise MachineError(Problem(f"{section}.vllm", "needs the package vllm", mend))


class OnPolicy(Kept):
    """What all of them say about sampling, learning and saving."""

    elsewhere: ClassVar[Mapping[str, str]] = trl_names.ON_POLICY
    prompts: str | None = Field(default=None, min_length=1)
    """A JSONL file of prompts; absent: the training prompts of the rankings. What else a row says (a right answer, for
    example) is for rewards to read."""
    prompt_column: str | None = Field(default=None, min_length=1)
    """The column of that file that holds the prompt. Absent: `messages` or `prompt`."""
    rewards: RewardTerms | None = None
    """What answers are paid by, added up. Absent: the run's reward model."""
    limit: Positive | None = None
    """Take at most so many prompts."""
    iterations: Positive = 20
    """Rounds of sampling and learning."""
    prompts_per_iteration: Positive = 32
    epochs: Positive = 1
    """Passes over the answers of one iteration."""
    minibatches: Positive = 1
    """Optimiser steps a pass."""
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    """Taken from the score of an answer that the budget cut."""
    overlong_tokens: Positive | None = None
    """The last so many tokens of the budget cost an answer up to 1, on a line: DAPO's soft penalty."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Of the sampled answers."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """An answer ends with the first of these texts that it says. Rewards read what stands before it; learned is what
    was said, with it. The answer ended by itself: missing_eos_penalty is not taken."""
    max_new_tokens: Positive = 64
    ptx_data: str | None = Field(default=None, min_length=1)
    """A file of texts (`text` in JSONL, or .txt) or of conversations, learned beside the answers so that less is
    forgotten: PPO-ptx."""
    ptx_coef: Annotated[float, Field(gt=0)] | None = None
    """Weight of their negative log-likelihood, a token's mean. Absent: 0.1. More forgets less and learns less from the
    answers, since clip_norm is of both together: metrics.jsonl has `grad_norm/own`, how long the gradient of the
    answers alone is, beside `grad_norm`. InstructGPT's 27.8 is for hundreds of texts a step."""
    ptx_batch_size: Positive | None = None
    """So many of them, or pieces of text, at each optimiser step. Absent: 8."""
    ptx_length: Annotated[int, Field(ge=2)] | None = None
    """Texts are cut to pieces of so many tokens. Absent: 256, or micro_tokens where that is less."""
    unfrozen_layers: Positive | None = None
    """Train the last so many decoder layers of the policy, and the value head; absent: everything."""
    lr: Rate = 1e-5
    """Peak learning rate."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps over which the learning rate rises to its peak."""
    schedule: Schedule = "constant"
    """What the learning rate does after its peak."""
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    """AdamW's decoupled decay of weight matrices, embeddings included; norms and biases stay."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    micro_tokens: Annotated[int, Field(ge=16)] = 2048
    """Token budget of one forward pass."""
    save_every: Positive = 5
    """Iterations between checkpoints. Never changes the result."""
    watch: Watch | None = None
    """Stop before the reward model is over-optimised. Absent: only the last iteration ends the stage."""
    vllm: Vllm | None = None
    """Sample with vLLM. Absent: with burnish's own engine, which reads the policy's weights where they lie. grpo weighs
    what the two say differently of a token (importance_sampling); nothing else does."""
    lora: Lora | None = None
    """Train an adapter (and the value head) instead of all weights; the reference is the policy without its adapter, so
    that one model less is held in memory. With `lora` in `reward` too, none is held for the run's reward models either.
    A good `lr` is then about ten times as high."""

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn, but for the seed."""
        known = {each.name for each in fields(Sampling)}
        return Sampling(**{name: value for name, value in self if name in known and value is not None})

    @property
    def masks(self) -> bool:
        """Whether answers that the budget cut are left out of what is learned, so that no penalty teaches anything."""
        return False

    @property
    def steps_per_iteration(self) -> int:
        return self.epochs * self.minibatches

    @property
    def answers(self) -> int:
        """Answers a prompt."""
        return 1

    @property
    def attempts(self) -> int:
        """How often an iteration may sample until it is full."""
        return 1

    @property
    def own_critic(self) -> bool:
        """Whether the critic has a backbone of its own."""
        return False

    @property
    def paid(self) -> bool:
        """Whether something is learned from scores: without `rewards`, from those of the run's reward model."""
        return True

    @property
    def needs_reward_model(self) -> bool:
        """Whether there is nothing to pay answers by, or to begin the critic from, without the run's reward model."""
        terms = self.rewards if self.paid else self.rewards or ()
        return terms is None or self.own_critic or any(term.of_this_run for term in terms)


class Cuts(Strict):
    """Which tokens are drawn, where answers are learned as given ones are: nothing asks how likely they were."""

    top_p: Rate | None = None
    """Only the most likely tokens that hold this share of the probability are drawn. Absent: all."""
    top_k: Positive | None = None
    """Only so many of the most likely tokens are drawn."""
    min_p: Rate | None = None
    """Only tokens are drawn that have this share of the most likely one's probability."""
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    """Logits of tokens that stand in prompt or answer already are divided by this where positive, else multiplied."""


class Reinforced(OnPolicy):
    """What ppo and grpo say besides, which compare how likely the policy says an answer with how likely others do."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **trl_names.REINFORCED,
        **dict.fromkeys(
            Cuts.model_fields,
            "Remove it: ratios and KL are of all that the policy may say, and answers drawn from a part of it would "
            "bias both. rft, online_dpo and distill have it.",
        ),
    }
    mask_truncated: bool | None = None
    """true: answers that the budget cut are as if they had not been said: not learned from, compared with no other, and
    not penalised. (TRL's mask_truncated_completions leaves them in the others' baseline.) Absent: false."""

    @property
    def masks(self) -> bool:
        return bool(self.mask_truncated)

    @property
    def compared(self) -> bool:
        """Whether an answer is compared with its prompt's others."""
        return True


class Ppo(Reinforced):
    """Reinforcement learning against the rewards, with a critic. Names follow TRL's PPOConfig, but for `elsewhere`."""

    elsewhere: ClassVar[Mapping[str, str]] = {**Reinforced.elsewhere, **trl_names.PPO}
    samples_per_prompt: Positive = 1
    epochs: Positive = 2
    """Passes over the answers of one iteration."""
    minibatches: Positive = 2
    """Optimiser steps a pass."""
    kl_coef: float = Field(default=0.05, ge=0)
    """Weight of the KL to the tuned model in the reward, a token."""
    kl_target: Annotated[float, Field(gt=0)] | None = None
    """Nats an answer: `kl_coef` is where the weight begins, and it is steered so that the KL comes to this."""
    kl_horizon: Positive | None = None
    """Answers over which it is steered; fewer is faster. Absent: 10000."""
    gamma: Rate = 1.0
    """Discount a token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE's lambda."""
    baseline: Literal["none", "leave_one_out"] = "none"
    """Taken from each score before it is paid: nothing, or the mean score of the prompt's other answers, of which there
    must be one at least. Steadier where prompts differ more than the answers to one."""
    whiten_rewards: bool = False
    """Scale token rewards to variance 1 over an iteration, keeping their mean."""
    cliprange: float = Field(default=0.2, gt=0, lt=1)
    """The policy's ratio is clipped to 1 ± this."""
    cliprange_value: float = Field(default=0.2, gt=0)
    """A value may move this far from the one at sampling time before its loss is clipped."""
    vf_coef: float = Field(default=0.1, ge=0)
    """Weight of the value loss."""

    critic: Literal["shared", "reward"] = "shared"
    """A value head on the policy's backbone, or a model of its own that begins as the reward model: InstructGPT's,
    which costs the memory and the time of a second one. `lora` and `unfrozen_layers` are said of both; but with `lora`
    in `reward` too, the critic goes on with that adapter, in its shape, and shares the policy's frozen weights."""

    @property
    def answers(self) -> int:
        return self.samples_per_prompt

    @property
    def compared(self) -> bool:
        return self.baseline == "leave_one_out"

    @property
    def own_critic(self) -> bool:
        return self.critic == "reward"


class Rft(Cuts, OnPolicy):
    """Rejection-sampling fine-tuning (RAFT): the policy answers, its best answers are learned as sft learns given ones,
    and so on in rounds, which are the iterations."""

    num_generations: Annotated[int, Field(ge=2)] = 8
    """Answers a prompt."""
    threshold: float | None = None
    """Learn only answers with this score or more: what a verifier called right, for example. Absent: any."""
    per_prompt: Positive | None = None
    """Learn at most so many of a prompt's answers, the best first. Absent: 1; with threshold all that reach it."""

    @property
    def answers(self) -> int:
        return self.num_generations


class OnlineDpo(Preference, Cuts, OnPolicy):
    """Direct preference on fresh answers (OAIF): the policy answers, the rewards say which answer is better, and dpo's
    loss of all pairs is minimised. The reference is the tuned model."""

    elsewhere: ClassVar[Mapping[str, str]] = trl_names.ONLINE_DPO
    num_generations: Annotated[int, Field(ge=2)] = 2
    """Answers a prompt."""
    lr: Rate = 5e-6
    """Peak learning rate."""

    @property
    def answers(self) -> int:
        return self.num_generations


class Distill(Cuts, OnPolicy):
    """On-policy distillation (GKD): the policy answers, and learns at every token of its answers what a teacher would
    have said there. Rewards, where there are some, are measured and not learned from."""

    teacher: str = Field(min_length=1)
    """A model with the same tokenizer: a Hub id, a folder or a GGUF file. What it says of a step is as large as the
    step's tokens times the vocabulary; more `minibatches` make it smaller."""
    beta: float = Field(default=1.0, ge=0, le=1)
    """What is minimised between the two distributions: 0 is the forward KL, which covers all that the teacher may say;
    1 the reverse KL, which avoids what it would not say; between them a Jensen-Shannon divergence."""
    lmbda: Rate = 1.0
    """Share of what is learned that the policy says itself (TRL's name for GKD's λ); the rest are conversations."""
    data: str | None = Field(default=None, min_length=1)
    """A JSONL file of these conversations."""

    @property
    def paid(self) -> bool:
        return False

    @property
    def given(self) -> int:
        """Conversations at each optimiser step."""
        return max(1, round(self.prompts_per_iteration * (1 - self.lmbda) / self.lmbda / self.minibatches))
