"""Names of languages as rows and forms have them. Knows primary tags only: fr-CA and FR are fr."""

from __future__ import annotations

import re

_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*")


def language(text: str) -> str | None:
    """The primary tag (BCP 47) of what a row or a form calls a language; None where it is no tag."""
    found = _TAG.fullmatch(text.strip())
    return found.group(1).lower() if found else None
