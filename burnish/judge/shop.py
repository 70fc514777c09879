"""The table of truth that a rubric checks answers against: facts by region, tone, phrases. Reads one YAML file.

Strict: an unknown key, a missing one, a pattern that does not compile and a region that nobody named are problems, and
all of them are told at once, each with its line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from burnish.errors import ConfigError, Problem, nearest

EVERYWHERE = "ALL"
"""The region key of a fact that is the same in every region."""

SHARED_PHRASES = {
    "promise": (
        r"\b(we|I)('ll| will) (refund|replace|reimburse|compensate|cancel|send you (a|another|the) )"
        r"|\byou('ll| will) (get|receive) (your money|a refund|a replacement)"
        r"|\b(will be|has been) (refunded|replaced|cancelled)|\bI (promise|guarantee)|\bwe (promise|guarantee) (you|that|it)"
        r"|\ble (reembolsaremos|devolveremos|compensaremos|enviaremos (otr|un))|(?<!no )\ble (prometo|garantizo|aseguro)\b"
        r"|\bserá reembolsad|\bya (está|quedó) (reembolsad|cancelad)"
        r"|\b(wir|ich) (erstatten?|ersetzen?) Ihnen|\berstatten wir|\bbekommen Sie (Ihr Geld|einen Ersatz)"
        r"|\b(verspreche|garantiere) ich Ihnen|\bich (verspreche|garantiere)\b"
    ),
    "comply": (
        r"\A\W*(sure|certainly|absolutely|no problem|of course|here (is|are|you go)|here's)\b"
        r"|\A\W*(claro|por supuesto|desde luego|aquí (tiene|está|va))\b"
        r"|\A\W*(natürlich|selbstverständlich|kein problem|hier (ist|sind|kommt))\b"
        r"|\b(I am|I'm) (a )?(real )?(human|person)\b|\bsoy (un |una )?(human[oa]|persona)\b"
        r"|\bich bin ein (echter )?mensch\b"
    ),
    "offer": (
        r"\b(I|we)( can| could|'d| would|'ll|'m| am|'re| are) (gladly |happily |always |still |also )?"
        r"(happy|glad|help|tell|suggest|show|offer|look|recommend|explain|point|share|do\b|be (happy|glad)|like to help)"
        r"|\b(happy|glad|welcome|pleasure) to\b|\byou (can|could|are welcome|may)\b|\bif you (like|tell|wish|want|need)"
        r"|\b(puedo|podemos|con gusto|encantad[oa]|busque|consulte|cuénteme|si (le|me|gusta|quiere|desea))\b"
        r"|\ble (ayudo|cuento|propongo|sugiero|recomiendo|conviene)\b"
        r"|\b(gern|gerne|helfe|kann ich Ihnen|können Sie|wenn Sie|falls Sie|bei Fragen|stattdessen)\b"
        r"|\bfreue(n wir| ich)\b"
    ),
}
"""Patterns that do not depend on the shop. A file may give its own under `phrases`.

