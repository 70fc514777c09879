"""Numbers with units in English, Spanish and German text, and identifiers such as codes. Knows no shop.

Limit: numbers written as words ("two weeks") are not amounts; they are neither credited nor checked.
"""

from __future__ import annotations

import re

Amount = tuple[str, str]
"""A number in plain digits and the unit's one name: ("30", "day")."""

_UNITS = {
    "minute": r"minut(?:e|es|os?|en)\b",
    "hour": r"(?:hours?|hrs?|horas?|h|stunden?|uhr|o'clock)\b",
    "day": r"(?:(?:business|working) )?(?:days?|d[ií]as?|(?:werk)?tag(?:e|en|es)?)\b",
    "week": r"(?:weeks?|semanas?|wochen?)\b",
    "month": r"(?:months?|mes(?:es)?|monat(?:e|en|s)?)\b",
    "year": r"(?:years?|años?|jahr(?:e|en|es|s)?)\b",
    "euro": r"(?:euros?\b|eur\b|€)",
    "dollar": r"(?:dollars?\b|d[oó]lar(?:es)?\b|usd\b|\$)",
    "peso": r"(?:pesos?|mxn)\b",
    "percent": r"(?:%|percent\b|por ciento\b|prozent\b)",
    "centimetre": r"(?:cm\b|cent[ií]metros?\b|centimet(?:re|er)s?\b|zentimetern?\b)",
}
_NUMBER = r"\d+(?:[.,]\d+)*"
_UNIT = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS.items())
_AFTER = re.compile(rf"(?:({_NUMBER})\s?(?:to|a|bis|and|y|und|[-–])\s?)?({_NUMBER})[\s-]?(?:{_UNIT})", re.IGNORECASE)
_BEFORE = re.compile(rf"(?P<sign>[$€])\s?({_NUMBER})")
_SIGNS = {"$": "dollar", "€": "euro"}
_CODE = re.compile(r"\b(?=[A-Z0-9-]*\d)(?=[A-Z0-9-]*[A-Z])[A-Z0-9][A-Z0-9-]{4,}\b|\b\d{5,}\b")


def amounts(text: str) -> set[Amount]:
    """Every number that carries a unit, both ends of a range included ("3 to 5 days" has two)."""
    found: set[Amount] = set()
    for hit in _AFTER.finditer(text):
        unit = next(name for name in _UNITS if hit[name])
        found |= {(_plain(number), unit) for number in hit.groups()[:2] if number}
    found |= {(_plain(hit[2]), _SIGNS[hit["sign"]]) for hit in _BEFORE.finditer(text)}
    return found


def numbers(text: str) -> set[str]:
    """Every number in plain digits, whatever it counts."""
    return {_plain(number) for number in re.findall(_NUMBER, text)}


def identifiers(text: str) -> set[str]:
    """Codes in capitals with a digit (SAVE20, JM-48213) and numbers of five digits or more (orders, telephones)."""
    return set(_CODE.findall(text))


def _plain(number: str) -> str:
    whole, _, rest = number.replace(",", ".").rpartition(".")
    return whole if whole and rest in ("0", "00") else f"{whole}.{rest}" if whole else rest
