"""The recipe: every setting of a run, its bounds and its unit. Knows no stage's work, no model and no database.

A section that is absent is a stage that is absent. Paths are written relative to the recipe file's folder and stay as
written; `burnish.records.files.located` says where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from burnish.config import Strict
from burnish.judge.panel import PanelSettings
from burnish.pipeline import trl_names
from burnish.pipeline.critic_free import Grpo
from burnish.pipeline.reinforcement import Distill, OnlineDpo, OnPolicy, Ppo, Rft
from burnish.pipeline.reward_terms import RewardTerms
from burnish.pipeline.settings import (
    Device,
    DType,
    Kept,
    Lora,
    Positive,
    Preference,
    Rate,
    SamplingSettings,
    Schedule,
    Share,
    TrackerName,
)
from burnish.release.gate import Threshold
from burnish.store.kinds import KINDS, kind_of
from burnish.store.views import CampaignKind
from burnish.types import KernelName

STAGES = (
    "sft",
    "collect",
    "reward",
    "dpo",
    "kto",
    "distill",
    "rft",
    "online_dpo",
    "ppo",
    "grpo",
    "evaluate",
    "gate",
    "release",
)
"""In the order in which they run."""
POLICIES = ("sft", "dpo", "kto", "distill", "rft", "online_dpo", "ppo", "grpo")
"""Those that make a model that answers, in the same order: what is evaluated. The last one of a recipe is released."""

Value = str | bool | int
"""What a column of a row may say."""


class Optim(Kept):
    """What every stage that trains on given data says about its optimiser (AdamW) and its evaluation."""

    lr: Rate = 1e-4
    """Peak learning rate."""
    epochs: Positive = 1
    """Passes over the data."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    """Documents (reward, dpo, kto: prompts with all their answers) a step."""
    micro_tokens: Annotated[int, Field(ge=16)] = 2048
    """Token budget of one forward pass; the same step, whatever it is, up to rounding. Less needs less memory."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises to its peak."""
    schedule: Schedule = "cosine"
    """What the learning rate does after its peak: stay, fall to zero on a line, or to a tenth on a half cosine."""
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    """AdamW's decoupled decay of weight matrices, embeddings included; norms and biases stay."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    max_length: Annotated[int, Field(ge=8)] = 512
    """Longer documents (tokens) are left out, and counted; so are those that the model has no positions for."""
    save_every: Positive = 50
    """Steps between checkpoints: what a kill can cost at most. Never changes the result."""
    lora: Lora | None = None
    """Train adapters instead of all weights; a good `lr` is then about ten times as high."""
    eval_every: Positive | None = None
    """Steps between evaluations on documents that are not learned from; there is one after the last step too."""
    eval_data: str | None = Field(default=None, min_length=1)
    """What they are: a file of the kind that the stage learns from. Absent: a share of what it would learn from."""
    eval_share: Share | None = None
    """Share of the prompts that is taken for it; a prompt is never cut. Absent: 0.05."""
    patience: Positive | None = None
    """Stop after so many evaluations in a row whose loss is no lower than the lowest."""
    keep: Literal["best", "last"] | None = None
    """Keep the weights of the best evaluation, or the last ones. Absent: best with `patience`, else last."""

    @property
    def keeps_best(self) -> bool:
        return self.keep == "best" if self.keep else self.patience is not None


class Sft(Optim):
    """Supervised fine-tuning on conversations; every assistant turn is learned."""

    elsewhere: ClassVar[Mapping[str, str]] = trl_names.SFT
    data: str | None = Field(default=None, min_length=1)
    """A JSONL file of conversations (`messages`), or a folder that holds one. Absent: the best answers of the training
    side of the rankings that `reward` or `dpo` names."""
    limit: Positive | None = None
    """Take at most so many rows."""
    mean: Literal["token", "sequence", "sum"] | None = None
    """Of what the loss is a mean. token (absent): of all learned tokens, so that long conversations weigh more.
    sequence: of conversations, each the mean of its tokens: all weigh the same. sum: of conversations, each the sum of
    its tokens: weighs as token does, but a step's gradient grows with its length, and `clip_norm` has to fit."""


