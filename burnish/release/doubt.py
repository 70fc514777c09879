"""Whether what a run's reward models say of policies can be taken for anything. Reads evidence; computes nothing.

A reward model whose accuracy may be that of a coin orders answers by luck. A policy that pleases it has shown nothing,
and one that another such model likes no better has shown nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.evals.run import REWARD, WATCHER
from burnish.release import clauses
from burnish.release.evidence import Evidence, facts_of
from burnish.release.figures import MODELS, WIN_RATES

GUESSING = 0.5
PAID = ("rft", "online_dpo", "ppo", "grpo")
"""Stages that learn from what answers are paid."""


def doubts(evidence: Evidence) -> list[str]:
    """A sentence for each of the run's reward models, the one that pays and the one that watches, whose accuracy's
    interval includes guessing or lies below it."""
    facts = facts_of(evidence, "reward")
    paid = [MODELS[name] for name in PAID if _pays(evidence, name)]
    models = {
        "accuracy": f"The reward model that pays {' and '.join(paid)}" if paid else "The reward model",
        "watcher": "The reward model that watches",
    }
    return [
        f"{who} puts {clauses.rate(facts[key])} of the pairs that it did not learn from in order: it may be guessing. "
        "Nothing is concluded from what the run's reward models say of policies."
        for key, who in models.items()
        if (found := clauses.estimate_in(facts.get(key))) and found.low <= GUESSING
    ]


def flattery(evidence: Evidence) -> str:
    """A sentence where cases are prompts that models of the run learned from; "" where none is."""
    facts = facts_of(evidence, "evaluate")
    learned = facts.get("learned_cases", 0)
    if not learned:
        return ""
    of = f"{clauses.count(learned)} of {clauses.count(facts['cases'])} cases"
    return f"{of} are prompts that models of this run learned from. What is measured on them flatters."


def doubtful(evidence: Evidence) -> set[str]:
    """Suites of the evaluation that show what doubtful reward models say. Either model's doubt falls on both: each is
    there to be compared with the other."""
    if not doubts(evidence):
        return set()
    settings = _settings(evidence, "evaluate")
    own = [term for term in settings.get("rewards") or () if _own(term)]
    found = {WATCHER.name, *(term.get("name") or "model" for term in own)}
    summed = any(term.get("weight", 1) for term in own) if settings.get("rewards") else True
    return found | ({REWARD.name, WIN_RATES} if summed and not settings.get("rubric") else set())


def _pays(evidence: Evidence, stage: str) -> bool:
    """Whether the run's reward model is among what a stage's answers are paid by."""
    if stage not in evidence["stages"]:
        return False
    terms = _settings(evidence, stage).get("rewards")
    return terms is None or any(_own(term) and term.get("weight", 1) for term in terms)


def _own(term: Mapping[str, Any]) -> bool:
    return term.get("model") is not None and term["model"].get("folder") is None


def _settings(evidence: Evidence, stage: str) -> Mapping[str, Any]:
    return evidence["stages"].get(stage, {}).get("settings", {})
