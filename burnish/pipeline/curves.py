"""Which quantities of a stage are worth a picture, and what each caption says. Knows metric names, draws nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from burnish.pipeline.plots import Curve, Series
from burnish.rewards.combination import HELD_OUT, SPREAD, SURE

ON_POLICY = ("distill", "rft", "online_dpo", "ppo", "grpo")
Rows = Sequence[Mapping[str, Any]]


class _Picture(NamedTuple):
    metric: str
    title: str
    unit: str
    caption: str
    share: bool = False
    noisy: bool = True


_SAMPLED = (
    _Picture(
        "objective/scores",
        "Reward",
        "score",
        "Mean over an iteration, penalties for cut and overlong answers included, KL not yet taken off.",
    ),
    _Picture(
        "objective/full_kl",
        "KL from the tuned model",
        "nats per answer",
        "Of whole distributions, summed along the policy's own answers, mean. It starts at 0, and is never below it.",
    ),
    _Picture(
        "objective/kl",
        "KL from the tuned model",
        "nats per answer",
        "Summed log-ratio of policy to reference on the policy's own answers, mean. It starts at 0.",
    ),
    _Picture(
        "objective/entropy",
        "Entropy",
        "nats per answer",
        "How open the policy is; near 0 one answer is left.",
    ),
    _Picture("val/length", "Answer length", "tokens", "Mean over an iteration's answers."),
    _Picture(
        "val/repeated_4",
        "Repetition",
        "share of 4-token runs",
        "Runs of four tokens that stood in the same answer before.",
    ),
    _Picture(
        "val/distinct_2",
        "Distinct pairs of tokens",
        "share of pairs",
        "Of neighbouring tokens in all of an iteration's answers. It falls where they come to be alike.",
    ),
    _Picture(
        "val/eos_share",
        "Answers that end by themselves",
        "share of answers",
        "The rest were cut by the length budget.",
        share=True,
    ),
)
_CLIPPED = _Picture(
    "policy/clipfrac_avg",
    "Clipped tokens",
    "share of tokens",
    "Tokens that the clip left without a gradient: a large share says that steps are too long.",
)
_PICTURES = {
    "sft": (
        _Picture(
            "loss",
            "Loss",
            "nats",
            "Negative log-likelihood of the assistant's tokens: a token's, or a conversation's with mean: sum.",
        ),
        _Picture("lr", "Learning rate", "", "Warm-up, then the schedule.", noisy=False),
        _Picture("grad_norm", "Gradient norm", "", "Before it is clipped."),
    ),
    "reward": (
        _Picture("loss", "Ranking loss", "nats per pair", "Mean over all pairs of a prompt; 0.693 is guessing."),
        _Picture(
            "rewards/accuracy",
            "Accuracy in training",
            "share of pairs",
            "Pairs of the step put in the annotators' order. Not held out: the table above is.",
            share=True,
        ),
        _Picture("rewards/margin", "Margin", "score", "Score of the preferred answer less that of the other, mean."),
    ),
    "dpo": (
        _Picture("loss", "Loss", "", "Mean over all pairs of a prompt, then over prompts. dpo starts at 0.693."),
        _Picture(
            "rewards/accuracies",
            "Accuracy in training",
            "share of pairs",
            "Pairs of the step whose better answer the policy has moved towards more. Not held out.",
            share=True,
        ),
        _Picture("rewards/margins", "Margin", "nats", "Implicit reward of the better answer less that of the other."),
        _Picture(
            "logps/chosen",
            "Better answers",
            "nats per answer",
            "Log-probability of the better answers, mean. It may fall while the margin grows: rpo_alpha holds it.",
        ),
    ),
    "kto": (
        _Picture("loss", "Loss", "", "Mean over the answers, by their weights; at weight 1 it starts at 0.5."),
        _Picture("rewards/chosen", "Good answers", "nats", "Implicit reward (beta times log-ratio), mean."),
        _Picture("rewards/rejected", "Bad answers", "nats", "The same of the answers called bad: it should fall."),
        _Picture(
            "kl",
            "Reference point",
            "nats per answer",
            "Mean log-ratio on answers given to other prompts, at least 0: how far the policy has drifted.",
        ),
    ),
    "distill": (
        _Picture(
            "loss/divergence_avg",
            "Divergence from the teacher",
            "nats per token",
            "Of whole distributions, mean over the tokens of the policy's own answers (and of given conversations).",
        ),
        *_SAMPLED[1:],
    ),
    "rft": (
        *_SAMPLED,
        _Picture("objective/chosen_scores", "Reward of what is learned", "score", "Of the chosen answers, mean."),
        _Picture("val/chosen", "Answers that are learned", "answers", "Chosen of an iteration's.", noisy=False),
    ),
    "online_dpo": (
        *_SAMPLED,
        _Picture(
            "rewards/accuracies",
            "Accuracy in training",
            "share of pairs",
            "Pairs of the iteration whose better answer the policy has moved towards more.",
            share=True,
        ),
        _Picture(
            "val/groups_without_advantage",
            "Prompts without a lesson",
            "prompts",
            "Prompts whose answers all had the same score: there is nothing to prefer.",
        ),
    ),
    "ppo": (
        *_SAMPLED,
        _Picture(
            "val/explained_variance",
            "Value function",
            "explained variance",
            "1: the value head foresees the return's whole variance; 0: nothing of it.",
        ),
        _CLIPPED,
    ),
    "grpo": (
        *_SAMPLED,
        _Picture(
            "val/groups_without_advantage",
            "Prompts without a lesson",
            "prompts",
            "Prompts whose answers are all as good, or all but one cut: there is nothing to learn by comparing them.",
        ),
        _CLIPPED,
    ),
}


_EVALUATED = _Picture(
    "eval/loss",
    "Loss on other documents",
    "",
    "The same loss on documents that are not learned from: where it rises, the stage learns its data by heart.",
    noisy=False,
)
_BESIDE_IT = (
    _Picture(
        "loss/ptx_avg",
        "Text that is learned beside",
        "nats per token",
        "Negative log-likelihood of its pieces (PPO-ptx), before each step; each is another text, so the mean tells.",
    ),
    _Picture(
        "grad_norm/own",
        "Gradient of the answers alone",
        "",
        "Before it is clipped with the text's: far below `grad_norm` in metrics.jsonl, the text leads (ptx_coef).",
    ),
)


def curves(stage: str, rows: Rows) -> list[Curve]:
    """A stage's pictures, of those quantities that it logged at least twice. One that trains nothing has none. Of two
    pictures with one title, the first that there is."""
    rows = by_iteration(rows) if stage in ON_POLICY else rows
    found: dict[str, Curve] = {}
    for picture in (*_PICTURES.get(stage, ()), *_spreads(rows), *_BESIDE_IT, _EVALUATED):
        curve = _curve(stage, rows, picture)
        if curve:
            found.setdefault(picture.title, curve)
    drawn = list(found.values())
    frontier = (_watched(stage, rows) or _frontier(stage, rows)) if stage in ON_POLICY else None
    parts = [_curve(stage, rows, picture) for picture in _parts(rows)]
    return [*drawn[:2], *(each for each in (frontier, *parts) if each), *drawn[2:]]


def _parts(rows: Rows) -> list[_Picture]:
    """Each of the rewards that answers are paid by, whatever the recipe calls it, where they are several: a picture
    each, as each has a unit of its own."""
    told = {name.removeprefix("reward/") for row in rows for name in row if name.startswith("reward/")}
    names = [name for name in sorted(told) if "/" not in name and name not in (HELD_OUT, SURE)]
    caption = "What it says of an answer, before it is weighed; mean over those of which it says something."
    return [_Picture(f"reward/{name}", f"Reward: {name}", "score", caption) for name in names if len(names) > 1]


def _spreads(rows: Rows) -> Iterator[_Picture]:
    """Of each ensemble among what answers are paid by, whatever the recipe calls it."""
    for metric in sorted(
        {name for row in rows for name in row if name.startswith("reward/") and name.endswith(SPREAD)}
    ):
        yield _Picture(
            metric,
            f"Disagreement within {metric.removeprefix('reward/').removesuffix(SPREAD)}",
            "score",
            "Standard deviation of the reward models' scores of an answer, mean. It grows where the policy comes to "
            "answers of which they know little.",
        )


def _curve(stage: str, rows: Rows, picture: _Picture) -> Curve | None:
    points = _points(rows, "step", picture.metric)
    if len(points) < 2:
        return None
    x, y = zip(*points, strict=True)
    return Curve(
        title=picture.title,
        x=x,
        y=y,
        x_label="step",
        y_label=picture.unit,
        caption=picture.caption,
        colour=stage,
        share=picture.share,
        noisy=picture.noisy,
    )


def by_iteration(rows: Rows) -> list[dict[str, float]]:
    """Each metric's mean over an iteration. A line is logged a step, and what was sampled on an iteration's first."""
    parts: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if not parts or row.get("objective/scores") is not None:
            parts.append([])
        parts[-1].append(row)
    return [_mean(part) | {"step": part[0]["step"]} for part in parts]


def _mean(rows: Rows) -> dict[str, float]:
    names = {name for row in rows for name, value in row.items() if isinstance(value, int | float)}
    told = {name: [row[name] for row in rows if row.get(name) is not None] for name in sorted(names)}
    return {name: sum(values) / len(values) for name, values in told.items()}


def _frontier(stage: str, rows: Rows) -> Curve | None:
    """What was gained for how much drift: the picture of Gao et al. 2023 (scaling laws of reward over-optimisation)."""
    points = _points(rows, "objective/kl", "objective/scores")
    if len(points) < 2:
        return None
    below = sum(kl < 0 for kl, _ in points)
    return Curve(
        title="Score against drift",
        x=[math.sqrt(max(0.0, kl)) for kl, _ in points],
        y=[score for _, score in points],
        x_label="√KL (√nats)",
        y_label="score",
        caption="A dot an iteration, later ones darker. It should rise; where it bends down, drift buys nothing more."
        + (f" {below} of {len(points)} KLs are estimated below 0, and stand at 0." if below else ""),
        colour=stage,
        x_from=0.0,
        joined=False,
    )


_BESIDE = (
    (f"reward/{HELD_OUT}", "what looks on", "reward"),
    (f"reward/{SURE}", "what is sure of it", "reward"),
    ("reward/gold", "gold", "maybe"),
)
"""Metrics that may stand beside what pays: the watcher's, or without one what an ensemble is sure of; and a reward that
the recipe calls gold, of weight 0."""


def _watched(stage: str, rows: Rows) -> Curve | None:
    """The same of a watched stage: what pays and what only looks on, as gains from where they began, which are in the
    same unit (standard deviations of each model's scores), and the weights that were kept."""
    read = [row for row in rows if row.get("objective/full_kl") is not None and row.get("watch/kept") is not None]
    if len(read) < 2:
        return None
    kept = int(read[-1]["watch/kept"])
    x = [math.sqrt(max(0.0, row["objective/full_kl"])) for row in read]
    beside = {name: ([row.get(metric) for row in read], colour) for metric, name, colour in _BESIDE}
    return Curve(
        title="Score against drift",
        x=x,
        y=_gains([row["objective/scores"] for row in read]),
        x_label="√KL (√nats)",
        y_label="gain",
        caption="A dot an iteration, later ones darker. Where what pays rises and what only looks on does not, the "
        "reward model is being over-optimised. Dashed: the weights that the watch kept, or would have.",
        colour=stage,
        x_from=0.0,
        joined=False,
        name="what pays",
        beside=[
            Series(name=name, y=_gains(seen), colour=colour)
            for name, (seen, colour) in beside.items()
            if None not in seen
        ],
        mark=x[min(kept, len(x) - 1)],
    )


def _gains(values: Sequence[Any]) -> list[float]:
    return [value - values[0] for value in values]


def _points(rows: Rows, x: str, y: str) -> list[tuple[float, float]]:
    return [(float(row[x]), float(row[y])) for row in rows if row.get(x) is not None and row.get(y) is not None]
