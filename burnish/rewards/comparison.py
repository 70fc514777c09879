"""Answers made comparable: the same text and the same number, however they are written. Knows no rule.

Limits: numbers are written with digits, a point before decimals and commas between thousands; words for numbers,
fractions and the decimal comma are not read. `burnish.rewards.maths` reads more.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"(?:(?<![\w.])-)?\d[\d,]*(?:\.\d+)?")
_EDGES = " \t\r\n.,:;!?\"'`*“”‘’()[]$"
LONGEST = 4000
"""Digits of a number that is read."""


def normalised(text: str) -> str | None:
    """Text in one form of Unicode, without case, with single spaces and without punctuation around it; None: nothing
    is left."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(_EDGES) or None


def last_number(text: str) -> Decimal | None:
    """The last number in a text; None where there is none."""
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    if not found or len(found[-1]) > LONGEST:
        return None
    try:
        return Decimal(found[-1].replace(",", ""))
    except InvalidOperation:  # digits of two scripts in one number
        return None