def _asked(said: Mapping[str, Any]) -> CampaignKind:
    """What people say of `k` answers, where `kind` may be absent."""
    return said.get("kind") or kind_of([said.get("k", 0)])


class Collect(Strict):
    """Answers of the tuned model or of another, ranked by people or by a simulated panel."""

    prompts: str = Field(min_length=1)
    """A JSONL file of prompts, or a folder that holds one."""
    model: str | None = Field(default=None, min_length=1)
    """Whose answers: a built-in alias, a Hub id, a folder, or the address of a server. Absent: the tuned model's."""
    k: int = Field(default=4, ge=1, le=9)
    """Answers a prompt."""
    kind: CampaignKind | None = None
    """What people say of them. pairwise: which of two is better; ranking: the order of all; scale: grades from 1 to 7
    on each of `axes`; good_bad: whether a single one is good, for kto. Absent: good_bad where there is one,
    pairwise where there are two, else ranking."""
    axes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What a scale grades, for example [helpful, honest]."""
    limit: Positive | None = None
    """Take at most so many prompts."""
    by: Literal["panel", "people"] = "panel"
    """Who judges: the simulated panel at once, or people with `burnish label serve`."""
    overlap: Positive = 3
    """How many annotators judge the same prompt."""
    edits: bool | None = None
    """Whether people may write an answer better. Those texts are conversations for sft, in the snapshot's
    `edits.jsonl`."""
    rationale: bool | None = None
    """Whether people must say why. They always may; what they write stands in the snapshot, and nothing learns it."""
    strength: bool | None = None
    """Ask people how far the better of two answers is ahead. Rankings then have a column `strengths`, which
    `reward.margin` may name."""
    question: str = Field(default_factory=lambda said: KINDS[_asked(said)].question, min_length=1)
    """What an annotator is asked. Absent: what fits the kind."""
    rubric: str | None = None
    """The published gold rule that the simulated panel sees through noise (YAML)."""
    panel: PanelSettings = PanelSettings()
    """The simulated annotators."""
    held_out: Share = 0.2
    """Share of prompts that reward training never sees; a prompt is never cut."""
    sampling: SamplingSettings = SamplingSettings(temperature=1.0)
    """How the answers are drawn."""
    disputed_by: str | None = Field(default=None, min_length=1)
    """The reward ensemble of an earlier run (its folder reward/model): the prompts on whose answers its members
    disagree most are asked about first."""
    ask: Positive | None = None
    """Ask about so many of the prompts only, the most disputed ones. What is held out is then as hard as they are."""
    store: Annotated[str, Field(pattern=r"^postgres(ql)?://([^/:@]*@)?[^@]*$")] | None = None
    """Keep judgements in PostgreSQL: postgresql://USER@HOST/NAME, the password in PGPASSWORD. Absent: a file in the
    run."""

    @property
    def asked(self) -> CampaignKind:
        """What people say of the answers."""
        return _asked({"kind": self.kind, "k": self.k})


class Ranked(Optim):
    """What the stages that learn from rankings say about them. Named once, they are those of all stages."""

    rankings: str | None = None
    """Rankings to learn from where there is no `collect`: a path or a Hub id."""
    limit: Positive | None = None
    """Take at most so many prompts."""
    held_out: Share = 0.2
    """Share of prompts held out, where `rankings` is given; a `collect` stage has its own."""
    where: Annotated[dict[str, Value | tuple[Value, ...]], Field(min_length=1)] | None = None
    """Take only rows of `rankings` whose columns say this, or one of these, for example {lang: [en, de]}."""

    @property
    def learns_ties(self) -> bool:
        """Whether answers of equal rank teach anything."""
        return False

    @property
    def strength_column(self) -> str | None:
        """The column of `rankings` that says how good each answer is, where it matters."""
        return None


class RewardModel(Ranked):
    """A reward model from rankings, by the K-wise loss over all pairs of a prompt where nothing else is said."""

    elsewhere: ClassVar[Mapping[str, str]] = trl_names.REWARD
    loss: Literal["k_wise", "bradley_terry", "plackett_luce"] | None = None
    """k_wise (absent): mean over the pairs of a prompt, then over prompts. bradley_terry: mean over all pairs, so that
    a prompt with more answers weighs more. plackett_luce: the likelihood of a prompt's whole order."""
    margin: Annotated[float, Field(gt=0)] | Annotated[str, Field(min_length=1)] | None = None
    """What the better answer must be ahead by: a number, or a column with one for each answer (how good it was called:
    the margin is the difference) or, for pairs, a single one; of `score_chosen`, `score_rejected` is the other."""
    centring: float | None = Field(default=None, gt=0)
    """Weight of (r_w + r_l)², which keeps scores near 0; usually 0.01."""
    lapse: float | None = Field(default=None, gt=0, lt=1)
    """Share of judgements taken to be made at random: one wrong label then costs a bounded loss; usually 0.1."""
    ties: Literal["drop", "half", "rao_kupper"] | None = None
    """What answers of equal rank teach. drop (absent): nothing. half: either order by half. rao_kupper: that their
    scores lie within about `tie_threshold`."""
    tie_threshold: float | None = Field(default=None, gt=0)
    """Rao and Kupper's η: two answers of equal score are called equal with chance tanh(η/2). Absent: 0.5."""
    layers: Positive | None = None
    """Keep the first so many layers of the tuned model: a smaller reward model. Absent: all."""
    members: Annotated[int, Field(ge=1, le=16)] = 1
    """So many models from different seeds; policies are paid the mean of their scores, unless `combine` in `rewards`
    says otherwise. Folds measure single models."""
    watcher: Share | None = None
    """Share of the training prompts that a further model learns from, and no other: policies are never paid by it, so
    that a stage's `watch` can tell by it when the others are over-optimised. Absent: there is none."""
    bootstrap: bool | None = None
    """Let each member learn from a sample of the prompts, drawn with replacement: they differ more, where data are few.
    Absent: all learn from all."""
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    """0: accuracy on the held-out split. 2 and more: cross-validation by prompt with so many folds."""

    @property
    def learns_ties(self) -> bool:
        return self.ties in ("half", "rao_kupper")

    @property
    def strength_column(self) -> str | None:
        return self.margin if isinstance(self.margin, str) else None


