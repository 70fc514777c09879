"""The report's words: verdict and advice, headline figures, what led to what. Every figure is a recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.pipeline.curves import ON_POLICY
from burnish.pipeline.plots import Curve
from burnish.pipeline.record import Source
from burnish.pipeline.samples import Sample
from burnish.release import clauses
from burnish.release.evidence import Evidence, facts_of
from burnish.release.figures import MODELS, Figures, shown
from burnish.types import Estimate, Verdict

REWARD = "The reward model learns the annotators' order. The lines under it say what its accuracy is worth."
SAMPLED = (
    "Of the first iteration and of the last, the first answer to each of {} prompts: the same ones where both asked "
    "them. They are chosen by a hash of their names, not by quality. All answers stand in the stage's samples.jsonl."
)
ACCURACIES = {
    "accuracy": ("Reward model", "", "reward"),
    "undisputed": ("Reward model", "where every annotator orders the pair alike", "reward"),
    "length_rule": ("Best length rule", "fitted on the training pairs", "other"),
    "shuffled": ("Shuffled labels", "the same training, order at random", "other"),
    "human_ceiling": ("Ceiling", "for labels that agree as these do", "other"),
}
"""Facts of the reward stage, in the order of the page: title, note and colour."""
_HEADLINES = {
    Verdict.PASS.value: "The gate says yes",
    Verdict.FAIL.value: "The gate says no",
    Verdict.INCONCLUSIVE.value: "The gate cannot tell",
}
_WORDS = {Verdict.PASS.value: "Met", Verdict.FAIL.value: "Missed", Verdict.INCONCLUSIVE.value: "Unclear"}
_ADVICE = {
    Verdict.PASS.value: "Every threshold is met at the bad end of its interval. Talk to the release:",
    Verdict.FAIL.value: "At least one threshold is missed even at the good end of its interval: nothing is released. "
    "Read the worst answers below, change data or settings, and run again: only what depends on the change is redone.",
    Verdict.INCONCLUSIVE.value: "The intervals are too wide to decide. More cases narrow them: half the width needs "
    "four times as many. Then run again: training is not repeated.",
}


def lead(evidence: Evidence) -> str:
    """One sentence on what this was."""
    model, done = evidence["recipe"].get("model"), list(evidence["stages"])
    finished = max((str(record.get("finished", "")) for record in evidence["stages"].values()), default="")
    start = f"Post-training of {model}: " if model else "Stages: "
    return start + ", ".join(done) + "." + (f" Finished {finished[:16].replace('T', ' ')} UTC." if finished else "")


def verdict(run: Path, evidence: Evidence) -> dict[str, Any]:
    """The gate's decision with its reasons, and what to do next."""
    decision, said = evidence["decision"], str(evidence["decision"].get("verdict", "none"))
    released = "release" in evidence["stages"]
    again = f"burnish run RECIPE --out {run}"
    commands = [f"burnish chat {run}/release", f"burnish verify {run}/release"] if released else [again]
    advice = _ADVICE.get(said, "Add a gate section to the recipe to have the figures below judged against thresholds.")
    if said == Verdict.PASS.value and not released:
        advice = "Every threshold is met at the bad end of its interval. Nothing was released yet:"
    return {
        "kind": said if said in _HEADLINES else "none",
        "headline": _HEADLINES.get(said, "No gate in this run"),
        "reasons": _reasons(decision),
        "waiver": facts_of(evidence, "release").get("waiver", ""),
        "advice": advice,
        "commands": commands if said != "none" or released else [],
    }


def _reasons(decision: dict[str, Any]) -> list[dict[str, str]]:
    """A sentence a threshold, in the decision's order, with its own verdict in a word."""
    verdicts = {str(each["reason"]): str(each["verdict"]) for each in decision.get("thresholds", [])}
    reasons = [str(reason) for reason in decision.get("reasons", [])]
    found = [(reason, verdicts.get(reason, str(decision["verdict"]))) for reason in reasons]
    return [{"text": _unbroken(text), "verdict": said, "word": _WORDS.get(said, said)} for text, said in found]


def _unbroken(text: str) -> str:
    """The same, without a line break inside "n = 100"."""
    return text.replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def tiles(evidence: Evidence, found: Figures) -> list[dict[str, str]]:
    """The handful of figures to remember, without those that show nothing."""
    tiles: list[dict[str, str]] = []
    for row in found.comparisons[:1]:
        if row.doubted:
            continue
        what = f"{row.title}: preferred, ties half ({_ends(row.estimate)} prompts)"
        tiles.append({"value": shown(row.estimate.value, "share"), "what": what})
    accuracy = clauses.estimate_in(facts_of(evidence, "reward").get("accuracy"))
    if accuracy:
        what = f"held-out accuracy of the reward model ({_ends(accuracy)} prompts)"
        tiles.append({"value": shown(accuracy.value, "share"), "what": what})
    own = clauses.estimate_in(facts_of(evidence, "dpo").get("accuracy"))
    if own:
        what = f"held-out pairs that dpo's own likelihoods put in order ({_ends(own)} prompts)"
        tiles.append({"value": shown(own.value, "share"), "what": what})
    for name in ON_POLICY:
        tiles += _sampled(MODELS[name], facts_of(evidence, name))
    return tiles


