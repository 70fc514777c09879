"""The model card, from evidence alone: the same evidence, the same card. What was not recorded reads "Not assessed"."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from burnish.errors import plain
from burnish.release import clauses
from burnish.release.doubt import doubts, flattery
from burnish.release.evidence import Evidence, facts_of, sampling_of
from burnish.release.figures import read_figures, shown, spread

LANGUAGES = {"en": "English", "es": "Spanish", "de": "German", "fr": "French", "it": "Italian", "pt": "Portuguese"}
TITLES = {
    "sft": "Supervised fine-tuning",
    "collect": "Preferences",
    "reward": "Reward model",
    "dpo": "Direct preference optimisation",
    "kto": "KTO",
    "distill": "On-policy distillation",
    "rft": "Rejection-sampling fine-tuning",
    "online_dpo": "Online DPO",
    "ppo": "PPO",
    "grpo": "GRPO and relatives",
}
WRITERS = {"base": "the base model", "sft": "the tuned model"}
ON_HUB = r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?"
"""A name on the Hub, which its pages link to. A path begins otherwise, but for one that has two parts."""
SHOWN_SETTINGS = (
    "loss",
    "mean",
    "beta",
    "label_smoothing",
    "rpo_alpha",
    "desirable_weight",
    "undesirable_weight",
    "lr",
    "epochs",
    "iterations",
    "prompts_per_iteration",
    "samples_per_prompt",
    "batch_size",
    "minibatches",
    "num_generations",
    "threshold",
    "per_prompt",
    "teacher",
    "lmbda",
    "kl_coef",
    "kl_target",
    "kl",
    "cliprange",
    "epsilon",
    "epsilon_high",
    "ptx_coef",
    "gamma",
    "lam",
    "missing_eos_penalty",
    "temperature",
    "max_new_tokens",
    "max_length",
    "layers",
    "schedule",
    "warmup_steps",
    "betas",
    "ema",
    "average_with_start",
    "eval_every",
    "patience",
    "keep",
)
"""Settings that the card prints, with those of an adapter; all of them stand in evidence.json."""


def write_card(evidence: Evidence) -> str:
    """The README.md of a release: Markdown with the YAML head that the Hub reads."""
    environment = Environment(
        loader=PackageLoader("burnish.release", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(_FILTERS)
    return environment.get_template("card.md.jinja").render(**_context(evidence))


def _context(evidence: Evidence) -> dict[str, Any]:
    snapshot = evidence.get("snapshot", {})
    annotators = snapshot.get("annotators", [])
    base, policy = evidence.get("recipe", {}).get("model", ""), evidence.get("policy", "")
    return {
        "it": evidence,
        "decision": evidence.get("decision", {}),
        "figures": read_figures(evidence.get("evaluation", {})),
        "doubts": doubts(evidence),
        "flattery": flattery(evidence),
        "base": base,
        "on_hub": base.partition("@")[0] if re.fullmatch(ON_HUB, base) else "",
        "policy": TITLES.get(policy, policy),
        "made": facts_of(evidence, policy),
        "collect": facts_of(evidence, "collect"),
        "reward": facts_of(evidence, "reward"),
        "sft": facts_of(evidence, "sft"),
        "snapshot": snapshot,
        "languages": {LANGUAGES.get(code, code): n for code, n in snapshot.get("languages", {}).items()},
        "codes": list(snapshot.get("languages", {})),
        "kinds": sorted({str(one["kind"]) for one in annotators}),
        "annotators": annotators,
        "writers": [WRITERS.get(name, name) for name in snapshot.get("models", {})],
        "read": list(_read(evidence)),
        "drawn": clauses.drawn(sampling_of(evidence)),
        "stages": [_stage(evidence, name) for name in TITLES if name in evidence["stages"]],
    }


def _stage(evidence: Evidence, name: str) -> dict[str, Any]:
    record = evidence["stages"][name]
    settings = record.get("settings", {})
    adapter = {f"lora.{key}": value for key, value in (settings.get("lora") or {}).items()}
    return {
        "title": TITLES[name],
        "seconds": record.get("seconds"),
        "resumed": record.get("resumed", False),
        "key": record.get("key", ""),
        "clauses": clauses.clauses(name, record.get("facts", {})),
        "settings": {key: settings[key] for key in SHOWN_SETTINGS if settings.get(key) is not None} | adapter,
    }


def _read(evidence: Evidence) -> Iterator[dict[str, str]]:
    """What each stage read beside other stages, but for the base model: of paths, the last part."""
    for stage, record in evidence["stages"].items():
        for source in record.get("sources", ()):
            if source["setting"] != "model":
                setting, digest = source["setting"].partition(".")[2], source["digest"]
                name = PurePath(source["name"]).name if digest else source["name"]
                yield {"stage": stage, "setting": setting, "name": name, "digest": (digest or "")[:16]}


def _quoted(value: object) -> str:
    """A string of the YAML head: JSON's are YAML's."""
    return json.dumps(str(value), ensure_ascii=False)


def _text(value: object) -> str:
    """Recorded text that stays text: one line, and no Markdown or HTML of its own."""
    escaped = plain(value, 400).replace("\\", "\\\\")
    for sign in "<>[]*_`|#":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped


_FILTERS: dict[str, Callable[..., str]] = {
    "text": _text,
    "quoted": _quoted,
    "count": clauses.count,
    "rate": clauses.rate,
    "percent": clauses.percent,
    "duration": clauses.duration,
    "shown": shown,
    "spread": spread,
}