class Dpo(Preference, Ranked):
    """The tuned model learns from rankings without a reward model, over all pairs of a prompt."""

    elsewhere: ClassVar[Mapping[str, str]] = trl_names.DPO
    lr: Rate = 5e-6
    """Peak learning rate."""


class Kto(Optim):
    """The tuned model learns from answers called good or bad, one at a time: no pairs, no reward model."""

    elsewhere: ClassVar[Mapping[str, str]] = trl_names.KTO
    data: str | None = Field(default=None, min_length=1)
    """A JSONL file of answers with a label (`prompt`, `completion`, `label`), or a folder that holds one. Absent: what
    `collect` with the kind good_bad made of people's words; what it holds out is held out here."""
    limit: Positive | None = None
    """Take at most so many rows."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of prompts held out, on which the stage's figures are measured."""
    beta: float = Field(default=0.1, gt=0)
    """Strength: how steeply the loss turns with the log-ratio to the tuned model."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of good answers. Its authors advise that weight times number of the good be 1 to 1.5 times that of the
    bad."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of bad answers."""
    lr: Rate = 5e-6
    """Peak learning rate."""


class Evaluate(Strict):
    """The base model and those of every stage that trains a policy answer the same cases."""

    cases: tuple[str, ...] = ()
    """JSONL files of cases; absent: the held-out prompts of the rankings."""
    prompt_column: str | None = Field(default=None, min_length=1)
    """The column of those files that holds the prompt. Absent: `messages` or `prompt`."""
    rewards: RewardTerms | None = None
    """What else is measured of each answer, each by its name; their weighted sum compares models where there is no
    rubric."""
    limit: Positive | None = None
    """Take at most so many cases of each file."""
    texts: tuple[str, ...] | None = None
    """Files of text (`text` in JSONL, or .txt) on which perplexity is measured: what training made a model forget."""
    rubric: str | None = None
    """The gold rule (YAML). Absent: answers are compared by `rewards`, or by the reward model."""
    sampling: SamplingSettings = SamplingSettings(temperature=0.0)
    """How the answers are drawn."""


