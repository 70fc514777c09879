"""Recorded facts as clauses of plain English. A clause whose fact was not recorded is left out, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from burnish.types import Estimate

Facts = Mapping[str, Any]


def estimate_in(value: object) -> Estimate | None:
    """An Estimate from its JSON, or from an object that holds one as its "accuracy"; None where there is none."""
    if not isinstance(value, Mapping):
        return None
    if "low" not in value:
        return estimate_in(value.get("accuracy"))
    return Estimate(
        value=float(value["value"]),
        low=float(value["low"]),
        high=float(value["high"]),
        n=int(value["n"]),
        mde=float(value["mde"]),
    )


def count(value: float) -> str:
    return f"{value:,.0f}"


def number(value: float) -> str:
    """Three significant digits, with a true minus."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−")


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def rate(value: object) -> str:
    """A share with its interval and n, or the bare share where no interval was recorded."""
    found = estimate_in(value)
    if found is None:
        return percent(value) if isinstance(value, int | float) else "not recorded"
    ends = f"{percent(found.low)} to {percent(found.high)}"
    return f"{percent(found.value)} (95% interval {ends}, n = {count(found.n)})"


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count_of_bytes: float) -> str:
    """Decimal megabytes or gigabytes, as disks are sold."""
    return f"{count_of_bytes / 1e9:.2f} GB" if count_of_bytes >= 1e9 else f"{count_of_bytes / 1e6:.1f} MB"


def drawn(sampling: Mapping[str, Any]) -> str:
    """A sentence on how answers were drawn, by the settings of `burnish.pipeline.settings.SamplingSettings`; "" where
    nothing was recorded."""
    if not sampling:
        return ""
    how = f"at temperature {number(sampling['temperature'])}" if sampling["temperature"] else "greedily"
    cuts = [
        f"{name} {number(sampling[name])}"
        for name in ("top_p", "top_k", "min_p", "repetition_penalty")
        if sampling.get(name) not in (None, 1.0)
    ]
    return f"Answers were drawn {', '.join([how, *cuts])}, and cut after {count(sampling['max_new_tokens'])} tokens."


def _duels(rates: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_vs_', ' against ')} {rate(found)}" for name, found in rates.items())


class _Words(Formatter):
    """str.format whose specs name the functions above; "some" is a count that is told only where it is not zero."""

    _SPECS: Mapping[str, Callable[[Any], str]] = {
        "count": count,
        "some": count,
        "number": number,
        "percent": percent,
        "rate": rate,
        "size": size,
        "names": ", ".join,
        "duels": _duels,
    }

    def format_field(self, value: Any, format_spec: str) -> str:
        return self._SPECS[format_spec](value) if format_spec else str(value)

    def tells(self, clause: str, facts: Facts) -> bool:
        """Whether every fact of the clause was recorded and is worth a word."""
        fields = [(name, spec) for _, name, spec, _ in self.parse(clause) if name]
        return all(facts.get(name) is not None and (spec != "some" or facts[name]) for name, spec in fields)


_ANSWERS = (
    "reward {reward_start:number} → {reward_end:number}",
    "length {length_start:number} → {length_end:number} tokens",
    "{eos_share:percent} of the answers ended by the model itself",
)
_WATCHED = (
    "watched: weights after {kept_iterations:count} of {iterations:count} iterations kept, at a KL of {kept_kl:number}",
    "ended by: {ended_by}",
)
_CLAUSES = {
    "sft": (
        "{examples:count} conversations",
        "{tokens:count} tokens, {supervised_share:percent} of them learned (the assistant's)",
        "{too_long:some} conversations left out as too long",
        "loss {loss_first:number} → {loss_last:number} nats a token",
        "loss {summed_first:number} → {summed_last:number} nats a conversation",
        "loss on documents that it did not learn from: {eval_loss:number}",
    ),
    "collect": (
        "{prompts:count} prompts",
        "{answers:count} sampled answers",
        "{judgements:count} judgements by {annotators:count} annotators",
        "two annotators agree on {agreement:rate} of the pairs that both ordered",
    ),
    "reward": (
        "{train_pairs:count} training pairs",
        "{heldout_pairs:some} held-out pairs",
        "{dropped_rows:some} unusable rows left out",
        "{too_long:some} prompts left out as too long",
        "pairs in the right order: {accuracy:rate}, n in prompts",
        "measured by: {measured}",
        "scores rise for form alone: {likes:names}",
        "model that watches, on what the others learned: {watcher:rate}, n in prompts",
        "loss on documents that it did not learn from: {eval_loss:number}",
    ),
    "dpo": (
        "loss {loss}, beta {beta:number}",
        "{train_pairs:count} training pairs",
        "{heldout_pairs:some} held-out pairs",
        "{dropped_rows:some} unusable rows left out",
        "{too_long:some} prompts left out as too long",
        "loss {loss_first:number} → {loss_last:number}",
        "loss on documents that it did not learn from: {eval_loss:number}",
        "held-out pairs that its own likelihoods put in the right order: {accuracy:rate}, n in prompts",
    ),
    "kto": (
        "beta {beta:number}",
        "{answers:count} answers to {prompts:count} prompts, {desirable:count} of them called good",
        "{too_long:some} prompts left out as too long",
        "loss {loss_first:number} → {loss_last:number}",
        "loss on documents that it did not learn from: {eval_loss:number}",
        "held-out good answers that became likelier: {raised:rate}, n in prompts",
        "held-out bad answers that became less likely: {lowered:rate}, n in prompts",
    ),
    "distill": (
        "teacher {teacher}",
        "{episodes:count} sampled answers",
        "divergence from the teacher {divergence_start:number} → {divergence_end:number} nats a token",
        *_ANSWERS,
    ),
    "rft": (
        "{episodes:count} sampled answers, {chosen:count} of them learned",
        *_ANSWERS,
    ),
    "online_dpo": (
        "loss {loss}, beta {beta:number}",
        "{episodes:count} sampled answers",
        "{groups_without_order:some} prompts taught nothing, their answers being all as good",
        "KL from the tuned model {kl_start:number} → {kl_end:number} nats an answer",
        *_ANSWERS,
    ),
    "ppo": (
        "{episodes:count} sampled answers",
        "KL from the tuned model {kl_start:number} → {kl_end:number} nats an answer",
        "answers paid by {paid_by}",
        *_ANSWERS,
        *_WATCHED,
    ),
    "grpo": (
        "loss {loss}",
        "answers paid by {paid_by}",
        "{episodes:count} sampled answers",
        "{groups_without_advantage:some} prompts taught nothing, their answers being all as good, or cut",
        "KL from the tuned model {kl_start:number} → {kl_end:number} nats an answer",
        *_ANSWERS,
        *_WATCHED,
    ),
    "evaluate": ("{cases:count} cases, answered by {models:names}", "{win_rates:duels}"),
    "gate": ("verdict: {verdict}",),
    "release": ("{name} {version}", "{files:count} files, {bytes:size}"),
}


def clauses(stage: str, facts: Facts) -> list[str]:
    """What a stage found, as far as it recorded it, in a fixed order."""
    words = _Words()
    return [words.vformat(clause, (), facts) for clause in _CLAUSES.get(stage, ()) if words.tells(clause, facts)]
