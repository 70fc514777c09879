"""The table of truth that a rubric checks answers against: facts by region, tone, intents, phrases. One YAML file.

Strict: an unknown key, a missing one, a pattern that does not compile and a region that nobody named are problems, told
all at once, each with its line and column.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationInfo

from burnish.config import Strict, load_yaml, validate

EVERYWHERE = "ALL"
"""The region key of a fact that is the same in every region."""

SHARED_PHRASES = {
    "promise": (
        r"\b(we|I)('ll| will) (refund|replace|reimburse|compensate|cancel|send you (a|another|the) )"
        r"|\byou('ll| will) (get|receive) (your money|a refund|a replacement)"
        r"|\b(will be|has been) (refunded|replaced|cancelled)|\b(I|we) (promise|guarantee) (you|that|it)\b"
        r"|\ble (reembolsaremos|devolveremos|compensaremos|enviaremos (otr|un))"
        r"|(?<!no )\ble (prometo|garantizo|aseguro)\b"
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
        r"(happy|glad|help|tell|suggest|show|offer|look|recommend|explain|point|share|do\b|be (happy|glad)|like to)"
        r"|\b(happy|glad|welcome|pleasure) to\b|\byou (can|could|are welcome|may)\b"
        r"|\bif you (like|tell|wish|want|need)\b"
        r"|\b(puedo|podemos|con gusto|encantad[oa]|busque|consulte|cuénteme|si (le|me|gusta|quiere|desea))\b"
        r"|\ble (ayudo|cuento|propongo|sugiero|recomiendo|conviene)\b"
        r"|\b(gern|gerne|helfe|kann ich Ihnen|können Sie|wenn Sie|falls Sie|bei Fragen|stattdessen)\b"
        r"|\bfreue(n wir| ich)\b"
    ),
}
"""Patterns that do not depend on the shop; a table may give its own."""


def _compiled(text: object) -> object:
    """Patterns ignore case. A text that does not compile is a problem of its key."""
    if not isinstance(text, str):
        return text
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a pattern: {error}") from error


def _shared(name: str) -> re.Pattern[str]:
    return re.compile(SHARED_PHRASES[name], re.IGNORECASE)


def _written(pattern: re.Pattern[str]) -> str:
    return pattern.pattern


Pattern = Annotated[re.Pattern[str], BeforeValidator(_compiled), PlainSerializer(_written)]
Text = Annotated[str, Field(min_length=1)]


class Fact(Strict):
    """One thing the shop says."""

    say: Text
    """In prose, with its amounts: "30 days to return"."""
    match: Pattern
    """What counts as having said it."""


class Tone(Strict):
    """How the shop speaks."""

    stated: Text
    """For people."""
    max_words: int = Field(ge=1)
    min_words: int = Field(ge=1)


class Phrases(Strict):
    """What answers are recognised by."""

    handover: Pattern
    """A person takes over."""
    refusal: Pattern
    """Declines."""
    informal: Pattern
    """Address that is too familiar; looked for in Spanish and German, in small letters."""
    banned: Pattern
    """What no answer may hold."""
    promise: Pattern = _shared("promise")
    """A person's decision anticipated."""
    comply: Pattern = _shared("comply")
    """A request to refuse, taken up."""
    offer: Pattern = _shared("offer")
    """What can be done instead."""


def _every_region(values: dict[str, Fact], info: ValidationInfo) -> dict[str, Fact]:
    regions: dict[str, str] = info.data.get("regions", {})
    if regions and set(values) not in ({EVERYWHERE}, set(regions)):
        raise ValueError(f"a value for each of {', '.join(sorted(regions))} is wanted, or one for {EVERYWHERE}")
    return values


Values = Annotated[dict[str, Fact], AfterValidator(_every_region)]
"""Region (or ALL) -> fact."""


class Shop(Strict):
    """The whole table."""

    name: Text
    system: Text
    """The system turn; {region} stands for the region's code."""
    languages: tuple[str, ...] = Field(min_length=1)
    regions: Annotated[dict[str, str], Field(min_length=1)]
    """Code -> name."""
    tone: Tone
    facts: dict[str, Values]
    handover: tuple[str, ...]
    """Intents that a person must decide."""
    refuse: tuple[str, ...]
    """Intents that are declined."""
    phrases: Phrases

    def fact(self, key: str, region: str) -> Fact:
        """What is right in this region."""
        values = self.facts[key]
        return values[EVERYWHERE] if EVERYWHERE in values else values[region]


def load_shop(path: Path) -> Shop:
    """Read the table. Raises ConfigError with every problem of the file."""
    return validate(Shop, load_yaml(path))