class Gate(Strict):
    """What a release must show."""

    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)]
    """Each is judged on the figure's 95% interval; see `burnish.release.gate`."""


class Release(Strict):
    """What goes out."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(default="1.0.0", min_length=1)
    license: str = Field(min_length=1)
    """SPDX identifier, in small letters as the Hub writes it; what the base model's licence allows."""
    purpose: str = ""
    """What the model is for, in a sentence or two: opens the model card."""
    allow_inconclusive: bool = False
    """Release although the evidence does not suffice; never although it says no."""
    reason: str = ""
    """Why an inconclusive verdict is accepted: printed in the model card."""


class Recipe(Strict):
    """One run, whole."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """A run folder belongs to one name."""
    model: str = Field(min_length=1)
    """A built-in alias (smollm2-135m), a Hub id, a folder or a GGUF file."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Every draw of the run is a function of it."""
    device: Device = "auto"
    """Where models are computed. auto: a GPU where there is one, else the CPU; a stage that was begun goes on where it
    began. Never changes the result but for rounding."""
    dtype: DType = "auto"
    """Numbers of the weights. auto: what the device is fast at, measured when a stage begins."""
    kernels: KernelName = "auto"
    """What computes norms, gated activations and rotation. compiled: code that torch compiles for them when a stage
    begins, with a C++ compiler on a CPU; liger: the kernels of the package liger-kernel, on a GPU. What they do not fit
    torch computes, and a warning says so. auto: torch; a stage that was begun goes on as it began. Never changes the
    result but for rounding."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What each process has of the weights where torchrun started several: all of them, or a part (FSDP2). Never
    changes the result but for rounding."""
    gradient_checkpointing: bool = False
    """Keep of each layer only what it was given, and compute the rest again on the way back: less memory for one more
    forward pass. Never changes the result."""
    track: tuple[TrackerName, ...] = ()
    """Where figures of training go beside metrics.jsonl: tensorboard, wandb, mlflow or trackio, for example [wandb].
    Never changes the result; a tracker that fails ends no training."""
    sft: Sft | None = None
    collect: Collect | None = None
    reward: RewardModel | None = None
    dpo: Dpo | None = None
    kto: Kto | None = None
    distill: Distill | None = None
    rft: Rft | None = None
    online_dpo: OnlineDpo | None = None
    ppo: Ppo | None = None
    grpo: Grpo | None = None
    evaluate: Evaluate | None = None
    gate: Gate | None = None
    release: Release | None = None

    def stages(self) -> list[str]:
        """The stages that this recipe asks for, in order."""
        return [name for name in STAGES if getattr(self, name) is not None]

    def on_policy(self) -> dict[str, OnPolicy]:
        """The sections of the stages that learn from the policy's own answers."""
        sections = {name: getattr(self, name) for name in POLICIES}
        return {name: section for name, section in sections.items() if isinstance(section, OnPolicy)}

    def ranked(self) -> Ranked | None:
        """The section that names the rankings, for all stages; None where they are collected or there are none."""
        section = self.reward or self.dpo
        return section if section and section.rankings is not None else None