def _sampled(title: str, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Those of a policy that learned from its own answers."""
    tiles: list[dict[str, str]] = []
    if facts.get("kl_end") is not None:
        what = f"KL of {title} from the tuned model, per answer: estimated on the answers that it sampled last"
        tiles.append({"value": f"{clauses.number(facts['kl_end'])} nats", "what": what})
    if facts.get("eos_share") is not None:
        what = f"of the answers that {title} sampled last end by themselves, not by the budget"
        tiles.append({"value": clauses.percent(facts["eos_share"]), "what": what})
    return tiles


def _ends(estimate: Estimate) -> str:
    return f"{shown(estimate.low, 'share')} to {shown(estimate.high, 'share')}, {estimate.n:,}"


def caption(curve: Curve) -> str:
    return f"{curve.caption} Bold: mean over {curve.window} neighbouring steps." if curve.window > 1 else curve.caption


def samples_note(found: Sequence[Sample]) -> str:
    """How the shown cases were chosen, and how to read them."""
    graded = any(answer.total is not None for sample in found for answer in sample.answers)
    note = (
        f"Chosen from {len(found):,} cases by a hash of their names, not by quality, taking turns over suites and "
        "languages. The texts are shown whole."
    )
    return f"{note} The number is the rule's grade from 0 to 1, with its five parts below." if graded else note


def chain(evidence: Evidence, where: str = "") -> list[dict[str, Any]]:
    """The nodes from the judgements to the release, each with its digest and what it was made from; `where` follows the
    titles of an earlier run's."""
    nodes: list[dict[str, Any]] = []
    judgements, annotators = evidence["snapshot"].get("judgements"), evidence["snapshot"].get("annotators", [])
    for name, record in evidence["stages"].items():
        if name == "collect" and judgements:
            kinds = sorted({str(one.get("kind", "")) for one in annotators})
            who = f"{len(annotators)} annotators ({', '.join(kinds)})" if annotators else "the annotators"
            lines = [f"by {who}, in preferences.db; the digest is of their ids"]
            nodes.append(_node(f"{judgements['count']:,} judgements{where}", "other", judgements["digest"], lines))
        title, colour = _NODES.get(name, (name, "other"))
        made_from = _made_from(evidence, name, record)
        nodes.append(_node(f"{title}{where}", colour, str(record.get("output", "")), made_from))
    return nodes


def broken(links: Sequence[str]) -> list[dict[str, Any]]:
    """A node that says where the chain does not hold; none where it does."""
    return [_node("What no longer holds", "other", "", list(links))] if links else []


def machine(environment: dict[str, Any]) -> dict[str, str]:
    """The environment as one line an entry; what is unknown is left out."""
    known = {name: value for name, value in environment.items() if value not in (None, "", {})}
    return {name.replace("_", " "): _line(value) for name, value in known.items()}


def _line(value: Any) -> str:
    return ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else str(value)


_NODES = {
    "sft": ("Tuned model", "sft"),
    "collect": ("Snapshot of the preferences", "other"),
    "reward": ("Reward model", "reward"),
    "dpo": ("Policy by direct preference", "dpo"),
    "kto": ("Policy by labelled answers", "kto"),
    "distill": ("Policy by its teacher", "distill"),
    "rft": ("Policy by its best answers", "rft"),
    "online_dpo": ("Policy by fresh preferences", "online_dpo"),
    "ppo": ("Policy", "ppo"),
    "grpo": ("Policy without a critic", "grpo"),
    "evaluate": ("Evaluation", "other"),
    "gate": ("Decision", "other"),
    "release": ("Release", "ppo"),
}


def _node(title: str, colour: str, digest: str, lines: list[str]) -> dict[str, Any]:
    return {"title": title, "colour": colour, "digest": digest, "lines": lines}


def _made_from(evidence: Evidence, stage: str, record: dict[str, Any]) -> list[str]:
    read: dict[str, str] = record.get("inputs", {})
    judgements = evidence["snapshot"].get("judgements") if stage == "collect" else None
    inputs = [f"judgements {judgements['digest'][:12]}"] if judgements else []
    inputs += [f"{_NODES.get(name, (name, ''))[0].lower()} {digest[:12]}" for name, digest in read.items()]
    inputs += [Source(**each).said(12) for each in record.get("sources", ())]
    if not inputs and evidence["recipe"].get("model"):
        inputs = [f"base model {evidence['recipe']['model']}"]
    return [f"made from {', '.join(inputs)}"] if inputs else []
