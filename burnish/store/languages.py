"""Names of languages, so that an item finds people who read it. Knows primary tags only: fr-CA and FR are fr."""

from __future__ import annotations

import re

from burnish.errors import Problem, Said, StoreError

_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*")


def language(text: str) -> str | None:
    """The primary tag (BCP 47) of what a row or a form calls a language; None where it is no tag."""
    found = _TAG.fullmatch(text.strip())
    return found.group(1).lower() if found else None


def languages(text: str) -> list[str]:
    """Tags from a list with commas or spaces, sorted. Raises StoreError for a word that is no tag."""
    words = re.split(r"[\s,;]+", text.strip()) if text.strip() else []
    tags = {word: language(word) for word in words}
    if wrong := [word for word, tag in tags.items() if tag is None]:
        found = Said("“%(word)s” is not the tag of a language", word=wrong[0])
        raise StoreError(Problem("languages", found, "Write tags of two or three letters, for example: en, fr, es."))
    return sorted({tag for tag in tags.values() if tag})