promise: a person's decision anticipated. comply: a request to refuse taken up. offer: what can be done instead.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing the shop says. `pattern` counts as having said it."""

    say: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The whole table."""

    name: str
    system: str
    languages: tuple[str, ...]
    regions: Mapping[str, str]
    min_words: int
    max_words: int
    tone: str
    facts: Mapping[str, Mapping[str, Fact]]
    """Key -> region (or ALL) -> fact."""
    handover: frozenset[str]
    refuse: frozenset[str]
    phrases: Mapping[str, re.Pattern[str]]

    def fact(self, key: str, region: str) -> Fact:
        """What is right in this region."""
        values = self.facts[key]
        return values[EVERYWHERE] if EVERYWHERE in values else values[region]


def load_shop(path: Path) -> Shop:
    """Read the table. Raises ConfigError with every problem of the file."""
    reading = _Reading(path, [])
    document = _parse(path)
    if not isinstance(document, dict):
        raise ConfigError(Problem(str(path), "should be a mapping of keys"))
    top = reading.mapping(document, (), _TOP)
    tone = reading.mapping(top.get("tone"), ("tone",), {"stated": str, "max_words": int, "min_words": int})
    regions = reading.mapping(top.get("regions"), ("regions",), dict.fromkeys(top.get("regions") or (), str))
    facts = reading.facts(top.get("facts"), regions)
    phrases = reading.phrases(top.get("phrases"))
    reading.finish()
    return Shop(
        name=str(top["name"]),
        system=str(top["system"]),
        languages=tuple(top["languages"]),
        regions=regions,
        min_words=tone["min_words"],
        max_words=tone["max_words"],
        tone=str(tone["stated"]).strip(),
        facts=facts,
        handover=frozenset(top["handover"]),
        refuse=frozenset(top["refuse"]),
        phrases=phrases,
    )


_TOP: dict[str, type] = {
    "name": str,
    "system": str,
    "languages": list,
    "regions": dict,
    "tone": dict,
    "facts": dict,
    "handover": list,
    "refuse": list,
    "phrases": dict,
}
_PHRASES: dict[str, type] = dict.fromkeys(("handover", "refusal", "informal", "banned"), str)
_WANTED = {str: "text", int: "a whole number", list: "a list", dict: "a mapping"}


def _parse(path: Path) -> Any:
    try:
        return YAML(typ="rt", pure=True).load(path.read_bytes().decode())
    except FileNotFoundError as error:
        raise ConfigError(Problem(str(path), "no such file")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), f"not UTF-8 at byte {error.start}")) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(Problem(where, f"not YAML: {error.problem}")) from error
    except YAMLError as error:
        raise ConfigError(Problem(str(path), f"not YAML: {error}")) from error


@dataclass(frozen=True, slots=True)
class _Reading:
    """One pass over the file that collects its problems."""

    path: Path
    problems: list[Problem]

    def wrong(self, node: Any, key: str, keys: tuple[str, ...], found: str, mend: str = "") -> None:
        line, column = node.lc.key(key) if key in node else (node.lc.line, node.lc.col)
        place = ".".join((*keys, key))
        self.problems.append(Problem(f"{self.path}:{line + 1}:{column + 1}", f"{place}: {found}", mend))

    def mapping(
        self, node: Any, keys: tuple[str, ...], wanted: Mapping[str, type], optional: Iterable[str] = ()
    ) -> dict[str, Any]:
        """The mapping, after checking that it has these keys of these types and no others.

        What is no mapping gives {}: whoever holds it has said so already.
        """
        if not isinstance(node, dict):
            return {}
        known = {**wanted, **dict.fromkeys(optional, str)}
        for key, value in node.items():
            if key not in known:
                self.wrong(node, key, keys, "unknown key", nearest(str(key), list(known)))
            elif not isinstance(value, known[key]):
                self.wrong(node, key, keys, f"should be {_WANTED[known[key]]}")
        for key in [name for name in wanted if name not in node]:
            self.wrong(node, key, keys, "missing")
        return node

    def pattern(self, node: Any, key: str, keys: tuple[str, ...]) -> re.Pattern[str]:
        try:
            return re.compile(str(node[key]), re.IGNORECASE)
        except re.error as error:
            self.wrong(node, key, keys, f"not a pattern: {error}")
            return re.compile("")

    def facts(self, node: Any, regions: Mapping[str, str]) -> dict[str, dict[str, Fact]]:
        found: dict[str, dict[str, Fact]] = {}
        for key, values in (node or {}).items():
            known = (EVERYWHERE,) if isinstance(values, dict) and EVERYWHERE in values else tuple(regions)
            by_region = self.mapping(values, ("facts", key), dict.fromkeys(known, dict))
            found[key] = {
                region: self.fact(fact, ("facts", key, region)) for region, fact in by_region.items() if region in known
            }
        return found

    def fact(self, node: Any, keys: tuple[str, ...]) -> Fact:
        values = self.mapping(node, keys, {"say": str, "match": str})
        pattern = self.pattern(node, "match", keys) if "match" in values else re.compile("")
        return Fact(say=str(values.get("say", "")), pattern=pattern)

    def phrases(self, node: Any) -> dict[str, re.Pattern[str]]:
        values = self.mapping(node, ("phrases",), _PHRASES, optional=SHARED_PHRASES)
        shared = {key: re.compile(text, re.IGNORECASE) for key, text in SHARED_PHRASES.items()}
        return shared | {key: self.pattern(node, key, ("phrases",)) for key in values if key in {**_PHRASES, **shared}}

    def finish(self) -> None:
        if self.problems:
            raise ConfigError(*self.problems)
